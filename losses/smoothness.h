// Smoothness of flow: a generalised Charbonnier penalty on forward differences, for u and v apart.
//
//   loss_u = 1/(N normalizer)  sum over n, k, valid (i,j) of  rho(beta dx) + rho(beta dy)
//   dx = u(i,j) - u(i,j+1), in the last column 0      dy = u(i,j) - u(i+1,j), in the last row 0
//   rho(z) = (z^2 + epsilon^2)^alpha, u = channel 2k, and the same for v = channel 2k + 1
//
// flow (N,H,W,2K), outputs (1) and (1). Valid are rows [border_y, H - border_y) and columns
// [border_x, W - border_x) of the differences; where a border is 0 wide, the differences that are set to 0
// count rho(0). The net's flow is unscaled: beta makes it pixels of its level. Source: FlowDelta convolution,
// SmoothnessMask, BorderMask and CharbonnierLoss of bryanyzhu/Hidden-Two-Stream. Its
// divisor counts 3K channels though there are 2K differences: normalizer = N_ref 3 K V replicates it.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "losses/border.h"
#include "losses/charbonnier_attrs.h"

namespace millrace {

namespace detail {
void check_smoothness(const char* op, const CharbonnierAttrs& attrs, const Spec& flow);
}

struct Smoothness : OpBase<Smoothness, CharbonnierAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "smoothness";  // flow -> (loss_u, loss_v)

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_smoothness(kName, attrs, in[0]);
    return {{{1}, precise(real)}, {{1}, precise(real)}};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct SmoothnessDflow : OpBase<SmoothnessDflow, CharbonnierAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "smoothness_dflow";  // (flow, dloss_u, dloss_v) -> dflow

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct SmoothnessLoss {
  Value u, v;
};

inline SmoothnessLoss smoothness(Graph& g, Value flow, CharbonnierAttrs attrs) {
  const std::vector<Value> out = g.add(make_op<Smoothness>(attrs), std::span(&flow, 1));
  return {.u = out[0], .v = out[1]};
}

inline void register_smoothness(Registry& r) {
  r.add_op<Smoothness>();
  r.add_op<SmoothnessDflow>();
}

}  // namespace millrace
