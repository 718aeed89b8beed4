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

TEST_CASE("with its border continued no flow gives -.5 everywhere, and any constant flow a constant") {
  for (const Shape& shape : {Shape{1, 3, 3, 1}, Shape{2, 1, 1, 2}, Shape{1, 1, 4, 2}, Shape{1, 5, 1, 3}}) {
    for (const double flow : {0., .25, -3.}) {
      INFO(shape.to_string() << ", flow " << flow);
      const Numbers y =
          input_of(shape, Numbers(static_cast<size_t>(shape.count()), flow), {.replicate = true});
      CHECK(y.size() == static_cast<size_t>(4 * shape.count()));
      const double expected = 127.5 * std::max(flow, -1.) + 127.5 - 128;
      for (const double v : y) CHECK(v == Approx(expected).margin(1e-12));
    }
  }
}

TEST_CASE("a continued border changes the outermost ring of the input and nothing inside") {
  const Shape shape{1, 4, 5, 2};
  const Numbers flow = draw(shape.count(), -1, 1, 3);
  const Numbers dark = input_of(shape, flow), even = input_of(shape, flow, {.replicate = true});
  for (int64_t i = 0; i < 8; ++i) {
    for (int64_t j = 0; j < 10; ++j) {
      const bool ring = i == 0 || i == 7 || j == 0 || j == 9;
      for (int64_t c = 0; c < 2; ++c) {
        const auto k = static_cast<size_t>((i * 10 + j) * 2 + c);
        CHECK((dark[k] != even[k]) == ring);
      }
    }
  }
}

TEST_CASE("with the border continued each pixel of flow weighs 4 pixels of the input, at the border too") {
  for (const Shape& shape : {Shape{1, 3, 3, 1}, Shape{1, 1, 1, 1}, Shape{1, 1, 6, 1}}) {
    const Numbers dy(static_cast<size_t>(4 * shape.count()), 1);
    const Numbers flow(static_cast<size_t>(shape.count()), .3);
    for (const double dx : gradient_of(shape, flow, dy, {.replicate = true}))
      CHECK(dx == Approx(4 * 127.5).epsilon(1e-14));
  }
}

TEST_CASE("flow_to_input refuses what is no flow") {
  Graph g;
  CHECK_THROWS_WITH(flow_to_input(g, g.input("x", {2, 3})), Catch::Contains("flow (N,H,W,C)"));
  CHECK_THROWS_WITH(flow_to_input(g, g.input("y", {1, 2, 3, 4}), {.clip = 0}),
                    Catch::Contains("a clip above 0"));
}
