// The ring of metrics: rows in their order, and no update from the first step on that is not finite.
#include "optim/metrics.h"

#include <cmath>
#include <limits>

#include "core/session.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/least_squares.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Writes x and y, of three numbers in a row.
Graph two_numbers() {
  Graph g;
  const Value x = g.input("x", {1}), y = g.input("y", {1});
  g.output("guard", record_metrics(g, {.rows = 3, .columns = 3}, {x, y}));
  return g;
}

std::vector<double> ring_of(const State& state) { return to_double(state.at(kMetrics)); }

}  // namespace

TEST_CASE("each step writes the next row, and the ring begins again behind its last") {
  const auto device = make_device("cpu");
  State state(*device);
  Session session(make_plan(two_numbers()), state, {.poison = true});
  for (int step = 1; step <= 5; ++step) {
    session.set_scalar("x", step);
    session.set_scalar("y", -step);
    session.run();
    CHECK(session.get_scalar("guard") == 0);
    if (step == 2) CHECK(ring_of(state) == std::vector<double>{1, -1, 0, 2, -2, 0, 0, 0, 0});
  }
  CHECK(ring_of(state) == std::vector<double>{4, -4, 0, 5, -5, 0, 3, -3, 0});
}

TEST_CASE("from a number that is not finite on, the guard is none, until the ring is emptied") {
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    INFO(bad);
    const auto device = make_device("cpu");
    State state(*device);
    Session session(make_plan(two_numbers()), state);
    const auto guard = [&](double x, double y) {
      session.set_scalar("x", x);
      session.set_scalar("y", y);
      session.run();
      return session.get_scalar("guard");
    };
    CHECK(guard(3e38, -3e38) == 0);
    CHECK(std::isnan(guard(1, bad)));
    CHECK(std::isnan(guard(1, 2)));
    CHECK(ring_of(state)[7] == 2);  // what comes behind is written down all the same
    const float zeros[2] = {0, 0};
    state.write(kMetricsAt, 0, 2, zeros);
    CHECK(guard(1, 2) == 0);
  }
}

TEST_CASE("rings that cannot hold the numbers are refused") {
  const auto record = [](const MetricsRing& ring, size_t count) {
    Graph g;
    return message_of([&] { record_metrics(g, ring, std::vector<Value>(count, g.input("x", {1}))); });
  };
  CHECK(record({2, 32}, 32) == "no error");
  for (const auto& message : {record({2, 2}, 3), record({2, 40}, 33), record({2, 2}, 0)})
    CHECK_THAT(message, Contains("a ring (R,W), its place (2), and 1 to 32 numbers"));
}

TEST_CASE("a step that is not finite moves nothing, nor does one behind it, which was queued already") {
  register_least_squares();
  const auto kind = GENERATE(OptimizerKind::adam, OptimizerKind::sgd);
  FlatLayout layout;
  layout.slices.push_back({"w", 0, {3}});
  layout.total = 64;
  Graph g(Dtype::f64);
  const Value y = g.add1(make_op<Linear>(), {g.input("x", {2, 3}), parameter(g, layout.slices[0])});
  const Value loss = g.add1(make_op<HalfSquare>(), {y, g.input("t", {2})});
  train_step(g, loss, layout, {.kind = kind}, StepMetrics{{.rows = 4, .columns = 2}, {loss}});
  const auto device = make_device("cpu");
  State state(*device);
  state.create(kMultipliers, Dtype::f64, 2);
  const double ones[2] = {1, 1};
  state.write(kMultipliers, 0, 2, ones);
  Session session(make_plan(g), state, {.poison = true});
  session.set_scalar("rate", .1);
  session.set("x", std::vector<double>{1, 2, 3, 4, 5, 6});
  const auto weights_after = [&](double target) {
    session.set("t", std::vector<double>{target, 1});
    session.run();
    return to_double(state.at(kParams));
  };
  weights_after(1);
  const std::vector<double> moved = weights_after(2);
  CHECK(moved[0] != 0);
  CHECK(weights_after(kNan) == moved);
  CHECK(weights_after(3) == moved);
  const std::vector<double> ring = ring_of(state);
  CHECK(std::isnan(ring[4]));
  CHECK(std::isfinite(ring[6]));
  CHECK(ring[7] > 0);  // the norm
}
