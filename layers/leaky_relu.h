// Leaky rectifier (Maas et al. 2013):
//
//   y = x where x > 0, else slope x;   dx = dy where y > 0, else slope dy
//
// Any shape. Slope 0 is the plain rectifier (ReLU). The gradient reads y, not x: with slope >= 0 y is above 0
// where x is, and x need not be kept. At x = 0 it is the slope, as in Caffe.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

// The formulas of all kernels.
template <class T> struct LeakyReluFormula {
  T slope;
  MILLRACE_HD T operator()(T x) const { return x > 0 ? x : slope * x; }
};
template <class T> struct LeakyReluDxFormula {
  T slope;
  MILLRACE_HD T operator()(T dy, T y) const { return y > 0 ? dy : slope * dy; }
};

struct LeakyReluAttrs {
  double slope = .1;

  template <class V> void visit(V v) const { v("slope", slope); }
};

struct LeakyReluDx : OpBase<LeakyReluDx, LeakyReluAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "leaky_relu_dx";  // (dy, y) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    if (!(in[0] == in[1]))
      fail(ErrorKind::runtime, {kName, "dy like y, " + in[1].to_string(), in[0].to_string(), ""});
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }

  static std::vector<Case> cases() {
    auto of = [](const char* name, double slope, Shape shape, bool benchmark = false) {
      return Case{.name = name,
                  .op = make_op<LeakyReluDx>(LeakyReluAttrs{slope}),
                  .in = {{shape}, {shape, away_from_zero(.01, 1)}},
                  .benchmark = benchmark};
    };
    return {of("small", .1, {2, 3, 2, 5}), of("one", .25, {1}), of("slope 0", 0, {3, 7}),
            of("vectors and a rest", .1, {9, 911}), of("benchmark", .1, {4, 112, 112, 64}, true)};
  }
};

struct LeakyRelu : OpBase<LeakyRelu, LeakyReluAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "leaky_relu";  // (x) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    if (!(attrs.slope >= 0)) {
      fail(ErrorKind::runtime, {kName, "a slope of 0 or more", std::to_string(attrs.slope),
                                "its gradient is read from y's sign"});
    }
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.graph.add1(make_op<LeakyReluDx>(attrs), {a.dout[0], a.out[0]})};
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }

  static std::vector<Case> cases() {
    auto of = [](const char* name, double slope, Shape shape, bool benchmark = false) {
      return Case{.name = name,
                  .op = make_op<LeakyRelu>(LeakyReluAttrs{slope}),
                  .in = {{shape, away_from_zero(.01, 1)}},
                  .benchmark = benchmark};
    };
    return {of("small", .1, {2, 3, 2, 5}), of("one", .25, {1}), of("slope 0", 0, {3, 7}),
            of("vectors and a rest", .1, {31, 33}), of("benchmark", .1, {4, 112, 112, 64}, true)};
  }
};

inline Value leaky_relu(Graph& g, Value x, LeakyReluAttrs attrs = {}) {
  return g.add1(make_op<LeakyRelu>(attrs), {x});
}

inline void register_leaky_relu(Registry& r) {
  r.add_op<LeakyRelu>();
  r.add_op<LeakyReluDx>();
}

}  // namespace millrace
