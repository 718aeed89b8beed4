#include "layers/linear.h"

#include "layers/leaky_relu.h"

namespace millrace {
namespace {

// The shape with another first extent.
Shape with_first(const Shape& s, int64_t first) {
  switch (s.rank()) {
    case 2:
      return {first, s[1]};
    case 4:
      return {first, s[1], s[2], s[3]};
    default:
      return {};
  }
}

// Refuses what does not fit together; x may be dx, w dw and y dy.
void check(const char* op, const Shape& x, const Shape& w, const Shape& y) {
  const bool fits = (x.rank() == 2 || x.rank() == 4) && w == with_first(x, w[0]) && y == Shape{x[0], w[0]} &&
                    x.count() > 0 && w.count() > 0;
  if (fits) return;
  fail(ErrorKind::runtime, {op, "x (N,K), w (O,K) and y (N,O), or x (N,H,W,C) and w (O,H,W,C)",
                            "x " + x.to_string() + ", w " + w.to_string() + ", y " + y.to_string(), ""});
}

Cost cost_of(Cost cost, const Shape& weights, int64_t images) {
  cost.flop = 2 * static_cast<double>(weights.count()) * static_cast<double>(images);
  return cost;
}

struct Sizes {
  const char* name;
  Shape x, w;
  bool benchmark = false;
};

// One of everything, sizes that no vector divides, rows of several warps and runs of sums, and VGG's: fc6 at
// an eighth of its width, fc8 and a batch of the size that it is trained with.
std::vector<Sizes> sizes() {
  return {{"small", {2, 5}, {3, 5}},
          {"one", {1, 1}, {1, 1}},
          {"image", {2, 2, 3, 2}, {3, 2, 3, 2}},
          {"odd", {3, 37}, {11, 37}},
          {"one image, vectors", {1, 264}, {4, 264}},
          {"batches of 8 and a rest", {11, 24}, {16, 24}},
          {"runs of outputs", {3, 8}, {150, 8}},
          {"runs and several blocks", {2, 520}, {5, 520}},
          {"one image benchmark", {1, 7, 7, 512}, {512, 7, 7, 512}, true},
          {"10 images benchmark", {10, 4096}, {1000, 4096}, true},
          {"128 images benchmark", {128, 1024}, {1024, 1024}, true}};
}

Case case_of(const Sizes& s, std::shared_ptr<const Op> op, std::vector<CaseInput> in) {
  return {.name = s.name, .op = std::move(op), .in = std::move(in), .benchmark = s.benchmark};
}

}  // namespace

std::vector<Spec> Linear::infer(std::span<const Spec> in, Dtype) const {
  const Shape y =
      in[0].shape.rank() > 0 && in[1].shape.rank() > 0 ? Shape{in[0].shape[0], in[1].shape[0]} : Shape{};
  check(kName, in[0].shape, in[1].shape, y);
  if (in.size() == 3 && !(in[2].shape == Shape{y[1]})) {
    fail(ErrorKind::runtime,
         {kName, "a bias of shape " + Shape{y[1]}.to_string(), in[2].shape.to_string(), ""});
  }
  return {{y, attrs.precise ? precise(in[0].dtype) : in[0].dtype}};
}

std::shared_ptr<const Op> Linear::with_precise_output() const {
  LinearAttrs as = attrs;
  as.precise = true;
  return make_op<Linear>(as);
}

std::vector<Value> Linear::grad(const GradArgs& a) const {
  if (attrs.negative_slope != 1) {
    fail(ErrorKind::runtime, {kName, "a layer before fusion", "one with its activation inside", ""});
  }
  std::vector<Value> din(a.in.size());
  if (a.wanted[0]) din[0] = a.graph.add1(make_op<LinearDx>(), {a.dout[0], a.in[1]});
  if (a.wanted[1]) din[1] = a.graph.add1(make_op<LinearDw>(), {a.in[0], a.dout[0]});
  if (a.in.size() == 3 && a.wanted[2]) din[2] = a.graph.add1(make_op<LinearDb>(), {a.dout[0]});
  return din;
}

Cost Linear::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  return cost_of(Op::cost(in, out), in[1].shape, out[0].shape[0]);
}

std::shared_ptr<const Op> Linear::absorb(const Op& next) const {
  const auto* activation = dynamic_cast<const LeakyRelu*>(&next);
  if (!activation || attrs.negative_slope != 1) return nullptr;
  LinearAttrs joined = attrs;
  joined.negative_slope = activation->attrs.slope;
  return make_op<Linear>(joined);
}

std::vector<Spec> LinearDx::infer(std::span<const Spec> in, Dtype) const {
  const Shape dx = in[0].shape.rank() > 0 ? with_first(in[1].shape, in[0].shape[0]) : Shape{};
  check(kName, dx, in[1].shape, in[0].shape);
  return {{dx, in[0].dtype}};
}

Cost LinearDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  return cost_of(Op::cost(in, out), in[1].shape, in[0].shape[0]);
}

std::vector<Spec> LinearDw::infer(std::span<const Spec> in, Dtype) const {
  const Shape dw = in[1].shape.rank() == 2 ? with_first(in[0].shape, in[1].shape[1]) : Shape{};
  check(kName, in[0].shape, dw, in[1].shape);
  return {{dw, precise(in[0].dtype)}};
}

Cost LinearDw::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  return cost_of(Op::cost(in, out), out[0].shape, in[0].shape[0]);
}

std::vector<Spec> LinearDb::infer(std::span<const Spec> in, Dtype) const {
  if (in[0].shape.rank() != 2 || in[0].shape.count() == 0)
    fail(ErrorKind::runtime, {kName, "dy (N,O)", in[0].to_string(), ""});
  return {{{in[0].shape[1]}, precise(in[0].dtype)}};
}

std::vector<Case> Linear::cases() {
  std::vector<Case> cases;
  const auto bias = [](const Sizes& s) { return CaseInput{.shape = {s.w[0]}, .precise = true}; };
  for (const Sizes& s : sizes()) cases.push_back(case_of(s, make_op<Linear>(), {{s.x}, {s.w}, bias(s)}));
  const Sizes plain{"without bias", {4, 12}, {8, 12}};
  cases.push_back(case_of(plain, make_op<Linear>(), {{plain.x}, {plain.w}}));
  const auto fused = [&](const Sizes& s, const LinearAttrs& attrs) {
    cases.push_back(case_of(s, make_op<Linear>(attrs), {{s.x}, {s.w}, bias(s)}));
    cases.back().fused = true;
  };
  fused({"leaky", {3, 16}, {24, 16}}, {.negative_slope = .1});
  fused({"ReLU", {3, 16}, {24, 16}}, {.negative_slope = 0});
  fused({"precise", {3, 16}, {5, 16}}, {.precise = true});
  fused({"precise ReLU", {9, 19}, {6, 19}}, {.negative_slope = 0, .precise = true});
  const Sizes without{"ReLU without bias", {2, 8}, {8, 8}};
  cases.push_back(
      case_of(without, make_op<Linear>(LinearAttrs{.negative_slope = 0}), {{without.x}, {without.w}}));
  cases.back().fused = true;
  return cases;
}

std::vector<Case> LinearDx::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes())
    cases.push_back(case_of(s, make_op<LinearDx>(), {{{s.x[0], s.w[0]}}, {s.w}}));
  return cases;
}

std::vector<Case> LinearDw::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes())
    cases.push_back(case_of(s, make_op<LinearDw>(), {{s.x}, {{s.x[0], s.w[0]}}}));
  return cases;
}

std::vector<Case> LinearDb::cases() {
  return {{.name = "small", .op = make_op<LinearDb>(), .in = {{{2, 5}}}},
          {.name = "one", .op = make_op<LinearDb>(), .in = {{{1, 1}}}},
          {.name = "several blocks", .op = make_op<LinearDb>(), .in = {{{37, 300}}}},
          {.name = "benchmark", .op = make_op<LinearDb>(), .in = {{{250, 4096}}}, .benchmark = true}};
}

}  // namespace millrace
