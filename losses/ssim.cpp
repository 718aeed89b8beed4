#include "losses/ssim.h"

#include <cmath>

namespace millrace {
namespace {

std::vector<Case> cases_of(const std::function<Case(Shape x, SsimAttrs attrs)>& make) {
  auto named = [](const char* name, Case c) {
    c.name = name;
    return c;
  };
  std::vector<Case> cases = {named("small", make({2, 9, 8, 3}, {})),
                             named("one pixel", make({1, 1, 1, 1}, {.c1 = .1, .c2 = .1})),
                             named("cut windows", make({1, 7, 12, 2}, {})),
                             named("more channels than a block", make({1, 3, 2, 35}, {})),
                             named("windows of several blocks", make({2, 10, 17, 12}, {})),
                             named("other constants", make({1, 5, 9, 1}, {.c1 = .5, .c2 = 2})),
                             named("benchmark", make({4, 112, 112, 30}, {}))};
  cases.back().benchmark = true;
  return cases;
}

}  // namespace

const std::array<double, kSsimWindow>& ssim_weights() {
  static const std::array<double, kSsimWindow> weights = [] {
    constexpr double kSigma = 2.0 * kSsimWindow / 12, kCentre = kSsimWindow / 2;
    std::array<double, kSsimWindow> w{};
    double sum = 0;
    for (size_t p = 0; p < w.size(); ++p) {
      const double distance = (static_cast<double>(p) - kCentre) / kSigma;
      w[p] = std::exp(-distance * distance / 2);
      sum += w[p];
    }
    for (double& weight : w) weight /= sum;
    return w;
  }();
  return weights;
}

void detail::check_ssim(const char* op, const SsimAttrs& attrs, const Spec& x, const Spec& y) {
  if (x.shape.rank() != 4 || x.shape.count() == 0 || !(x == y)) {
    fail(ErrorKind::runtime,
         {op, "two images alike, (N,H,W,C)", x.to_string() + " and " + y.to_string(), ""});
  }
  if (!(attrs.c1 > 0) || !(attrs.c2 > 0)) {
    fail(ErrorKind::runtime, {op, "c1 > 0, c2 > 0", Ssim(attrs).attributes(), ""});
  }
}

std::vector<Value> Ssim::grad(const GradArgs& a) const {
  std::vector<Value> din(2);
  if (a.wanted[0]) din[0] = a.graph.add1(make_op<SsimDx>(attrs), {a.dout[0], a.in[0], a.in[1]});
  if (a.wanted[1]) din[1] = a.graph.add1(make_op<SsimDx>(attrs), {a.dout[0], a.in[1], a.in[0]});
  return din;
}

Cost Ssim::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 12.0 * static_cast<double>(in[0].shape.count());  // five weighted sums
  return cost;
}

std::vector<Spec> SsimDx::infer(std::span<const Spec> in, Dtype real) const {
  detail::check_ssim(kName, attrs, in[1], in[2]);
  if (!(in[0] == Spec{{1}, precise(real)}))
    fail(ErrorKind::runtime, {kName, "dloss (1)", in[0].to_string(), ""});
  return {in[1]};
}

Cost SsimDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 18.0 * static_cast<double>(in[1].shape.count());
  return cost;
}

std::vector<Case> Ssim::cases() {
  return cases_of([](Shape x, SsimAttrs attrs) {
    return Case{.name = {}, .op = make_op<Ssim>(attrs), .in = {{x}, {x}}};
  });
}

std::vector<Case> SsimDx::cases() {
  return cases_of([](Shape x, SsimAttrs attrs) {
    return Case{.name = {}, .op = make_op<SsimDx>(attrs), .in = {{{1}}, {x}, {x}}};
  });
}

}  // namespace millrace
