// scale: y = factor * x, element by element, any shape.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

struct ScaleAttrs {
  double factor = 1;

  template <class V> void visit(V v) const { v("factor", factor); }
};

// The formula of all kernels.
template <class T> struct ScaleFormula {
  T factor;
  MILLRACE_HD T operator()(T x) const { return factor * x; }
};

struct Scale : OpBase<Scale, ScaleAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "scale";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    if (in[0].dtype != real && in[0].dtype != precise(real))
      fail(ErrorKind::runtime, {kName, "real numbers", in[0].to_string(), ""});
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override {
    return {.in = kAllOperands, .out = operand(0), .rounds = false};
  }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.graph.add1(make_op<Scale>(attrs), {a.dout[0]})};
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }

  static std::vector<Case> cases() {
    return {
        {.name = "small", .op = make_op<Scale>(ScaleAttrs{.factor = -2.5}), .in = {{{2, 3, 2, 5}}}},
        {.name = "one", .op = make_op<Scale>(ScaleAttrs{.factor = 20}), .in = {{{1}}}},
        {.name = "zero", .op = make_op<Scale>(ScaleAttrs{.factor = 0}), .in = {{{3}}}},
        {.name = "vectors and a rest", .op = make_op<Scale>(ScaleAttrs{.factor = .5}), .in = {{{31, 33}}}},
        {.name = "benchmark",
         .op = make_op<Scale>(ScaleAttrs{.factor = 10}),
         .in = {{{4, 112, 112, 20}}},
         .benchmark = true}};
  }
};

inline Value scale(Graph& g, Value x, double factor) {
  return g.add1(make_op<Scale>(ScaleAttrs{.factor = factor}), {x});
}

inline void register_scale(Registry& r) { r.add_op<Scale>(); }

}  // namespace millrace
