// The training step as a plan: nothing is copied, no vector of gradients in the arena, and micro-batches add
// up to their batch.
#include "optim/update.h"

#include <cmath>
#include <vector>

#include "core/add.h"
#include "core/session.h"
#include "tests/catch.h"
#include "tests/unit/least_squares.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

// Three weight vectors, each with an input of its own, whose outputs are summed.
FlatLayout layout_of(const std::vector<int64_t>& widths) {
  FlatLayout layout;
  for (int64_t K : widths) {
    layout.slices.push_back({"w" + std::to_string(layout.slices.size()), layout.total, {K}});
    layout.total += (K + 63) / 64 * 64;
  }
  return layout;
}

Value net(Graph& g, const FlatLayout& layout, int64_t N) {
  Value y;
  for (const FlatSlice& s : layout.slices) {
    const Value x = g.input("x" + s.name, {N, s.shape[0]});
    const Value part = g.add1(make_op<Linear>(), {x, parameter(g, s)});
    y = y ? add(g, y, part) : part;
  }
  const Value loss = g.add1(make_op<HalfSquare>(), {y, g.input("t", {N})});
  g.output("loss", loss);
  return loss;
}

struct Plans {
  Plan whole, first, next, update;
};

Plans make_plans(const FlatLayout& layout, OptimizerKind kind, Dtype real, int64_t N) {
  register_least_squares();
  Graph whole(real), first(real), next(real), update(real);
  train_step(whole, net(whole, layout, N), layout, {.kind = kind});
  first_micro_step(first, net(first, layout, N), layout);
  next_micro_step(next, net(next, layout, N), layout);
  update_step(update, layout, {.kind = kind, .accumulate = 4});
  return {make_plan(whole), make_plan(first), make_plan(next), make_plan(update)};
}

std::vector<double> draw(Random& r, int64_t count) {
  std::vector<double> values(static_cast<size_t>(count));
  for (double& v : values) v = r.uniform(-1, 1);
  return values;
}

// Rows [begin, begin + N) of every input.
struct Batch {
  std::vector<std::vector<double>> x;  // per slice
  std::vector<double> t;

  void set(Session& s, const FlatLayout& layout, int64_t begin, int64_t N) const {
    for (size_t i = 0; i < layout.slices.size(); ++i) {
      const int64_t K = layout.slices[i].shape[0];
      s.set("x" + layout.slices[i].name, x[i].data() + begin * K, N * K);
    }
    s.set("t", t.data() + begin, N);
  }
};

Batch draw_batch(Random& r, const FlatLayout& layout, int64_t N) {
  Batch b;
  for (const FlatSlice& s : layout.slices) b.x.push_back(draw(r, N * s.shape[0]));
  b.t = draw(r, N);
  return b;
}

// dL/dw by the formula, from the parameters as they are in the State.
std::vector<double> exact_gradient(const Batch& b, const FlatLayout& layout, const std::vector<double>& p,
                                   int64_t N) {
  std::vector<double> residual(b.t.size()), g(p.size());
  for (size_t n = 0; n < b.t.size(); ++n) {
    residual[n] = -b.t[n];
    for (size_t i = 0; i < layout.slices.size(); ++i) {
      const auto K = static_cast<size_t>(layout.slices[i].shape[0]);
      for (size_t k = 0; k < K; ++k)
        residual[n] += b.x[i][n * K + k] * p[static_cast<size_t>(layout.slices[i].offset) + k];
    }
  }
  for (size_t i = 0; i < layout.slices.size(); ++i) {
    const auto K = static_cast<size_t>(layout.slices[i].shape[0]);
    for (size_t n = 0; n < b.t.size(); ++n) {
      for (size_t k = 0; k < K; ++k)
        g[static_cast<size_t>(layout.slices[i].offset) + k] +=
            residual[n] * b.x[i][n * K + k] / static_cast<double>(N);
    }
  }
  return g;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.empty() || a.size() != b.size()) return std::nan("");
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    const double d = std::abs(a[k] - b[k]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

void start(State& state, const FlatLayout& layout, const std::vector<double>& params) {
  state.create(kParams, Dtype::f64, layout.total);
  state.create(kMultipliers, Dtype::f64, layout.total / 32);
  state.write(kParams, 0, layout.total, params.data());
  const std::vector<double> ones(static_cast<size_t>(layout.total / 32), 1);
  state.write(kMultipliers, 0, layout.total / 32, ones.data());
}

// Parameters with zeros in the gaps.
std::vector<double> draw_params(Random& r, const FlatLayout& layout) {
  std::vector<double> p(static_cast<size_t>(layout.total));
  for (const FlatSlice& s : layout.slices) {
    for (int64_t k = 0; k < s.shape[0]; ++k) p[static_cast<size_t>(s.offset + k)] = r.uniform(-1, 1);
  }
  return p;
}

const SessionOptions kPoisoned{.arena = nullptr, .poison = true};

}  // namespace

TEST_CASE("no plan of a training step copies, or holds a vector of gradients in the arena") {
  const auto kind = GENERATE(OptimizerKind::adam, OptimizerKind::sgd);
  const FlatLayout layout = layout_of({1000, 3000, 2000});  // 4, 12 and 8 kB
  const Plans plans = make_plans(layout, kind, Dtype::f32, 2);
  for (const Plan* plan : {&plans.whole, &plans.first, &plans.next, &plans.update}) {
    INFO(plan->to_string());
    for (const PlanStep& step : plan->steps) CHECK(step.op->name() != "copy");
    // Whatever has the parameters' size, or is a slice that is packed, lies in the State.
    for (size_t id = 0; id < plan->specs.size(); ++id) {
      if (plan->specs[id].shape == Shape{layout.total}) CHECK(plan->places[id].where == Place::Where::state);
    }
    for (const PlanStep& step : plan->steps) {
      if (step.op->name() != "pack") continue;
      for (size_t i = 0; i < step.in.size(); ++i) {
        const Place& place = plan->places[static_cast<size_t>(step.in[i].id)];
        CHECK(place.where == Place::Where::state);
        CHECK(place.region == kGrads);
        CHECK(place.offset == layout.slices[i].offset * 4);
      }
    }
  }
  // Less than the smallest slice: no slice can be there.
  CHECK(plans.whole.arena_bytes < 4000);
  CHECK(plans.first.arena_bytes < 4000);
  CHECK(plans.update.arena_bytes < 4000);
  // The summand of one slice at a time: the largest, not all of them.
  CHECK(plans.next.arena_bytes >= 12000);
  CHECK(plans.next.arena_bytes < 12000 + 4000);
}

TEST_CASE("the gradient in the State is the formula's, and gaps are zero") {
  const FlatLayout layout = layout_of({5, 70, 64});
  const Plans plans = make_plans(layout, OptimizerKind::sgd, Dtype::f64, 3);
  Random r(1);
  const std::vector<double> p = draw_params(r, layout);
  const Batch batch = draw_batch(r, layout, 3);
  auto device = make_device("cpu");
  State state(*device);
  start(state, layout, p);
  Session first(plans.first, state, kPoisoned);
  const std::vector<double> rubbish(static_cast<size_t>(layout.total), 1e6);
  state.write(kGrads, 0, layout.total, rubbish.data());
  batch.set(first, layout, 0, 3);
  first.run();
  const std::vector<double> truth = exact_gradient(batch, layout, p, 3);
  CHECK(largest_difference(to_double(state.at(kGrads)), truth) <= 1e-13);
  CHECK(to_double(state.at(kGrads))[63] == 0);
  CHECK(to_double(state.at(kLossSum))[0] == first.get_scalar("loss"));
}

TEST_CASE("four micro-batches make the step of their batch") {
  const auto kind = GENERATE(OptimizerKind::adam, OptimizerKind::sgd);
  const FlatLayout layout = layout_of({5, 70, 64});
  const int64_t N = 3, updates = 5;
  const Plans small = make_plans(layout, kind, Dtype::f64, N);
  const Plans large = make_plans(layout, kind, Dtype::f64, 4 * N);
  Random r(2);
  const std::vector<double> p = draw_params(r, layout);
  auto device = make_device("cpu");
  State whole_state(*device), parts_state(*device);
  start(whole_state, layout, p);
  start(parts_state, layout, p);
  Session whole(large.whole, whole_state, kPoisoned);
  Memory arena(*device,
               std::max({small.first.arena_bytes, small.next.arena_bytes, small.update.arena_bytes}));
  const SessionOptions shared{.arena = &arena, .poison = true};
  Session first(small.first, parts_state, shared), next(small.next, parts_state, shared),
      update(small.update, parts_state, shared);
  for (int64_t t = 1; t <= updates; ++t) {
    const Batch batch = draw_batch(r, layout, 4 * N);
    const double rate = update_rate({.kind = kind}, .01, t);
    batch.set(whole, layout, 0, 4 * N);
    whole.set_scalar("rate", rate);
    whole.run();
    double losses = 0;
    for (int64_t part = 0; part < 4; ++part) {
      Session& session = part == 0 ? first : next;
      batch.set(session, layout, part * N, N);
      session.run();
      losses += session.get_scalar("loss");
    }
    update.set_scalar("rate", rate);
    update.run();
    INFO("update " << t);
    CHECK(update.get_scalar("loss_sum") == Approx(losses).epsilon(1e-14));
    CHECK(whole.get_scalar("loss") == Approx(losses / 4).epsilon(1e-12));
    CHECK(update.get_scalar("gradient_norm") == Approx(4 * whole.get_scalar("gradient_norm")).epsilon(1e-12));
    CHECK(largest_difference(to_double(parts_state.at(kParams)), to_double(whole_state.at(kParams))) <=
          1e-12);
  }
  CHECK(largest_difference(to_double(whole_state.at(kParams)), p) > .01);
}

TEST_CASE("training finds the weights that made the targets") {
  const auto kind = GENERATE(OptimizerKind::adam, OptimizerKind::sgd);
  const FlatLayout layout = layout_of({3, 2});
  const Plans plans = make_plans(layout, kind, Dtype::f32, 16);
  Random r(4);
  auto device = make_device("cpu");
  State state(*device);
  Session session(plans.whole, state, kPoisoned);  // parameters begin at 0
  const std::vector<float> ones(static_cast<size_t>(layout.total / 32), 1);
  state.write(kMultipliers, 0, layout.total / 32, ones.data());
  const std::vector<std::vector<float>> truth = {{1, -2, .5f}, {3, -1}};
  std::vector<float> t(16);
  for (size_t i = 0; i < truth.size(); ++i) {
    std::vector<float> x(16 * truth[i].size());
    for (size_t k = 0; k < x.size(); ++k) {
      x[k] = static_cast<float>(r.uniform(-1, 1));
      t[k / truth[i].size()] += x[k] * truth[i][k % truth[i].size()];
    }
    session.set("xw" + std::to_string(i), x);
  }
  session.set("t", t);
  for (int64_t step = 1; step <= 3000; ++step) {
    session.set_scalar("rate", update_rate({.kind = kind}, .02, step));
    session.run();
  }
  const std::vector<double> p = to_double(state.at(kParams));
  for (size_t i = 0; i < truth.size(); ++i) {
    for (size_t k = 0; k < truth[i].size(); ++k) CHECK(p[64 * i + k] == Approx(truth[i][k]).margin(1e-3));
  }
}

TEST_CASE("a loss that is not finite in one micro-batch skips the update") {
  const FlatLayout layout = layout_of({5});
  const Plans plans = make_plans(layout, OptimizerKind::adam, Dtype::f64, 2);
  Random r(5);
  const std::vector<double> p = draw_params(r, layout);
  auto device = make_device("cpu");
  State state(*device);
  start(state, layout, p);
  Session first(plans.first, state, kPoisoned), next(plans.next, state, kPoisoned),
      update(plans.update, state, kPoisoned);
  update.set_scalar("rate", .1);
  Batch good = draw_batch(r, layout, 2), bad = good;
  bad.t[1] = std::nan("");
  bad.set(first, layout, 0, 2);
  first.run();
  good.set(next, layout, 0, 2);
  next.run();
  update.run();
  CHECK(to_double(state.at(kParams)) == p);
  good.set(first, layout, 0, 2);  // begins anew: nothing of the bad one is left
  first.run();
  next.run();
  update.run();
  CHECK(largest_difference(to_double(state.at(kParams)), p) > 0);
  CHECK(largest_difference(to_double(state.at("moment1")), std::vector<double>(64)) < 10);
}

TEST_CASE(
    "a parameter used twice, two with one gradient, and one without: sums are right, nothing is copied") {
  register_least_squares();
  // L = HalfSquare(2 a + b, t) over N = 64; c stands alone.
  const FlatLayout layout = layout_of({64, 64, 10});
  auto build = [&](Graph& g) {
    const Value a = parameter(g, layout.slices[0]), b = parameter(g, layout.slices[1]);
    const Value loss = g.add1(make_op<HalfSquare>(), {add(g, add(g, a, b), a), g.input("t", {64})});
    g.output("loss", loss);
    return loss;
  };
  Graph g_first(Dtype::f64), g_next(Dtype::f64);
  first_micro_step(g_first, build(g_first), layout);
  next_micro_step(g_next, build(g_next), layout);
  Random r(6);
  const std::vector<double> p = draw_params(r, layout), t = draw(r, 64);
  auto device = make_device("cpu");
  State state(*device);
  start(state, layout, p);
  Session first(make_plan(g_first), state, kPoisoned), next(make_plan(g_next), state, kPoisoned);
  for (Session* s : {&first, &next, &next}) {
    for (const PlanStep& step : s->plan().steps) CHECK(step.op->name() != "copy");
    s->set("t", t);
    s->run();
  }
  const std::vector<double> sum = to_double(state.at(kGrads));
  for (size_t k = 0; k < 64; ++k) {
    const double dy = (2 * p[k] + p[64 + k] - t[k]) / 64;
    REQUIRE(sum[k] == Approx(3 * 2 * dy).margin(1e-14));
    REQUIRE(sum[64 + k] == Approx(3 * dy).margin(1e-14));
    REQUIRE(sum[128 + k] == 0);
  }
}

TEST_CASE("steps that cannot be built say why") {
  register_least_squares();
  auto build = [](const FlatLayout& layout, const OptimizerOptions& options) {
    Graph g;
    const FlatLayout good = layout_of({64, 64});
    train_step(g, net(g, good, 2), layout, options);
  };
  const FlatLayout good = layout_of({64, 64});
  CHECK_NOTHROW(build(good, {}));
  CHECK_THROWS_WITH(build(good, {.accumulate = 2}), Contains("next_micro_step"));
  CHECK_THROWS_AS(build(good, {.beta1 = 2}), Error);
  CHECK_THROWS_AS(build({}, {}), Error);
  FlatLayout bad = good;
  bad.slices[1].offset = 65;
  CHECK_THROWS_WITH(build(bad, {}), Contains("w1"));
  bad = good;
  bad.slices[1].offset = 0;  // overlaps
  CHECK_THROWS_AS(build(bad, {}), Error);
  bad = good;
  bad.total = 64;  // too short
  CHECK_THROWS_AS(build(bad, {}), Error);
  bad.total = 130;  // no whole blocks
  CHECK_THROWS_AS(build(bad, {}), Error);
  Graph g;
  CHECK_THROWS_WITH(train_step(g, g.input("loss", {2}), good, {}), Contains("(1)"));
}
