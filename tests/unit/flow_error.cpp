// End-point error and shares of outliers, against cases counted by hand.
#include "data/flow_error.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/catch.h"

using namespace millrace;

namespace {

Flow flow_of(Size size, const std::vector<float>& uv) {
  Flow flow;
  flow.reshape(size);
  flow.uv = uv;
  return flow;
}

}  // namespace

TEST_CASE("outliers of eight pixels, counted by hand") {
  // truth           guess          e      e > 1, 3, 5   e > 3 and > 5 % of the length
  // (0, 0)          (0, 0)         0
  // (0, 0)          (1, 0)         1      (not over: equal)
  // (3, 4)          (3, 2)         2      1
  // (0, 0)          (0, -3)        3      1
  // (10, 0)         (14, 0)        4      1 3           Fl: 40 %
  // (100, 0)        (100, 4)       4      1 3           no: 4 %
  // (0, 100)        (0, 106)       6      1 3 5         Fl: 6 %
  // unknown         (1e6, 0)
  const Flow truth =
      flow_of({2, 4}, {0, 0, 0, 0, 3, 4, 0, 0, 10, 0, 100, 0, 0, 100, kUnknownFlow, kUnknownFlow});
  const Flow guess = flow_of({2, 4}, {0, 0, 1, 0, 3, 2, 0, -3, 14, 0, 100, 4, 0, 106, 1e6f, 0});
  const FlowError e = flow_error(guess, truth);
  CHECK(e.pixels == 7);
  CHECK(e.unknown == 1);
  CHECK(e.sum == Approx(20));
  CHECK(e.mean() == Approx(20. / 7));
  CHECK(e.zero_mean() == Approx(215. / 7));
  CHECK(e.over[0] == 5);
  CHECK(e.over[1] == 3);
  CHECK(e.over[2] == 1);
  CHECK(e.outliers == 2);
  CHECK(e.percent(e.over[1]) == Approx(300. / 7));
  CHECK(e.mean() == Approx(end_point_error(guess, truth).mean));
}

TEST_CASE("errors of pairs add up pixel by pixel") {
  FlowError total = flow_error(flow_of({1, 1}, {4, 0}), flow_of({1, 1}, {0, 0}));
  total += flow_error(flow_of({1, 3}, {0, 0, 0, 0, 0, 0}), flow_of({1, 3}, {0, 0, 0, 0, NAN, 0}));
  CHECK(total.pixels == 3);
  CHECK(total.unknown == 1);
  CHECK(total.mean() == Approx(4. / 3));
  CHECK(total.percent(total.outliers) == Approx(100. / 3));
}

TEST_CASE("the border is left out, unknown pixels in it too") {
  Flow truth, guess;
  truth.reshape({5, 6});
  guess.reshape({5, 6});
  for (size_t k = 0; k < guess.uv.size(); ++k) guess.uv[k] = 3;
  truth.at(0, 0)[0] = kUnknownFlow;
  truth.at(2, 2)[0] = kUnknownFlow;
  const FlowError e = flow_error(guess, truth, 1);
  CHECK(e.pixels == 11);
  CHECK(e.unknown == 1);
  CHECK(e.mean() == Approx(std::sqrt(18.)));
  const FlowError none = flow_error(guess, truth, 3);
  CHECK(none.pixels == 0);
  CHECK(none.mean() == 0);
  CHECK(none.percent(none.outliers) == 0);
}

TEST_CASE("flow that is not finite is over every bound") {
  const float inf = std::numeric_limits<float>::infinity();
  const FlowError e =
      flow_error(flow_of({1, 3}, {NAN, 0, inf, 0, 0, 0}), flow_of({1, 3}, {1, 0, 1, 0, 0, 0}));
  CHECK(e.pixels == 3);
  CHECK(e.over[2] == 2);
  CHECK(e.outliers == 2);
  CHECK_FALSE(std::isfinite(e.mean()));
  CHECK_THROWS_AS(flow_error(flow_of({1, 1}, {0, 0}), flow_of({1, 2}, {0, 0, 0, 0})), Error);
}
