// What happens to frames on their way into the losses: normalisation, LRN, downsampling, slices.
#include <cmath>

#include "layers/concat.h"
#include "layers/downsample.h"
#include "layers/lrn.h"
#include "layers/normalize_image.h"
#include "layers/slice_channels.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

Numbers normalized(const Numbers& pixel) {
  return run_op(make_op<NormalizeImage>(), {{{1, 1, 1, 3}, pixel, Dtype::u8}}).front();
}

// LRN's factor of a pixel of one grey level.
double lrn_factor(double grey) {
  const Numbers x = normalized({grey, grey, grey});
  const Numbers y = run_op(make_op<Lrn>(), {{{1, 1, 1, 3}, x}}).front();
  for (size_t c = 0; c < 3; ++c) CHECK(y[c] / x[c] == Approx(y[0] / x[0]).epsilon(1e-12));
  return y[0] / x[0];
}

}  // namespace

TEST_CASE("frames are normalised by the means of B, G, R and 1/255") {
  CHECK(normalized({104, 117, 123}) == Numbers{0, 0, 0});
  const Numbers black = normalized({0, 0, 0}), white = normalized({255, 255, 255});
  CHECK(black[0] == Approx(-104.0 / 255).epsilon(1e-15));
  CHECK(black[1] == Approx(-117.0 / 255).epsilon(1e-15));
  CHECK(black[2] == Approx(-.482).margin(5e-4));
  CHECK(white[0] == Approx(.592).margin(5e-4));
  // Every frame of a clip by itself.
  const Numbers clip =
      run_op(make_op<NormalizeImage>(), {{{1, 1, 1, 6}, {0, 0, 0, 104, 117, 123}, Dtype::u8}}).front();
  CHECK(clip == Numbers{black[0], black[1], black[2], 0, 0, 0});
}

TEST_CASE("LRN's factors") {
  CHECK(lrn_factor(0) == Approx(.955).margin(5e-4));
  CHECK(lrn_factor(128) == Approx(.999).margin(5e-4));
  CHECK(lrn_factor(255) == Approx(.935).margin(5e-4));
}

TEST_CASE("LRN normalises each frame of a clip by its own colours") {
  const Numbers a = {.1, -.2, .3}, b = {.5, .4, -.3};
  auto plain = [](const Numbers& x) {
    const double sum = x[0] * x[0] + x[1] * x[1] + x[2] * x[2], f = std::pow(1 + sum / 9, -.7);
    return Numbers{x[0] * f, x[1] * f, x[2] * f};
  };
  const Numbers y = run_op(make_op<Lrn>(), {{{1, 1, 1, 6}, {.1, -.2, .3, .5, .4, -.3}}}).front();
  for (size_t c = 0; c < 3; ++c) {
    CHECK(y[c] == Approx(plain(a)[c]).epsilon(1e-14));
    CHECK(y[3 + c] == Approx(plain(b)[c]).epsilon(1e-14));
  }
}

TEST_CASE("downsampling scales of the paper's levels") {
  const int64_t extents[] = {7, 14, 28, 56, 112};
  const double scales[] = {37.167, 17.154, 8.259, 4.0545, 2.0090};
  for (size_t l = 0; l < 5; ++l) {
    CHECK(downsample_scale(224, extents[l]) == Approx(scales[l]).margin(6e-4));
  }
}

TEST_CASE("downsampling by hand: 5 to 3") {
  // scale 2, sources 0, 2, 4; (1, 1/2) and (1/2, 1, 1/2), each over its sum.
  const Numbers y = run_op(make_op<Downsample>(DownsampleAttrs{.height = 1, .width = 3}),
                           {{{1, 1, 5, 1}, {1, 10, 100, 1000, 10000}}})
                        .front();
  CHECK(y[0] == Approx((1 + .5 * 10) / 1.5).epsilon(1e-14));
  CHECK(y[1] == Approx((.5 * 10 + 100 + .5 * 1000) / 2).epsilon(1e-14));
  CHECK(y[2] == Approx((.5 * 1000 + 10000) / 1.5).epsilon(1e-14));
}

TEST_CASE("downsampling in two dimensions, by the formula of the source") {
  const int64_t H = 17, W = 23, h = 4, w = 9;
  const Numbers x = draw(H * W, -1, 1, 1);
  const Numbers y =
      run_op(make_op<Downsample>(DownsampleAttrs{.height = h, .width = w}), {{{1, H, W, 1}, x}}).front();
  const double scale_y = static_cast<double>(H - 1) / static_cast<double>(h - 1);
  const double scale_x = static_cast<double>(W - 1) / static_cast<double>(w - 1);
  for (int64_t i = 0; i < h; ++i) {
    for (int64_t j = 0; j < w; ++j) {
      double sum = 0, weights = 0;
      for (int64_t p = 0; p < H; ++p) {
        for (int64_t q = 0; q < W; ++q) {
          const double down = static_cast<double>(p) - static_cast<double>(i) * scale_y;
          const double right = static_cast<double>(q) - static_cast<double>(j) * scale_x;
          const double weight =
              std::max(0.0, 1 - std::abs(down) / scale_y) * std::max(0.0, 1 - std::abs(right) / scale_x);
          sum += weight * x[static_cast<size_t>(p * W + q)];
          weights += weight;
        }
      }
      CHECK(y[static_cast<size_t>(i * w + j)] == Approx(sum / weights).epsilon(1e-10));
    }
  }
}

TEST_CASE("downsampling keeps plain images, and all of an image at its own size") {
  const Numbers plain(3 * 31 * 20, .7);
  for (const int64_t out : {1, 2, 7, 20}) {
    const Numbers y =
        run_op(make_op<Downsample>(DownsampleAttrs{.height = out, .width = out}), {{{1, 31, 20, 3}, plain}})
            .front();
    REQUIRE(y.size() == static_cast<size_t>(3 * out * out));
    for (const double v : y) CHECK(v == Approx(.7).epsilon(1e-14));
  }
  const Numbers x = draw(2 * 5 * 4, -1, 1, 2);
  CHECK(run_op(make_op<Downsample>(DownsampleAttrs{.height = 5, .width = 4}), {{{2, 5, 4, 1}, x}}).front() ==
        x);
}

TEST_CASE("downsampling to one pixel is centred") {
  // src 1.5, scale 3: weights 1/2, 5/6, 5/6, 1/2.
  const Numbers y =
      run_op(make_op<Downsample>(DownsampleAttrs{.height = 1, .width = 1}), {{{1, 1, 4, 1}, {1, 0, 0, 3}}})
          .front();
  CHECK(y.front() == Approx((.5 + 1.5) / (8.0 / 3)).epsilon(1e-14));
}

TEST_CASE("slices and their concatenation") {
  const Shape shape{1, 1, 2, 3};
  const OpInput x{shape, {1, 2, 3, 4, 5, 6}};
  CHECK(run_op(make_op<SliceChannels>(SliceChannelsAttrs{.begin = 1, .count = 2}), {x}).front() ==
        Numbers{2, 3, 5, 6});
  CHECK(run_op(make_op<EmbedChannels>(EmbedChannelsAttrs{.begin = 1, .total = 5}), {x}).front() ==
        Numbers{0, 1, 2, 3, 0, 0, 4, 5, 6, 0});
  CHECK(run_op(make_op<Concat>(), {x, {{1, 1, 2, 1}, {7, 8}}}).front() == Numbers{1, 2, 3, 7, 4, 5, 6, 8});
}

TEST_CASE("images that do not fit are refused where the net is built") {
  Graph g;
  const Value frames = g.input("frames", Spec{{1, 4, 4, 3}, Dtype::u8});
  const Value pair = g.input("pair", {1, 4, 4, 2}), clip = g.input("clip", {1, 4, 4, 3});
  CHECK_THROWS_AS(normalize_image(g, clip), Error);  // not u8
  CHECK_THROWS_AS(normalize_image(g, g.input("odd", Spec{{1, 4, 4, 4}, Dtype::u8})), Error);
  CHECK_THROWS_AS(lrn(g, pair), Error);
  CHECK_THROWS_AS(lrn(g, clip, {.size = 3}), Error);
  CHECK_THROWS_AS(downsample(g, clip, {.height = 5, .width = 2}), Error);
  CHECK_THROWS_AS(downsample(g, clip, {.height = 0, .width = 2}), Error);
  CHECK_THROWS_AS(downsample(g, frames, {.height = 2, .width = 2}), Error);
  CHECK_THROWS_AS(slice_channels(g, clip, {.begin = 2, .count = 2}), Error);
  CHECK_THROWS_AS(slice_channels(g, clip, {.begin = 0, .count = 0}), Error);
  CHECK_THROWS_AS(embed_channels(g, clip, {.begin = 1, .total = 3}), Error);
  CHECK_THROWS_AS(concat(g, {clip, g.input("tall", {1, 5, 4, 3})}), Error);
  CHECK_THROWS_AS(concat(g, std::span<const Value>{}), Error);
}
