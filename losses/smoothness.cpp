#include "losses/smoothness.h"

#include "core/fill.h"

namespace millrace {
namespace {

constexpr double kFlopPerPower = 20;

// Neighbours may be equal by chance, so gradients are checked with an epsilon that leaves no bend at 0; the
// paper's epsilon has the benchmark and tests of its own.
std::vector<Case> cases_of(const std::function<Case(Shape flow, CharbonnierAttrs attrs)>& make) {
  const CharbonnierAttrs border{
      .alpha = .3, .beta = 2, .epsilon = .5, .border_y = 1, .border_x = 2, .normalizer = 7};
  const CharbonnierAttrs open{.alpha = .4, .beta = 1.25, .epsilon = .5};
  const CharbonnierAttrs rows{.alpha = .3, .beta = 5, .epsilon = 1, .border_y = 1};
  const CharbonnierAttrs paper{
      .alpha = .3, .beta = 10, .border_y = 11, .border_x = 11, .normalizer = 16.0 * 30 * 8100};
  std::vector<Case> cases;
  auto add = [&](const char* name, Case c) {
    c.name = name;
    cases.push_back(std::move(c));
  };
  add("small", make({2, 5, 7, 4}, border));
  add("no border", make({2, 3, 4, 4}, open));
  add("border above and below", make({1, 4, 3, 2}, rows));
  add("one pixel", make({1, 1, 1, 2}, open));
  add("one row", make({1, 1, 5, 2}, open));
  add("one column", make({1, 5, 1, 2}, open));
  add("long rows", make({2, 2, 70, 8}, open));
  add("many rows", make({1, 19, 3, 4}, rows));
  add("benchmark", make({4, 112, 112, 20}, paper));
  cases.back().benchmark = true;
  return cases;
}

}  // namespace

void detail::check_smoothness(const char* op, const CharbonnierAttrs& attrs, const Spec& flow) {
  const Border border{.y = attrs.border_y, .x = attrs.border_x};
  if (!border.fits(flow.shape) || flow.shape[3] % 2 != 0) {
    fail(ErrorKind::runtime,
         {op, "flow (N,H,W,2K) larger than its border",
          flow.to_string() + ", border " + std::to_string(border.y) + "," + std::to_string(border.x), ""});
  }
  // The square of epsilon must be a normal float.
  if (!(attrs.epsilon >= 1e-12) || !(attrs.normalizer > 0) || !(attrs.alpha > 0)) {
    fail(ErrorKind::runtime,
         {op, "epsilon >= 1e-12, normalizer > 0, alpha > 0", Smoothness(attrs).attributes(), ""});
  }
}

std::vector<Value> Smoothness::grad(const GradArgs& a) const {
  auto given = [&](Value dloss) { return dloss ? dloss : fill(a.graph, {1}, 0); };
  const Value du = given(a.dout[0]), dv = given(a.dout[1]);
  return {a.graph.add1(make_op<SmoothnessDflow>(attrs), {a.in[0], du, dv})};
}

std::vector<Spec> SmoothnessDflow::infer(std::span<const Spec> in, Dtype real) const {
  detail::check_smoothness(kName, attrs, in[0]);
  const Spec scalar{{1}, precise(real)};
  if (!(in[1] == scalar) || !(in[2] == scalar)) {
    fail(ErrorKind::runtime,
         {kName, "dloss_u and dloss_v (1)", in[1].to_string() + " and " + in[2].to_string(), ""});
  }
  return {in[0]};
}

Cost Smoothness::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 2 * kFlopPerPower * static_cast<double>(in[0].shape.count());
  return cost;
}

Cost SmoothnessDflow::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 2 * kFlopPerPower * static_cast<double>(in[0].shape.count());
  return cost;
}

std::vector<Case> Smoothness::cases() {
  return cases_of([](Shape flow, CharbonnierAttrs attrs) {
    return Case{.name = {}, .op = make_op<Smoothness>(attrs), .in = {{flow}}};
  });
}

std::vector<Case> SmoothnessDflow::cases() {
  return cases_of([](Shape flow, CharbonnierAttrs attrs) {
    return Case{.name = {}, .op = make_op<SmoothnessDflow>(attrs), .in = {{flow}, {{1}}, {{1}}}};
  });
}

}  // namespace millrace
