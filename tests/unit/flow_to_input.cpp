// The temporal stream's input against the numbers of the authors' layers.
#include "layers/flow_to_input.h"

#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

Numbers input_of(const Shape& shape, const Numbers& flow, FlowToInputAttrs attrs = {}) {
  return run_op(make_op<FlowToInput>(attrs), {{shape, flow}}).front();
}

// dx of L = sum of dy y.
Numbers gradient_of(const Shape& shape, const Numbers& flow, const Numbers& dy, FlowToInputAttrs attrs = {}) {
  return run_op(make_op<FlowToInputDx>(attrs),
                {{{shape[0], 2 * shape[1], 2 * shape[2], shape[3]}, dy}, {shape, flow}})
      .front();
}

}  // namespace

TEST_CASE("no flow gives -.5 inside, less at edges and in corners") {
  const Numbers y = input_of({1, 3, 3, 1}, Numbers(9, 0));
  CHECK(y.size() == 36);
  CHECK(y[0] == Approx(127.5 * .5625 - 128).epsilon(1e-14));
  CHECK(y[0] == Approx(-56.3).margin(.05));
  CHECK(y[1] == Approx(-32.4).margin(.05));
  CHECK(y[6] == Approx(127.5 * .75 - 128).epsilon(1e-14));
  CHECK(y[7] == Approx(-.5).epsilon(1e-14));
}

TEST_CASE("flow beyond 20 pixels is clipped to the ends of the range") {
  // The middle of 3 x 3 equal flows is what a large image of them would be.
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, 1))[14] == Approx(127).epsilon(1e-14));
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, 7))[14] == Approx(127).epsilon(1e-14));
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, -7))[14] == Approx(-128).epsilon(1e-14));
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, 5. / 20))[14] == Approx(25 * 6.375 - 128).epsilon(1e-14));
}

TEST_CASE("up-sampling weighs by .75 and .25, the nearer pixel more") {
  // One row, whose upper and lower halves both miss a quarter of z.
  const Numbers y = input_of({1, 1, 2, 1}, {-1, 1}, {.scale = 1, .offset = 1, .shift = 0});
  REQUIRE(y.size() == 8);
  const Numbers expected = {0, .25 * 2, .75 * 2, .75 * 2};  // z is 0 and 2
  for (size_t j = 0; j < 4; ++j) {
    CHECK(y[j] == Approx(.75 * expected[j]).margin(1e-14));
    CHECK(y[4 + j] == Approx(.75 * expected[j]).margin(1e-14));
  }
}

TEST_CASE("quantised flow is one of 256 levels before it is up-sampled, halves to even") {
  const FlowToInputAttrs quantised{.quantise = true};
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, 0), quantised)[14] == 0);  // 127.5 to 128
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, .3 / 127.5), quantised)[14] == 0);
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, 1.2 / 127.5), quantised)[14] == 1);
  CHECK(input_of({1, 3, 3, 1}, Numbers(9, -1 / 127.5), quantised)[14] == -2);  // 126.5 to 126
}

TEST_CASE("the gradient is 127.5 times the transposed interpolation, 0 where flow is clipped") {
  const Numbers ones(36, 1);
  for (const bool quantise : {false, true}) {
    const Numbers dx =
        gradient_of({1, 3, 3, 1}, {.5, -1, 1, -.99, .99, 3, -3, 0, .1}, ones, {.quantise = quantise});
    const Numbers inside = {1, 0, 0, 1, 1, 0, 0, 1, 1};
    const auto mass = [](size_t k) { return k == 1 ? 2. : 1.75; };  // the ring outside is missing
    for (size_t k = 0; k < 9; ++k)
      CHECK(dx[k] == Approx(127.5 * inside[k] * mass(k / 3) * mass(k % 3)).epsilon(1e-14));
  }
}

TEST_CASE("flow_to_input refuses what is no flow") {
  Graph g;
  CHECK_THROWS_WITH(flow_to_input(g, g.input("x", {2, 3})), Catch::Contains("flow (N,H,W,C)"));
  CHECK_THROWS_WITH(flow_to_input(g, g.input("y", {1, 2, 3, 4}), {.clip = 0}),
                    Catch::Contains("a clip above 0"));
}
