#include "losses/charbonnier.h"

namespace millrace {
namespace {

constexpr double kFlopPerPower = 20;  // a logarithm, an exponential and what is around them

// x at least .05 from 0, where the penalty bends within epsilon / beta.
std::vector<Case> cases_of(const std::function<Case(Shape x, Draw draw, CharbonnierAttrs attrs)>& make) {
  const CharbonnierAttrs smooth{.alpha = .3, .beta = 2, .epsilon = .5, .normalizer = 3};
  CharbonnierAttrs border{.alpha = .4, .beta = 255, .border_y = 1, .border_x = 2, .normalizer = 40};
  const CharbonnierAttrs paper{
      .alpha = .4, .beta = 255, .border_y = 11, .border_x = 11, .normalizer = 16.0 * 30 * 8100};
  std::vector<Case> cases;
  auto add = [&](const char* name, Case c) {
    c.name = name;
    cases.push_back(std::move(c));
  };
  add("small", make({2, 5, 7, 3}, away_from_zero(.05, 1), border));
  add("one pixel", make({1, 1, 1, 1}, away_from_zero(.05, 1), {}));
  add("smooth at 0", make({3, 2, 2, 4}, uniform(-1, 1), smooth));
  border.alpha = 1.5;
  add("convex", make({1, 3, 6, 2}, away_from_zero(.05, 1), border));
  border.border_x = 1;
  add("a border that cuts vectors", make({2, 3, 6, 30}, away_from_zero(.05, 1), border));
  add("long rows", make({1, 4, 70, 8}, away_from_zero(.05, 1), border));
  add("benchmark", make({4, 112, 112, 30}, uniform(-.5, .5), paper));
  cases.back().benchmark = true;
  return cases;
}

}  // namespace

void detail::check_charbonnier(const char* op, const CharbonnierAttrs& attrs, const Spec& x) {
  const Border border{.y = attrs.border_y, .x = attrs.border_x};
  if (!border.fits(x.shape)) {
    fail(ErrorKind::runtime,
         {op, "(N,H,W,C) larger than its border",
          x.to_string() + ", border " + std::to_string(border.y) + "," + std::to_string(border.x), ""});
  }
  // The square of epsilon must be a normal float.
  if (!(attrs.epsilon >= 1e-12) || !(attrs.normalizer > 0) || !(attrs.alpha > 0)) {
    fail(ErrorKind::runtime,
         {op, "epsilon >= 1e-12, normalizer > 0, alpha > 0", Charbonnier(attrs).attributes(), ""});
  }
}

std::vector<Value> Charbonnier::grad(const GradArgs& a) const {
  return {a.graph.add1(make_op<CharbonnierDx>(attrs), {a.dout[0], a.in[0]})};
}

Cost Charbonnier::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = kFlopPerPower * static_cast<double>(in[0].shape.count());
  return cost;
}

Cost CharbonnierDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = kFlopPerPower * static_cast<double>(in[1].shape.count());
  return cost;
}

std::vector<Case> Charbonnier::cases() {
  return cases_of([](Shape x, Draw draw, CharbonnierAttrs attrs) {
    return Case{.name = {}, .op = make_op<Charbonnier>(attrs), .in = {{x, draw}}};
  });
}

std::vector<Case> CharbonnierDx::cases() {
  return cases_of([](Shape x, Draw draw, CharbonnierAttrs attrs) {
    return Case{.name = {}, .op = make_op<CharbonnierDx>(attrs), .in = {{{1}}, {x, draw}}};
  });
}

}  // namespace millrace
