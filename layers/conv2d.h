// The convolution family: four ops that describe one bilinear map and its adjoints.
//
//   conv2d     y(n,i,j,o) = b(o) + sum over p,q,c of  x(n, i s - a + p, j s - a + q, c) w(o,p,q,c)
//   conv2d_dx  dx(n,i,j,c) = sum of dy(n,i',j',o) w(o,p,q,c) over all i = i' s - a + p, j = j' s - a + q
//   conv2d_dw  dw(o,p,q,c) = sum over n,i',j' of  dy(n,i',j',o) x(n, i' s - a + p, j' s - a + q, c)
//   conv2d_db  db(o) = sum over n,i',j' of  dy(n,i',j',o)
//
// x (N,H,W,I), w (O,kh,kw,I), b (O), y (N,OH,OW,O); where x, w and y are bf16, b and the sums dw and db are
// f32, and y too if it is asked for precisely. Stride s, zero padding a, OH = (H + 2a - kh) / s + 1.
// This is cross-correlation, as in Caffe and PyTorch. A deconvolution (transposed convolution) is conv2d_dx:
// its input plays dy and its weights are stored (in, kh, kw, out).
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct Conv2dAttrs {
  int64_t stride = 1;
  int64_t pad = 0;
  // y becomes max(y, negative_slope y); 1 leaves it as it is. Set by fusion (core/passes.h), not by nets.
  double negative_slope = 1;
  bool precise = false;  // y is f32 although x is bf16: for flows

  template <class V> void visit(V v) const {
    v("stride", stride);
    v("pad", pad);
    v("negative_slope", negative_slope);
    v("precise", precise);
  }
};

struct Conv2d : OpBase<Conv2d, Conv2dAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "conv2d";  // (x, w[, b]) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override {
    return {.in = operand(0) | operand(1), .out = attrs.precise ? 0 : operand(0)};
  }
  std::shared_ptr<const Op> with_precise_output() const override;
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  std::shared_ptr<const Op> absorb(const Op& next) const override;
  static std::vector<Case> cases();
};

// What follows a data gradient in a net, in one op with it. Set by fusion (layers/fuse_conv2d_dx.cpp), not by
// nets:
//
//   dx = f(y) (addend + the sum above),  f = 1 where y > 0, else negative_slope;   db(c) = sum over n,i,j of
//   dx
//
// The addend is the gradient of a skip connection, y the output of the leaky ReLU that made x.
struct Conv2dDxAttrs {
  int64_t stride = 1;
  int64_t pad = 0;
  int64_t height = 0, width = 0;  // of dx: several sizes of x give one size of y
  bool add = false;               // an input more, like dx: the addend
  double negative_slope = 1;      // other than 1: a last input, like dx: y
  bool sum = false;               // a second output (C): db, f32 where dx is bf16

  bool fused() const { return add || negative_slope != 1 || sum; }

  template <class V> void visit(V v) const {
    v("stride", stride);
    v("pad", pad);
    v("height", height);
    v("width", width);
    v("add", add);
    v("negative_slope", negative_slope);
    v("sum", sum);
  }
};

struct Conv2dDx : OpBase<Conv2dDx, Conv2dDxAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "conv2d_dx";  // (dy, w[, addend][, y]) -> dx[, db]

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct Conv2dDwAttrs {
  int64_t stride = 1;
  int64_t pad = 0;
  int64_t kernel_height = 0, kernel_width = 0;

  template <class V> void visit(V v) const {
    v("stride", stride);
    v("pad", pad);
    v("kernel_height", kernel_height);
    v("kernel_width", kernel_width);
  }
};

struct Conv2dDw : OpBase<Conv2dDw, Conv2dDwAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "conv2d_dw";  // (x, dy) -> dw

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct Conv2dDb : OpBase<Conv2dDb> {
  static constexpr const char* kName = "conv2d_db";  // (dy) -> db

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .rounds = false}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  static std::vector<Case> cases();
};

inline Value conv2d(Graph& g, Value x, Value w, Value b, Conv2dAttrs attrs) {
  return g.add1(make_op<Conv2d>(attrs), {x, w, b});
}
// Transposed convolution; (H,W) grow to ((H - 1) stride - 2 pad + kernel).
Value deconv2d(Graph& g, Value x, Value w, Conv2dAttrs attrs);

// Puts one conv2d_dx in the place of a data gradient, an `add` to it, the gradient of the leaky ReLU behind
// and the conv2d_db of the result, of which there may be any, where nothing else reads what lies between.
Graph fuse_conv2d_dx(const Graph& graph);

inline void register_conv2d(Registry& r) {
  r.add_op<Conv2d>();
  r.add_op<Conv2dDx>();
  r.add_op<Conv2dDw>();
  r.add_op<Conv2dDb>();
  r.add_fusion({.op = Conv2dDx::kName, .run = fuse_conv2d_dx, .devices = {"cuda", "cuda-sim"}});
}

}  // namespace millrace
