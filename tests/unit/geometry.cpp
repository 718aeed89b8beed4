// The augmentation of the paper's code, number by number, and the loader's short way to the same bits.
#include "data/geometry.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "core/error.h"
#include "data/draws.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;

namespace {

Image noise(Size size, uint64_t seed) {
  Image image;
  image.reshape(size, 3);
  const RandomStream stream = random_stream(seed, "noise");
  for (size_t p = 0; p < image.pixels.size(); ++p)
    image.pixels[p] =
        static_cast<uint8_t>(stream.bits64({.step = 0, .index = static_cast<int64_t>(p)}) >> 56);
  return image;
}

const GeometryOptions kPaper{
    .network = {224, 224}, .crop = Crop::multi_scale, .resize = {256, 340}, .mirror = .5};

ClipGeometry draw(const GeometryOptions& options, Size source, int64_t sample) {
  return draw_geometry(options, source, random_stream(1, "test"), sample);
}

std::string text(const Window& w) {
  return fmt::format("{}x{}+{}+{}", w.size.height, w.size.width, w.top, w.left);
}

}  // namespace

TEST_CASE("crops of the paper in 340x256 frames: 7 sizes, 5 places, nothing else") {
  // Height and width; offsets 4 ((256 - h) / 4) and 4 ((340 - w) / 4), in the centre half of each.
  const std::map<int64_t, int64_t> bottom = {{256, 0}, {224, 32}, {192, 64}};
  const std::map<int64_t, int64_t> right = {{256, 84}, {224, 116}, {192, 148}};
  std::set<std::string> expected;
  for (const auto& [h, w] :
       {std::pair{256, 256}, {256, 224}, {224, 256}, {224, 224}, {224, 192}, {192, 224}, {192, 192}}) {
    for (const int64_t top : {int64_t{0}, bottom.at(h)}) {
      for (const int64_t left : {int64_t{0}, right.at(w)}) expected.insert(text({top, left, {h, w}}));
    }
    expected.insert(text({bottom.at(h) / 2, right.at(w) / 2, {h, w}}));
  }
  CHECK(expected.count("224x224+16+58") == 1);
  CHECK(expected.count("256x256+0+42") == 1);
  CHECK(expected.count("192x192+32+74") == 1);

  constexpr int64_t kDraws = 7000;
  std::map<std::string, int64_t> drawn;
  std::map<std::string, int64_t> sizes;
  int64_t mirrored = 0;
  for (int64_t sample = 0; sample < kDraws; ++sample) {
    const ClipGeometry g = draw(kPaper, {240, 320}, sample);
    REQUIRE(g.resized == Size{256, 340});
    REQUIRE(g.output == Size{224, 224});
    ++drawn[text(g.window)];
    ++sizes[fmt::format("{}x{}", g.window.size.height, g.window.size.width)];
    mirrored += g.mirror;
  }
  std::set<std::string> found;
  for (const auto& [window, count] : drawn) found.insert(window);
  CHECK(found == expected);
  REQUIRE(sizes.size() == 7);
  for (const auto& [size, count] : sizes) {
    INFO(size << " " << count);
    CHECK(count > 850);  // 1000 expected, standard deviation 29
    CHECK(count < 1150);
  }
  CHECK(mirrored > 3290);  // 3500, 42
  CHECK(mirrored < 3710);
}

TEST_CASE("crops by scales are to the bit those of sevenths") {
  for (const Size network : {Size{224, 224}, {96, 96}, {32, 64}, {100, 111}, {7, 5}}) {
    const GeometryOptions options{
        .network = network, .crop = Crop::multi_scale, .resize = {256, 340}, .mirror = .5};
    for (int64_t sample = 0; sample < 300; ++sample) {
      Draws draws(random_stream(1, "test"), sample);
      const bool mirrored = draws.chance(.5);
      constexpr int64_t kPairs[7][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 2}, {2, 1}, {2, 2}};
      const auto& pair = kPairs[draws.below(7)];
      const Size size = {std::min<int64_t>(256, network.height * (8 - pair[0]) / 7),
                         std::min<int64_t>(340, network.width * (8 - pair[1]) / 7)};
      const int64_t place = draws.below(5), down = (256 - size.height) / 4, right = (340 - size.width) / 4;
      const int64_t rows[5] = {0, 0, 4, 4, 2}, columns[5] = {0, 4, 0, 4, 2};
      const ClipGeometry g = draw(options, {240, 320}, sample);
      REQUIRE(g.window == Window{rows[place] * down, columns[place] * right, size});
      REQUIRE(g.mirror == mirrored);
    }
  }
}

TEST_CASE("the spatial stream's scales end in 168 of 224 pixels") {
  GeometryOptions options = kPaper;
  options.scales = {1, .875, .75, .66};
  std::set<std::pair<int64_t, int64_t>> sizes, expected;
  for (int64_t sample = 0; sample < 2000; ++sample) {
    const Size size = draw(options, {240, 320}, sample).window.size;
    sizes.emplace(size.height, size.width);
  }
  const int64_t sides[] = {256, 224, 192, 168};
  for (int a = 0; a < 4; ++a) {
    for (int b = 0; b < 4; ++b) {
      if (std::abs(a - b) <= 1) expected.emplace(sides[a], sides[b]);
    }
  }
  CHECK(sizes == expected);
  options.scales = {.875};
  for (int64_t sample = 0; sample < 20; ++sample)
    CHECK(draw(options, {240, 320}, sample).window.size == Size{224, 224});
  for (const std::vector<double>& bad : {std::vector<double>{}, {1, 0}, {1.5}, {-.5}, {std::nan("")}})
    CHECK_THAT(test::message_of([&] { check_scales(bad); }), Catch::Matchers::Contains("crop scales"));
}

TEST_CASE("flow bytes keep their values, and mirrored x becomes 255 - x") {
  const ClipGeometry g{.resized = {2, 3}, .window = {0, 0, {2, 3}}, .output = {2, 3}, .mirror = true};
  Image flow;
  flow.reshape({2, 3}, 2);
  flow.pixels = {0, 1, 10, 11, 20, 21, 255, 5, 128, 6, 127, 7};
  const std::vector<uint8_t> expected = {235, 21, 245, 11, 255, 1, 128, 7, 127, 6, 0, 5};
  Clip clip{.frames = {flow}, .truth = {}};
  Image scratch;
  apply_geometry(g, clip, scratch);
  CHECK(clip.frames[0].pixels == expected);
  std::vector<Image> resized;
  std::vector<uint8_t> out(24);
  const auto shared = std::make_shared<const Image>(flow);
  write_clip(g, {shared, shared}, resized, out.data());
  for (size_t p = 0; p < 6; ++p) {
    for (size_t c = 0; c < 4; ++c) CHECK(out[4 * p + c] == expected[2 * p + c % 2]);
  }
}

TEST_CASE("write_clip makes of flow what apply_geometry makes, to the bit") {
  const GeometryOptions options{
      .network = {32, 32}, .crop = Crop::multi_scale, .resize = {40, 56}, .mirror = .5};
  for (int64_t sample = 0; sample < 12; ++sample) {
    std::vector<FramePtr> shared;
    Clip clip;
    for (uint64_t k = 0; k < 3; ++k) {
      Image pair = noise({37, 51}, 100 + k);
      pair.reshape({37, 51}, 2);
      clip.frames.push_back(pair);
      shared.push_back(std::make_shared<const Image>(pair));
    }
    const ClipGeometry g = draw(options, {37, 51}, sample);
    std::vector<Image> resized;
    std::vector<uint8_t> out(32 * 32 * 6);
    write_clip(g, shared, resized, out.data());
    Image scratch;
    apply_geometry(g, clip, scratch);
    for (size_t k = 0; k < 3; ++k) {
      for (size_t p = 0; p < 32 * 32; ++p) {
        REQUIRE(out[6 * p + 2 * k] == clip.frames[k].pixels[2 * p]);
        REQUIRE(out[6 * p + 2 * k + 1] == clip.frames[k].pixels[2 * p + 1]);
      }
    }
  }
}

TEST_CASE("validation takes the centre crop and the middle clip, unmirrored") {
  const ClipGeometry g = draw({.network = {224, 224}}, {240, 320}, 5);
  CHECK(text(g.window) == "224x224+16+58");
  CHECK_FALSE(g.mirror);
  for (int64_t length = 11; length < 60; ++length) CHECK(centre_start(length, 11) == (length - 10) / 2);
  CHECK(centre_start(11, 11) == 0);
  CHECK(centre_start(10, 11) == 0);
}

TEST_CASE("true flow follows its frames through resize, crop, scale and mirror") {
  constexpr float kU = 3, kV = -2;
  bool scaled = false, mirrored = false;
  for (int64_t sample = 0; sample < 60; ++sample) {
    Clip clip;
    clip.frames = {noise({240, 320}, 1), noise({240, 320}, 2)};
    Flow flow;
    flow.reshape({240, 320});
    for (size_t p = 0; p < flow.uv.size(); p += 2) flow.uv[p] = kU, flow.uv[p + 1] = kV;
    clip.truth = {flow};
    const ClipGeometry g = draw(kPaper, {240, 320}, sample);
    Image scratch;
    apply_geometry(g, clip, scratch);
    REQUIRE(clip.truth[0].size() == Size{224, 224});
    const double x = 340. / 320 * 224 / static_cast<double>(g.window.size.width);
    const double y = 256. / 240 * 224 / static_cast<double>(g.window.size.height);
    for (const auto& [i, j] : {std::pair{0, 0}, {100, 17}, {223, 223}}) {
      const float* uv = clip.truth[0].at(i, j);
      CHECK(uv[0] == Approx(kU * x * (g.mirror ? -1 : 1)).epsilon(1e-5));
      CHECK(uv[1] == Approx(kV * y).epsilon(1e-5));
    }
    scaled = scaled || g.window.size.width != g.window.size.height;
    mirrored = mirrored || g.mirror;
  }
  CHECK(scaled);
  CHECK(mirrored);
}

TEST_CASE("a part of a resized image is that part of it, to the bit") {
  const Image image = noise({48, 70}, 3);
  for (const Size size :
       {Size{60, 90}, Size{24, 35}, Size{48, 70}, Size{30, 101}, Size{1, 1}, Size{7, 200}}) {
    const Image whole = resize_bilinear(image, size);
    for (int64_t k = 0; k < 20; ++k) {
      const auto below = [&](int64_t n, int64_t index) {
        return random_stream(9, "part").uniform_int({.step = k, .index = index}, n);
      };
      Window window{.size = {1 + below(size.height, 0), 1 + below(size.width, 1)}};
      window.top = below(size.height - window.size.height + 1, 2);
      window.left = below(size.width - window.size.width + 1, 3);
      Image part;
      resize_bilinear(image, {.size = size, .window = window}, part);
      INFO(text(window));
      CHECK(part.pixels == crop(whole, window).pixels);
    }
    Image part;
    CHECK_THROWS_AS(resize_bilinear(image, {.size = size, .window = {0, 1, size}}, part), Error);
  }
}

TEST_CASE("write_clip makes what apply_geometry makes, to the bit") {
  for (const Crop crop : {Crop::none, Crop::centre, Crop::random, Crop::multi_scale}) {
    for (const int64_t frames : {1, 2, 5}) {
      for (const Size source : {Size{40, 56}, Size{48, 60}, Size{32, 32}, Size{33, 31}}) {
        for (int64_t sample = 0; sample < 8; ++sample) {
          const GeometryOptions options{.network = {32, 32}, .crop = crop, .resize = {40, 56}, .mirror = .5};
          Clip clip;
          std::vector<FramePtr> shared;
          for (int64_t k = 0; k < frames; ++k) {
            clip.frames.push_back(noise(source, static_cast<uint64_t>(k)));
            shared.push_back(std::make_shared<const Image>(clip.frames.back()));
          }
          const ClipGeometry g = draw(options, source, sample);
          const auto count = static_cast<size_t>(32 * 32 * 3 * frames);
          std::vector<uint8_t> out(count + 2, 77);  // with a guard at each end
          std::vector<Image> resized;
          write_clip(g, shared, resized, out.data() + 1);
          Image scratch;
          apply_geometry(g, clip, scratch);
          std::vector<uint8_t> expected(count + 2, 77);
          for (size_t p = 0; p < 32 * 32; ++p) {
            for (size_t k = 0; k < clip.frames.size(); ++k) {
              for (size_t c = 0; c < 3; ++c)
                expected[1 + (p * clip.frames.size() + k) * 3 + c] = clip.frames[k].pixels[3 * p + c];
            }
          }
          REQUIRE(out == expected);
        }
      }
    }
  }
}
