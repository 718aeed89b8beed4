// bias: y(n,i,j,c) = x(n,i,j,c) + b(c), for deconvolutions, whose map has none of its own. With
// negative_slope below 1 (set by fusion) y becomes max(y, negative_slope y). b stays f32 where x is bf16.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"

namespace millrace {

struct BiasAttrs {
  double negative_slope = 1;

  template <class V> void visit(V v) const { v("negative_slope", negative_slope); }
};

// The formula of all kernels.
template <class T> struct BiasFormula {
  T negative_slope;
  MILLRACE_HD T operator()(T x, T b) const {
    const T sum = x + b;
    return sum > 0 ? sum : negative_slope * sum;
  }
};

struct Bias : OpBase<Bias, BiasAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "bias";  // (x, b) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    const Shape &x = in[0].shape, &b = in[1].shape;
    if (x.rank() != 4 || !(b == Shape{x[3]})) {
      fail(ErrorKind::runtime, {kName, "x (N,H,W,C) and b (C)", x.to_string() + " and " + b.to_string(), ""});
    }
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override { return {.in = operand(0), .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    if (attrs.negative_slope != 1) {
      fail(ErrorKind::runtime, {kName, "a bias before fusion", "one with its activation inside", ""});
    }
    std::vector<Value> din(2);
    if (a.wanted[0]) din[0] = a.dout[0];
    if (a.wanted[1]) din[1] = a.graph.add1(make_op<Conv2dDb>(), {a.dout[0]});
    return din;
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }
  std::shared_ptr<const Op> absorb(const Op& next) const override {
    const auto* activation = dynamic_cast<const LeakyRelu*>(&next);
    if (!activation || attrs.negative_slope != 1) return nullptr;
    return make_op<Bias>(BiasAttrs{activation->attrs.slope});
  }

  static std::vector<Case> cases() {
    return {{.name = "small", .op = make_op<Bias>(), .in = {{{2, 3, 4, 5}}, {.shape = {5}, .precise = true}}},
            {.name = "one", .op = make_op<Bias>(), .in = {{{1, 1, 1, 1}}, {.shape = {1}, .precise = true}}},
            {.name = "vectors of 8",
             .op = make_op<Bias>(),
             .in = {{{1, 5, 7, 24}}, {.shape = {24}, .precise = true}}},
            {.name = "vectors of 4",
             .op = make_op<Bias>(),
             .in = {{{1, 3, 2, 20}}, {.shape = {20}, .precise = true}}},
            {.name = "vectors of 2",
             .op = make_op<Bias>(),
             .in = {{{2, 3, 1, 6}}, {.shape = {6}, .precise = true}}},
            {.name = "leaky",
             .op = make_op<Bias>(BiasAttrs{.1}),
             .in = {{{2, 3, 4, 4}}, {.shape = {4}, .precise = true}},
             .fused = true},
            {.name = "leaky benchmark",
             .op = make_op<Bias>(BiasAttrs{.1}),
             .in = {{{4, 112, 112, 64}}, {.shape = {64}, .precise = true}},
             .benchmark = true}};
  }
};

inline Value bias(Graph& g, Value x, Value b) { return g.add1(make_op<Bias>(), {x, b}); }

inline void register_bias(Registry& r) { r.add_op<Bias>(); }

}  // namespace millrace
