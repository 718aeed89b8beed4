// prepare_clip against the loader's own way to the same bytes, and the ops that it stands for.
#include "layers/prepare_clip.h"

#include "core/rng.h"
#include "data/geometry.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

constexpr int64_t kFrames = 2;

std::vector<FramePtr> random_frames(Size size, uint64_t seed) {
  std::vector<FramePtr> frames;
  Random random(seed);
  for (int64_t t = 0; t < kFrames; ++t) {
    Image image;
    image.reshape(size, 3);
    for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(random.integer(0, 255));
    frames.push_back(std::make_shared<const Image>(std::move(image)));
  }
  return frames;
}

// (H,W,3T) as it is, with nothing cut and resized.
Numbers whole_clip(const std::vector<FramePtr>& frames) {
  Numbers clip;
  for (size_t at = 0; at < frames[0]->pixels.size(); at += 3) {
    for (const FramePtr& frame : frames) clip.insert(clip.end(), &frame->pixels[at], &frame->pixels[at] + 3);
  }
  return clip;
}

Numbers window_numbers(const ClipGeometry& g) {
  const auto number = [](auto x) { return static_cast<double>(x); };
  return {number(g.window.top), number(g.window.left), number(g.window.size.height),
          number(g.window.size.width), g.mirror ? 1. : 0.};
}

struct Outputs {
  Numbers images, loss_images;
};

// By write_clip, normalize_image and lrn.
Outputs expected_of(const ClipGeometry& geometry, const std::vector<FramePtr>& frames) {
  const auto [height, width] = geometry.output;
  std::vector<uint8_t> bytes(static_cast<size_t>(height * width * 3 * kFrames));
  std::vector<Image> scratch;
  write_clip(geometry, frames, scratch, bytes.data());
  const Shape shape{1, height, width, 3 * kFrames};
  const Numbers images =
      run_op(make_op<NormalizeImage>(), {{shape, Numbers(bytes.begin(), bytes.end()), Dtype::u8}}).front();
  return {images, run_op(make_op<Lrn>(), {{shape, images}}).front()};
}

Outputs result_of(const ClipGeometry& geometry, const std::vector<FramePtr>& frames) {
  const Size size = frames[0]->size();
  const PrepareClipAttrs attrs{.height = geometry.output.height, .width = geometry.output.width};
  const auto out = run_op(make_op<PrepareClip>(attrs),
                          {{{1, size.height, size.width, 3 * kFrames}, whole_clip(frames), Dtype::u8},
                           {{1, kWindowNumbers}, window_numbers(geometry), Dtype::i32}});
  return {out[0], out[1]};
}

void check_equal(const ClipGeometry& geometry, const std::vector<FramePtr>& frames) {
  INFO(geometry.window.size.height << "x" << geometry.window.size.width << " at " << geometry.window.top
                                   << ", " << geometry.window.left << " to " << geometry.output.height << "x"
                                   << geometry.output.width << (geometry.mirror ? ", mirrored" : ""));
  const Outputs expected = expected_of(geometry, frames), result = result_of(geometry, frames);
  CHECK(result.images == expected.images);
  CHECK(result.loss_images == expected.loss_images);
}

}  // namespace

TEST_CASE("prepare_clip makes what the loader, normalize_image and lrn make, to the bit") {
  const Size size{37, 50};
  const GeometryOptions options{
      .network = {28, 28}, .crop = Crop::multi_scale, .resize = {0, 0}, .mirror = .5};
  const auto frames = random_frames(size, 1);
  for (int64_t sample = 0; sample < 40; ++sample)
    check_equal(draw_geometry(options, size, random_stream(5, "crop"), sample), frames);
}

TEST_CASE("prepare_clip resizes as the loader from any window to any size") {
  const Size size{23, 31};
  const auto frames = random_frames(size, 2);
  Random random(3);
  for (int k = 0; k < 200; ++k) {
    ClipGeometry g{.resized = size};
    g.window.size = {random.integer(1, size.height), random.integer(1, size.width)};
    g.window.top = random.integer(0, size.height - g.window.size.height);
    g.window.left = random.integer(0, size.width - g.window.size.width);
    g.output = {random.integer(1, 40), random.integer(1, 40)};
    if (k % 10 == 0) g.output = g.window.size;
    if (k % 10 == 1)
      g.output = {(g.window.size.height + 1) / 2, (g.window.size.width + 1) / 2};  // or exactly
    g.mirror = random.integer(0, 1) == 1;
    check_equal(g, frames);
  }
}

TEST_CASE("the weights of all sizes that crops of 340 x 256 have are the loader's") {
  // Pixels 0 and 255 in turn show each weight.
  for (const int64_t source : {192, 224, 256}) {
    Image image;
    image.reshape({source, source}, 3);
    for (size_t k = 0; k < image.pixels.size(); ++k)
      image.pixels[k] = static_cast<uint8_t>((k / 3 + k / 3 / static_cast<size_t>(source)) % 2 * 255);
    const std::vector<FramePtr> frames(kFrames, std::make_shared<const Image>(image));
    check_equal({.resized = image.size(), .window = {0, 0, image.size()}, .output = {224, 224}}, frames);
  }
}

TEST_CASE("channels behind the frames' own are zeros") {
  const auto frames = random_frames({3, 4}, 4);
  const auto out = run_op(
      make_op<PrepareClip>(PrepareClipAttrs{.height = 3, .width = 4, .channels = 8, .loss_images = false}),
      {{{1, 3, 4, 6}, whole_clip(frames), Dtype::u8}, {{1, kWindowNumbers}, {0, 0, 3, 4, 0}, Dtype::i32}});
  REQUIRE(out.size() == 1);
  REQUIRE(out[0].size() == 96);
  const Numbers frame_channels =
      expected_of({.resized = {3, 4}, .window = {0, 0, {3, 4}}, .output = {3, 4}}, frames).images;
  for (size_t k = 0; k < 96; ++k) CHECK(out[0][k] == (k % 8 < 6 ? frame_channels[k / 8 * 6 + k % 8] : 0));
}

TEST_CASE("prepare_clip refuses what is no clip") {
  Graph g;
  const Value x = g.input("x", Spec{{2, 8, 8, 6}, Dtype::u8});
  const Value windows = g.input("windows", Spec{{2, kWindowNumbers}, Dtype::i32});
  const Value wrong = g.input("wrong", Spec{{1, kWindowNumbers}, Dtype::i32});
  CHECK_THROWS_WITH(prepare_clip(g, x, wrong, {.height = 4, .width = 4}),
                    Catch::Contains("windows i32(2,5)"));
  CHECK_THROWS_WITH(prepare_clip(g, windows, windows, {.height = 4, .width = 4}),
                    Catch::Contains("u8 frames"));
  CHECK_THROWS_WITH(prepare_clip(g, x, windows, {}), Catch::Contains("extents from 1"));
  CHECK_THROWS_WITH(prepare_clip(g, x, windows, {.height = 4, .width = 4, .channels = 5}),
                    Catch::Contains("no fewer channels"));
  const PreparedClip clip = prepare_clip(g, x, windows, {.height = 4, .width = 4, .loss_images = false});
  CHECK(clip.images);
  CHECK_FALSE(clip.loss_images);
}
