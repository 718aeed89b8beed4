// Clips and crops of the test protocol, by the numbers of the reference (section 7).
#include "data/views.h"

#include <algorithm>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using Catch::Matchers::Contains;
using test::message_of;

namespace {

using Starts = std::vector<int64_t>;

// Left columns and top rows of the crops.
std::vector<std::pair<int64_t, int64_t>> places(const std::vector<ClipGeometry>& views) {
  std::vector<std::pair<int64_t, int64_t>> found;
  for (const ClipGeometry& view : views) found.emplace_back(view.window.top, view.window.left);
  return found;
}

}  // namespace

TEST_CASE("25 clips of 11 frames begin step floor((L - 10) / 25) apart") {
  CHECK(clip_starts(35, 11, 25) == [] {  // step 1: the last takes frames 24 to 34
    Starts starts;
    for (int64_t k = 0; k < 25; ++k) starts.push_back(k);
    return starts;
  }());
  const Starts usual = clip_starts(164, 11, 25);  // v_ApplyEyeMakeup_g01_c01: (164 - 10) / 25 = 6
  CHECK(usual.front() == 0);
  CHECK(usual[1] == 6);
  CHECK(usual.back() == 144);
  CHECK(clip_starts(34, 11, 25) == Starts(25, 0));
  CHECK(clip_starts(11, 11, 25) == Starts(25, 0));
  CHECK(clip_starts(1, 11, 25) == Starts(25, 0));
}

TEST_CASE("No clip of a video that is long enough passes its end") {
  for (int64_t length = 1; length < 90; ++length) {
    for (const int64_t frames : {1, 2, 11}) {
      for (const int64_t clips : {1, 3, 5, 25}) {
        const Starts starts = clip_starts(length, frames, clips);
        CHECK(static_cast<int64_t>(starts.size()) == clips);
        CHECK(std::is_sorted(starts.begin(), starts.end()));
        CHECK(starts.back() + frames <= std::max(length, frames));
      }
    }
  }
}

TEST_CASE("One clip is that of the middle") {
  CHECK(clip_starts(31, 11, 1) == Starts{10});
  CHECK(clip_starts(11, 11, 1) == Starts{0});
  CHECK(clip_starts(4, 11, 1) == Starts{0});
}

TEST_CASE("Ten crops of 340x256 are the paper's, with its centre column 60") {
  const auto views = view_crops(10, {240, 320}, {});
  REQUIRE(views.size() == 10);
  using Places = std::vector<std::pair<int64_t, int64_t>>;
  // The mirrored ones as windows of the frame as it is: upper left of the mirrored frame is its upper right,
  // and columns 60 to 284 of the mirrored frame are 56 to 280 of it.
  CHECK(
      places(views) ==
      Places{{0, 0}, {0, 116}, {16, 60}, {32, 0}, {32, 116}, {0, 116}, {0, 0}, {16, 56}, {32, 116}, {32, 0}});
  for (size_t k = 0; k < views.size(); ++k) {
    CHECK(views[k].mirror == (k >= 5));
    CHECK(views[k].resized == Size{256, 340});
    CHECK(views[k].window.size == Size{224, 224});
    CHECK(views[k].output == Size{224, 224});
  }
  const auto upright = view_crops(5, {240, 320}, {});
  CHECK(std::equal(upright.begin(), upright.end(), views.begin(), views.begin() + 5));
}

TEST_CASE("A mirrored view is the view of the mirrored frame, to the bit") {
  Image frame;
  frame.reshape({9, 14}, 3);
  for (size_t k = 0; k < frame.pixels.size(); ++k) frame.pixels[k] = static_cast<uint8_t>(37 * k % 251);
  Image other = frame;
  mirror(other);
  const ViewOptions options{.resize = {}, .network = {6, 7}};
  const auto views = view_crops(10, frame.size(), options);
  for (size_t k = 0; k < 5; ++k) {
    Clip as_it_is{.frames = {frame}, .truth = {}}, turned{.frames = {other}, .truth = {}};
    Image scratch;
    apply_geometry(views[k + 5], as_it_is, scratch);
    apply_geometry(views[k], turned, scratch);
    CHECK(as_it_is.frames[0].pixels == turned.frames[0].pixels);
  }
}

TEST_CASE("One and two crops are the middle, at column 58 of 340") {
  using Places = std::vector<std::pair<int64_t, int64_t>>;
  CHECK(places(view_crops(1, {240, 320}, {})) == Places{{16, 58}});
  const auto two = view_crops(2, {240, 320}, {});
  CHECK(places(two) == Places{{16, 58}, {16, 58}});
  CHECK_FALSE(two[0].mirror);
  CHECK(two[1].mirror);
  CHECK(two[0] == draw_geometry({.network = {224, 224}}, {240, 320}, random_stream(1, "x"), 0));
}

TEST_CASE("Crops of other sizes have their centre in the middle") {
  const auto views = view_crops(5, {240, 320}, {.resize = {110, 146}, .network = {96, 96}});
  CHECK(views[2].window == Window{7, 25, {96, 96}});
  CHECK(views[4].window == Window{14, 50, {96, 96}});
}

TEST_CASE("Frames of the network's size make five equal crops") {
  const auto views = view_crops(10, {96, 96}, {.resize = {256, 340}, .network = {96, 96}});
  for (size_t k = 0; k < 5; ++k) {
    CHECK(views[k] == views[0]);
    CHECK(views[k + 5] == views[5]);
  }
  CHECK(views[0].resized == Size{96, 96});
}

TEST_CASE("A frame smaller than the network is enlarged until it covers it") {
  for (const ClipGeometry& view : view_crops(10, {50, 200}, {.resize = {}, .network = {64, 64}})) {
    CHECK(view.resized == Size{64, 256});
    CHECK(view.window.top == 0);
    CHECK(view.window.left + 64 <= 256);
  }
}

TEST_CASE("Other numbers of clips and crops are refused") {
  CHECK_THAT(message_of([] { view_crops(3, {256, 340}, {}); }), Contains("1, 2, 5 or 10"));
  CHECK_THAT(message_of([] { clip_starts(10, 11, 0); }), Contains("at least 1 clip"));
  CHECK_THAT(message_of([] { clip_starts(0, 11, 25); }), Contains("length"));
}
