// Bilinear inverse warp: samples each image where its flow points.
//
//   y(n,i,j,k,c) = sum over the four taps (p,q) of  w_p w_q image(n,p,q,k,c),
//   at row i + v(n,i,j,k) and column j + u(n,i,j,k),  taps floor and floor + 1 per axis
//
// image (N,H,W,K*C), flow (N,H,W,2K) in pixels of this size, u (right) before v (down); flow k warps image
// channels [k C, k C + C). Taps outside the image count 0, each by itself: no clamp, no renormalisation, no
// validity mask. Source: FlowTransformer layer of bryanyzhu/Hidden-Two-Stream (flow_transformer_layer.cpp);
// its CUDA gradient races over colours, ours is the exact sum over channels. At integer coordinates the
// gradient to the flow is the one of the cell to the right and below.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

namespace detail {
// Checks one image and its flow.
void check_warp(const char* op, const Spec& image, const Spec& flow);
std::vector<Case> warp_cases(const std::function<Case(Shape image, Shape flow, Draw flow_draw)>& make);
}  // namespace detail

struct Warp : OpBase<Warp> {
  static constexpr const char* kName = "warp";  // (image, flow) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    detail::check_warp(kName, in[0], in[1]);
    return {in[0]};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

// du = sum over c of dy (dy/dcolumn), dv = sum over c of dy (dy/drow). Exact and without atomics: one pixel,
// one sum.
struct WarpDflow : OpBase<WarpDflow> {
  static constexpr const char* kName = "warp_dflow";  // (dy, image, flow) -> dflow

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    detail::check_warp(kName, in[1], in[2]);
    return {in[2]};
  }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

// dimage: each dy goes back to its four taps. Summed in the order of pixels.
struct WarpDimage : OpBase<WarpDimage> {
  static constexpr const char* kName = "warp_dimage";  // (dy, flow) -> dimage

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    detail::check_warp(kName, in[0], in[1]);
    return {in[0]};
  }
  bool has_gradient() const override { return false; }  // first derivatives only
  static std::vector<Case> cases();
};

inline Value warp(Graph& g, Value image, Value flow) { return g.add1(make_op<Warp>(), {image, flow}); }

inline void register_warp(Registry& r) {
  r.add_op<Warp>();
  r.add_op<WarpDflow>();
  r.add_op<WarpDimage>();
}

}  // namespace millrace
