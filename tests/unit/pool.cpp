// Pooling: numbers worked out by hand where Caffe's rules differ from the obvious.
#include <limits>

#include "layers/average_pool.h"
#include "layers/max_pool.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

Shape shape_of(const PoolAttrs& attrs, Shape x) {
  return detail::pool_shape("max_pool", {x, Dtype::f32}, attrs, Dtype::f32);
}

}  // namespace

TEST_CASE("sizes of pooled images are Caffe's") {
  CHECK(shape_of({}, {16, 224, 224, 64}) == Shape{16, 112, 112, 64});         // VGG16, pool1
  CHECK(shape_of({.kernel = 3}, {1, 109, 109, 96}) == Shape{1, 54, 54, 96});  // CNN-M-2048: 109, 54, 26, 13
  CHECK(shape_of({.kernel = 3}, {1, 26, 26, 256}) == Shape{1, 13, 13, 256});
  CHECK(shape_of({.kernel = 3}, {1, 13, 13, 512}) == Shape{1, 6, 6, 512});
  CHECK(shape_of({.kernel = 3, .ceil = false}, {1, 26, 26, 256}) == Shape{1, 12, 12, 256});
  CHECK(shape_of({.kernel = 3, .pad = 1, .ceil = false}, {1, 112, 112, 64}) == Shape{1, 56, 56, 64});
  // Rounded up there would be a third window, all padding.
  CHECK(shape_of({.kernel = 2, .stride = 2, .pad = 1}, {1, 3, 5, 1}) == Shape{1, 2, 3, 1});
  CHECK(shape_of({.kernel = 1, .stride = 4}, {1, 4, 4, 1}) == Shape{1, 1, 1, 1});
  CHECK(shape_of({.global = true}, {2, 7, 9, 5}) == Shape{2, 1, 1, 5});
}

TEST_CASE("windows know their inputs, and inputs their windows") {
  for (const detail::PoolCase& test : detail::pool_cases()) {
    INFO(test.name);
    const PoolWindows both = pool_windows(test.attrs, test.x[1], test.x[2]);
    for (const PoolAxis& axis : {both.rows, both.columns}) {
      REQUIRE(axis.windows > 0);
      for (int o = 0; o < axis.windows; ++o) {
        const PoolAxis::Range window = axis.window(o);
        REQUIRE(window.begin < window.end);
        REQUIRE(axis.length(o) >= window.end - window.begin);
        for (int p = 0; p < axis.extent; ++p) {
          const PoolAxis::Range holders = axis.holders(p);
          REQUIRE((p >= window.begin && p < window.end) == (o >= holders.begin && o < holders.end));
        }
      }
    }
  }
}

TEST_CASE("of equal inputs the first takes the gradient, and inputs of several windows add up") {
  const Numbers x = {1, 3, 3, 0,  //
                     3, 0, 2, 3,  //
                     2, 2, 2, 2};
  const auto op = make_op<MaxPoolDx>(PoolAttrs{.kernel = 2, .stride = 1});
  const std::vector<Numbers> dx = run_op(op, {{{1, 2, 3, 1}, {1, 2, 4, 8, 16, 32}}, {{1, 3, 4, 1}, x}});
  CHECK(dx[0] == Numbers{0, 3, 4, 0,    //
                         8, 0, 16, 32,  //
                         0, 0, 0, 0});
}

TEST_CASE("a NaN in a window is its maximum, and a window of -infinity has a maximum too") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), low = -std::numeric_limits<double>::infinity();
  for (const Numbers& x : {Numbers{nan, 1, 2, 3}, Numbers{1, 2, nan, 3}}) {
    const Numbers y = run_op(make_op<MaxPool>(), {{{1, 2, 2, 1}, x}})[0];
    CHECK(std::isnan(y[0]));
  }
  const Numbers dx = run_op(make_op<MaxPoolDx>(), {{{1, 1, 1, 1}, {5}}, {{1, 2, 2, 1}, Numbers(4, low)}})[0];
  CHECK(dx == Numbers{5, 0, 0, 0});
}

TEST_CASE("Caffe's average counts padding, but not what sticks out beyond it") {
  const PoolAttrs attrs{.kernel = 3, .stride = 2, .pad = 1};
  const Numbers y = run_op(make_op<AveragePool>(attrs), {{{1, 4, 4, 1}, Numbers(16, 1)}})[0];
  // Windows begin at -1, 1 and 3; the last one holds one input, one of padding, and ends there.
  const double edge = 2.0 / 3, middle = 1, last = 1.0 / 2;
  const Numbers expected = {edge * edge,   edge * middle,   edge * last,    //
                            middle * edge, middle * middle, middle * last,  //
                            last * edge,   last * middle,   last * last};
  REQUIRE(y.size() == expected.size());
  for (size_t k = 0; k < y.size(); ++k) CHECK(y[k] == Approx(expected[k]));
}

TEST_CASE("pooling refuses what does not fit") {
  Graph g;
  const Value x = g.input("x", {1, 4, 5, 2}), flat = g.input("flat", {20}), y = g.input("y", {1, 2, 2, 2});
  CHECK_THROWS_AS(max_pool(g, flat), Error);
  for (const PoolAttrs& bad : {PoolAttrs{.kernel = 0}, PoolAttrs{.stride = 0}, PoolAttrs{.pad = 2},
                               PoolAttrs{.pad = -1}, PoolAttrs{.kernel = 5}}) {
    CHECK_THROWS_AS(max_pool(g, x, bad), Error);
    CHECK_THROWS_AS(average_pool(g, x, bad), Error);
  }
  CHECK_THROWS_AS(g.add1(make_op<MaxPoolDx>(), {y, x}), Error);  // it is (1,2,3,2)
  const AveragePoolDxAttrs attrs{.pool = {}, .height = 4, .width = 5};
  CHECK_THROWS_AS(g.add1(make_op<AveragePoolDx>(attrs), {y}), Error);
  CHECK_THROWS_AS(g.add1(make_op<AveragePoolDx>(attrs), {flat}), Error);
}
