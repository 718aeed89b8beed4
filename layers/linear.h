// Fully connected layers: a product of matrices and its adjoints.
//
//   linear     y(n,o) = b(o) + sum over k of  x(n,k) w(o,k)
//   linear_dx  dx(n,k) = sum over o of  dy(n,o) w(o,k)
//   linear_dw  dw(o,k) = sum over n of  dy(n,o) x(n,k)
//   linear_db  db(o) = sum over n of  dy(n,o)
//
// k stands for all axes behind the first: x (N,K) meets w (O,K), and x (N,H,W,C) weights (O,H,W,C), which lie
// like those of a convolution whose kernel covers the whole image. So nothing is flattened; and files, where
// such weights are (O, C H W) with C outermost (ParamOptions::flat), are what Caffe and PyTorch make of a
// flattened (C,H,W). b (O), y (N,O). Where x, w and y are bf16, b and the sums dw and db are f32.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct LinearAttrs {
  // y becomes max(y, negative_slope y); 1 leaves it as it is. Set by fusion (core/passes.h), not by nets.
  double negative_slope = 1;
  bool precise = false;  // y is f32 also where x and w are bf16

  template <class V> void visit(V v) const {
    v("negative_slope", negative_slope);
    v("precise", precise);
  }
};

struct Linear : OpBase<Linear, LinearAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "linear";  // (x, w[, b]) -> y

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

struct LinearDx : OpBase<LinearDx> {
  static constexpr const char* kName = "linear_dx";  // (dy, w) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct LinearDw : OpBase<LinearDw> {
  static constexpr const char* kName = "linear_dw";  // (x, dy) -> dw

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct LinearDb : OpBase<LinearDb> {
  static constexpr const char* kName = "linear_db";  // (dy) -> db

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .rounds = false}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  static std::vector<Case> cases();
};

// Extents of the products.
struct LinearSizes {
  int64_t N, O, K;
};
template <class Operand> LinearSizes linear_sizes(const Operand& x_like, const Operand& w_like) {
  const Shape &x = x_like.shape, &w = w_like.shape;
  return {x[0], w[0], w.count() / w[0]};
}

inline Value linear(Graph& g, Value x, Value w, Value b) { return g.add1(make_op<Linear>(), {x, w, b}); }

inline void register_linear(Registry& r) {
  r.add_op<Linear>();
  r.add_op<LinearDx>();
  r.add_op<LinearDw>();
  r.add_op<LinearDb>();
}

}  // namespace millrace
