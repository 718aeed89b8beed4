#include "data/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/geometry.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;

namespace {

SyntheticOptions still() { return {.max_shift = 0, .max_zoom = 0, .max_rotation = 0, .layers = 0}; }

// Catmull-Rom between four samples: exact for quadratics, so that its own error is small beside a wrong
// flow's.
double cubic(const double* p, double t) {
  return p[1] + 0.5 * t *
                    (p[2] - p[0] +
                     t * (2 * p[0] - 5 * p[1] + 4 * p[2] - p[3] + t * (3 * (p[1] - p[2]) + p[3] - p[0])));
}

double sample(const Image& image, double x, double y, int64_t c) {
  const auto j = static_cast<int64_t>(std::floor(x)), i = static_cast<int64_t>(std::floor(y));
  double column[4];
  for (int64_t a = 0; a < 4; ++a) {
    double row[4];
    for (int64_t b = 0; b < 4; ++b) {
      row[b] = image.at(std::clamp<int64_t>(i + a - 1, 0, image.height - 1),
                        std::clamp<int64_t>(j + b - 1, 0, image.width - 1))[c];
    }
    column[a] = cubic(row, x - static_cast<double>(j));
  }
  return cubic(column, y - static_cast<double>(i));
}

struct WarpError {
  double mean = 0;   // gray levels
  double share = 0;  // of the pixels that were compared
};

// Mean |I_k(x) - I_{k+1}(x + flow(x))| over pixels that stay inside and are not left out by the mask.
WarpError warp_error(const Image& now, const Image& next, const Flow& flow, const Image* occluded) {
  WarpError error;
  int64_t count = 0;
  for (int64_t i = 0; i < now.height; ++i) {
    for (int64_t j = 0; j < now.width; ++j) {
      if (!is_known(flow.at(i, j)) || (occluded && *occluded->at(i, j))) continue;
      const double x = static_cast<double>(j) + flow.at(i, j)[0],
                   y = static_cast<double>(i) + flow.at(i, j)[1];
      if (x < 2 || y < 2 || x > static_cast<double>(now.width) - 3 || y > static_cast<double>(now.height) - 3)
        continue;
      for (int64_t c = 0; c < 3; ++c) error.mean += std::fabs(now.at(i, j)[c] - sample(next, x, y, c));
      ++count;
    }
  }
  error.mean /= static_cast<double>(3 * std::max<int64_t>(count, 1));
  error.share = static_cast<double>(count) / static_cast<double>(now.height * now.width);
  return error;
}

double contrast(const Image& image) {
  double sum = 0, squares = 0;
  for (const uint8_t value : image.pixels) {
    sum += value;
    squares += double{1} * value * value;
  }
  const auto n = static_cast<double>(image.pixels.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

Flow shifted(Flow flow, float du) {
  for (size_t k = 0; k < flow.uv.size(); k += 2) flow.uv[k] += du;
  return flow;
}

}  // namespace

TEST_CASE("the next frame, warped back by the true flow, is this frame") {
  SyntheticOptions options;
  options.frames = 5;
  options.size = {96, 130};
  SECTION("shift") { options.max_zoom = options.max_rotation = 0, options.layers = 0; }
  SECTION("zoom") {
    options.max_shift = options.max_rotation = 0, options.max_zoom = 0.05, options.layers = 0;
  }
  SECTION("rotation") {
    options.max_shift = options.max_zoom = 0, options.max_rotation = 0.08, options.layers = 0;
  }
  SECTION("all, with three objects") { options.layers = 3; }
  const SyntheticSource source(options);
  double exact = 0, off_by_a_quarter = 0, not_moved = 0;
  for (int64_t item = 0; item < 12; ++item) {
    const Clip clip = source.read({.item = item, .first = 0, .count = 5, .want_truth = true});
    REQUIRE(clip.frames.size() == 5);
    REQUIRE(clip.truth.size() == 4);
    for (size_t k = 0; k < 4; ++k) {
      INFO(fmt::format("item {}, frame {}", item, k));
      const Image mask = source.occluded(item, static_cast<int64_t>(k));
      const WarpError error = warp_error(clip.frames[k], clip.frames[k + 1], clip.truth[k], &mask);
      CHECK(error.share > 0.6);
      CHECK(error.mean < 2.5);
      exact += error.mean;
      off_by_a_quarter +=
          warp_error(clip.frames[k], clip.frames[k + 1], shifted(clip.truth[k], 0.25f), &mask).mean;
      Flow zero = clip.truth[k];
      std::fill(zero.uv.begin(), zero.uv.end(), 0.0f);
      not_moved += warp_error(clip.frames[k], clip.frames[k + 1], zero, &mask).mean;
    }
  }
  // A flow that is a quarter of a pixel off must be told apart; what remains is rounding to 8 bits, the
  // interpolation here and, with objects, the mixed pixels on their edges.
  CHECK(exact < 0.65 * off_by_a_quarter);
  CHECK(exact < 0.2 * not_moved);
  CHECK(exact / 48 < 1.0);
}

TEST_CASE("truth stays true when mirrored, cropped and resized") {
  SyntheticOptions options;
  options.layers = 0;
  const SyntheticSource source(options);
  Image scratch;
  for (const bool mirrored : {false, true}) {
    for (const Size output : {Size{80, 100}, Size{64, 128}}) {
      double sum = 0, wrong = 0;
      for (int64_t item = 0; item < 8; ++item) {
        Clip clip = source.read({.item = item, .first = 0, .count = 2, .want_truth = true});
        apply_geometry(
            {.resized = {128, 128}, .window = {10, 20, {80, 100}}, .output = output, .mirror = mirrored},
            clip, scratch);
        REQUIRE(clip.truth[0].size() == output);
        sum += warp_error(clip.frames[0], clip.frames[1], clip.truth[0], nullptr).mean;
        wrong += warp_error(clip.frames[0], clip.frames[1], shifted(clip.truth[0], 0.5f), nullptr).mean;
      }
      CHECK(sum < 0.5 * wrong);
      CHECK(sum / 8 < 2.5);
    }
  }
}

TEST_CASE("nothing moves when all limits are zero") {
  const SyntheticSource source(still());
  const Clip clip = source.read({.item = 3, .first = 0, .count = 2, .want_truth = true});
  CHECK(clip.frames[0].pixels == clip.frames[1].pixels);
  CHECK(std::all_of(clip.truth[0].uv.begin(), clip.truth[0].uv.end(),
                    [](float v) { return std::fabs(v) < 1e-5f; }));
  const Image mask = source.occluded(3, 0);
  CHECK(std::count(mask.pixels.begin(), mask.pixels.end(), 1) == 0);
}

TEST_CASE("motion keeps to its limits") {
  SyntheticOptions options = still();
  options.max_shift = 4;
  const SyntheticSource source(options);
  double u = 0, longest = 0;
  for (int64_t item = 0; item < 64; ++item) {
    const Flow flow = source.read({.item = item, .first = 0, .count = 2, .want_truth = true}).truth[0];
    for (size_t k = 0; k < flow.uv.size(); ++k) longest = std::max(longest, std::fabs(double{flow.uv[k]}));
    u += flow.uv[0];
  }
  CHECK(longest <= 4.0001);
  CHECK(longest > 3.5);
  CHECK(std::fabs(u / 64) < 1.2);  // 4 standard deviations of the mean
}

TEST_CASE("a clip is a function of seed, split and item") {
  const SyntheticOptions options;
  const auto pixels = [](const SyntheticOptions& o, int64_t item) {
    return SyntheticSource(o).read({.item = item, .first = 0, .count = 2}).frames[0].pixels;
  };
  const auto first = pixels(options, 7);
  CHECK(first == pixels(options, 7));
  CHECK(first != pixels(options, 8));
  CHECK(first != pixels(options, (int64_t{1} << 40) + 7));
  SyntheticOptions other = options;
  other.seed = 2;
  CHECK(first != pixels(other, 7));
  other = options;
  other.split = "val";
  CHECK(first != pixels(other, 7));
}

TEST_CASE("pieces of a clip are the same frames, and past the end the last is repeated") {
  SyntheticOptions options;
  options.frames = 4;
  options.size = {33, 47};
  const SyntheticSource source(options);
  CHECK(source.length(0) == 4);
  const Clip whole = source.read({.item = 1, .first = 0, .count = 4, .want_truth = true});
  const Clip part = source.read({.item = 1, .first = 2, .count = 4, .want_truth = true});
  CHECK(part.frames[0].pixels == whole.frames[2].pixels);
  CHECK(part.frames[1].pixels == whole.frames[3].pixels);
  CHECK(part.frames[3].pixels == whole.frames[3].pixels);
  CHECK(part.truth[0].uv == whole.truth[2].uv);
  CHECK_FALSE(is_known(part.truth[1].at(5, 5)));
  CHECK(source.read({.item = 1, .first = 0, .count = 1, .want_truth = true}).truth.empty());
  CHECK(source.read({.item = 1, .first = 0, .count = 2}).truth.empty());
}

TEST_CASE("objects hide what they pass over") {
  SyntheticOptions options;
  options.layers = 2;
  options.max_zoom = options.max_rotation = 0;
  const SyntheticSource source(options);
  int64_t hidden = 0;
  for (int64_t item = 0; item < 8; ++item) {
    const Image mask = source.occluded(item, 0);
    for (int64_t i = 8; i < 120; ++i) {
      for (int64_t j = 8; j < 120; ++j) hidden += *mask.at(i, j);
    }
  }
  // A boundary of some 150 pixels an object that advances 2 or 3 pixels.
  CHECK(hidden > 8 * 60);
  CHECK(hidden < 8 * 2000);
}

TEST_CASE("textures have contrast and gradients") {
  const SyntheticSource source(SyntheticOptions{});
  for (int64_t item = 0; item < 20; ++item) {
    const Image image = source.read({.item = item, .first = 0, .count = 1}).frames[0];
    INFO(item);
    CHECK(contrast(image) > 10);
  }
}

TEST_CASE("a spec says what it means") {
  const SyntheticOptions options = parse_synthetic(
      "synthetic:size=64x96,frames=11,count=7,max_shift=2.5,max_zoom=0.1,max_rotation=0,layers=4,seed=99,"
      "split=val");
  CHECK(options.size == Size{64, 96});
  CHECK(options.frames == 11);
  CHECK(options.count == 7);
  CHECK(options.max_shift == 2.5);
  CHECK(options.max_zoom == 0.1);
  CHECK(options.max_rotation == 0);
  CHECK(options.layers == 4);
  CHECK(options.seed == 99);
  CHECK(options.split == "val");
  CHECK(parse_synthetic("synthetic:").size == SyntheticOptions{}.size);
}

TEST_CASE("a wrong spec is a usage error that says why") {
  const auto message = [](const std::string& spec) -> std::string {
    try {
      parse_synthetic(spec);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::usage ? error.what() : "not a usage error";
    }
    return "no error";
  };
  CHECK_THAT(message("synthetic:speed=3"), Contains("max_shift") && Contains("speed"));
  CHECK_THAT(message("synthetic:size=64"), Contains("128x192"));
  CHECK_THAT(message("synthetic:size=0x64"), Contains("from 8"));
  CHECK_THAT(message("synthetic:frames=two"), Contains("two"));
  CHECK_THAT(message("synthetic:max_shift=nan"), Contains("nan"));
  CHECK_THAT(message("synthetic:max_shift="), Contains("\"\""));
  CHECK_THAT(message("synthetic:layers"), Contains("key=value"));
  CHECK_THAT(message("synthetic:count=-1"), Contains("-1"));
  CHECK_THAT(message("video.avi"), Contains("synthetic:"));
}

TEST_CASE("a spec of all options gives them again") {
  const SyntheticOptions options = parse_synthetic(
      "synthetic:size=24x40,frames=5,count=9,max_shift=2.7,max_zoom=0.013,max_rotation=0.1,layers=3,"
      "seed=18446744073709551615,split=val");
  const SyntheticOptions again = parse_synthetic(to_spec(options));
  CHECK(to_spec(again) == to_spec(options));
  CHECK(again.size == options.size);
  CHECK(again.frames == 5);
  CHECK(again.count == 9);
  CHECK(again.max_shift == 2.7);
  CHECK(again.max_zoom == 0.013);
  CHECK(again.max_rotation == 0.1);
  CHECK(again.layers == 3);
  CHECK(again.seed == UINT64_MAX);
  CHECK(again.split == "val");
}
