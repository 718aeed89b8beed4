// Batches of views: every view of every video once, with the right pixels, whatever the batch and the
// threads.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "apps/actions/view_batches.h"
#include "core/error.h"
#include "data/views.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;

namespace {

constexpr Size kFrame{4, 6};

// Every pixel of frame f of item k is (k, f, 7). Items in `broken` fail from frame 5 on.
class NumberedSource final : public ClipSource {
 public:
  explicit NumberedSource(std::vector<int64_t> lengths) : lengths_(std::move(lengths)) {}

  int64_t size() const override { return static_cast<int64_t>(lengths_.size()); }
  std::string name(int64_t item) const override { return fmt::format("item_{}", item); }
  int64_t length(int64_t item) const override { return lengths_.at(static_cast<size_t>(item)); }
  using ClipSource::read;
  void read(const ClipRange& range, Clip& clip) const override {
    // Different items take different times, so that threads overtake each other.
    std::this_thread::sleep_for(std::chrono::microseconds(50 * (range.item * 7 % 5)));
    if (broken.count(range.item) && range.first + range.count > 5)
      fail(ErrorKind::data, {.where = name(range.item), .expected = "frames", .got = "none"});
    clip.frames.clear();
    for (int64_t k = 0; k < range.count; ++k) {
      Image image;
      image.reshape(kFrame, 3);
      for (size_t p = 0; p < image.pixels.size(); p += 3) {
        image.pixels[p] = static_cast<uint8_t>(range.item);
        image.pixels[p + 1] = static_cast<uint8_t>(std::min(range.first + k, length(range.item) - 1));
        image.pixels[p + 2] = 7;
      }
      clip.frames.push_back(image);
    }
  }

  std::set<int64_t> broken;

 private:
  std::vector<int64_t> lengths_;
};

// An input is the crop's pixels. Two crops, of which one counts three times.
class TestFormat final : public ViewFormat {
 public:
  TestFormat(int64_t frames, int64_t batch) : frames_(frames), batch_(batch) {}
  int64_t frames() const override { return frames_; }
  int64_t bytes() const override { return 2 * 2 * 3 * frames_; }
  int64_t batch() const override { return batch_; }
  std::vector<ViewInput> inputs(Size frame) const override {
    const auto at = [&](int64_t left) {
      return ClipGeometry{.resized = frame, .window = {1, left, {2, 2}}, .output = {2, 2}};
    };
    return distinct_inputs({at(0), at(4), at(0), at(0)});
  }
  void write(const std::vector<FramePtr>& clip, const ViewInput& input, std::vector<Image>& scratch,
             uint8_t* out) const override {
    REQUIRE(static_cast<int64_t>(clip.size()) == frames_);
    write_clip(input.geometry, clip, scratch, out);
  }

 private:
  int64_t frames_, batch_;
};

struct Seen {
  std::map<std::pair<int64_t, int64_t>, std::vector<uint8_t>> views;  // by video and view
  std::set<int64_t> broken;
  std::vector<int64_t> counts;  // of batches
};

// By stream.
std::vector<Seen> run(const std::vector<StreamOfViews>& streams, int64_t videos, int64_t threads) {
  std::vector<VideoItems> items;
  for (int64_t k = 0; k < videos; ++k) items.push_back({std::vector<int64_t>(streams.size(), k)});
  ViewBatches batches(streams, items, {.threads = threads});
  std::vector<Seen> seen(streams.size());
  for (;;) {
    const ViewBatches::Event event = batches.next();
    if (event.end()) return seen;
    if (event.broken) {
      for (Seen& s : seen) REQUIRE(s.broken.insert(event.broken->video).second);
      continue;
    }
    const ViewBatch& batch = *event.batch;
    Seen& s = seen[static_cast<size_t>(batch.stream)];
    s.counts.push_back(batch.count);
    REQUIRE(static_cast<int64_t>(batch.views.size()) == batch.count);
    const int64_t bytes = streams[static_cast<size_t>(batch.stream)].format->bytes();
    for (int64_t k = 0; k < batch.count; ++k) {
      const auto& [video, view] = batch.views[static_cast<size_t>(k)];
      REQUIRE(view < batches.plan(video, batch.stream).views());
      const uint8_t* first = batch.bytes + k * bytes;
      REQUIRE(s.views.insert({{video, view}, {first, first + bytes}}).second);
    }
    batches.give_back(batch);
  }
}

}  // namespace

TEST_CASE("each view of each video comes once, for any batch and number of threads") {
  const std::vector<int64_t> lengths{1, 3, 9, 40, 7, 12, 5};
  const auto source = std::make_shared<NumberedSource>(lengths);
  constexpr int64_t kFrames = 4, kClips = 5;
  for (const int64_t batch : {1, 3, 8}) {
    for (const int64_t threads : {1, 4}) {
      INFO(batch << " at once, " << threads << " threads");
      const StreamOfViews long_clips{source, std::make_shared<TestFormat>(kFrames, batch), kClips};
      const StreamOfViews single{source, std::make_shared<TestFormat>(1, 2), kClips};
      const std::vector<Seen> seen = run({long_clips, single}, source->size(), threads);
      size_t expected = 0;
      for (int64_t video = 0; video < source->size(); ++video) {
        const VideoPlan plan = plan_clips(lengths[static_cast<size_t>(video)], kFrames, kClips);
        expected += plan.starts.size() * 2;
        for (size_t clip = 0; clip < plan.starts.size(); ++clip) {
          for (int64_t input = 0; input < 2; ++input) {
            const auto& pixels = seen[0].views.at({video, static_cast<int64_t>(clip) * 2 + input});
            for (size_t p = 0; p < pixels.size(); p += 3) {
              const auto k = static_cast<int64_t>(p / 3) % kFrames;
              REQUIRE(pixels[p] == video);
              REQUIRE(pixels[p + 1] ==
                      std::min(plan.starts[clip] + k, lengths[static_cast<size_t>(video)] - 1));
            }
          }
        }
      }
      CHECK(seen[0].views.size() == expected);
      // All batches are full but the last.
      const auto partial = std::count_if(seen[0].counts.begin(), seen[0].counts.end(),
                                         [&](int64_t count) { return count < batch; });
      CHECK(partial <= 1);
    }
  }
}

TEST_CASE("clips that are the same, and crops, are planned once and counted") {
  const VideoPlan is_short = plan_clips(34, 11, 25);  // step 0
  CHECK(is_short.starts == std::vector<int64_t>{0});
  CHECK(is_short.clip_weights == std::vector<int64_t>{25});
  const VideoPlan just_long = plan_clips(35, 11, 25);
  CHECK(just_long.starts.size() == 25);
  CHECK(just_long.clip_weights == std::vector<int64_t>(25, 1));
  CHECK(plan_clips(1, 11, 25).clip_weights == std::vector<int64_t>{25});
  const ClipGeometry a{.resized = kFrame, .window = {0, 0, {2, 2}}, .output = {2, 2}};
  ClipGeometry b = a;
  b.mirror = true;
  const std::vector<ViewInput> inputs = distinct_inputs({a, b, a, a, b});
  REQUIRE(inputs.size() == 2);
  CHECK(inputs[0].weight == 3);
  CHECK(inputs[1].weight == 2);
}

TEST_CASE("a broken video is told once, and the others are whole") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>{20, 20, 20, 20});
  source->broken = {1, 3};
  for (const int64_t threads : {1, 3}) {
    const StreamOfViews stream{source, std::make_shared<TestFormat>(2, 5), 4};
    const std::vector<Seen> seen = run({stream}, source->size(), threads);
    CHECK(seen[0].broken == std::set<int64_t>{1, 3});
    for (const int64_t video : {0, 2}) {
      for (int64_t view = 0; view < 8; ++view) CHECK(seen[0].views.count({video, view}) == 1);
    }
  }
}

TEST_CASE("what is no fault of a video ends it all") {
  class FullMemory final : public ClipSource {
   public:
    int64_t size() const override { return 1; }
    std::string name(int64_t) const override { return "a"; }
    int64_t length(int64_t) const override { throw std::bad_alloc(); }
    void read(const ClipRange&, Clip&) const override {}
  };
  const StreamOfViews stream{std::make_shared<FullMemory>(), std::make_shared<TestFormat>(1, 2), 4};
  CHECK_THROWS_AS(run({stream}, 1, 2), std::bad_alloc);
}

TEST_CASE("batches may be given up at any moment") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>(20, 30));
  for (int64_t taken = 0; taken < 6; ++taken) {
    ViewBatches batches({{source, std::make_shared<TestFormat>(2, 3), 5}},
                        std::vector<VideoItems>(20, VideoItems{{0}}), {.threads = 2});
    for (int64_t k = 0; k < taken; ++k) {
      const ViewBatches::Event event = batches.next();
      if (k % 2 == 0) batches.give_back(*event.batch);
    }
  }
}
