// The photometric, smoothness and SSIM losses of all levels of a flow net, and their gradient to the flows,
// in one op. Per level, with flow f in the net's units and frames 0 to K at the level's size:
//
//   warped_k = warp(frame k + 1, flow_scale f_k), error_k = warped_k - frame k         (layers/warp.h)
//   pixel    = charbonnier(error)                                                      (losses/charbonnier.h)
//   smooth_u, smooth_v = smoothness(f)                                                 (losses/smoothness.h)
//   ssim     = ssim_weight ssim(warped, frames 0 to K - 1)                             (losses/ssim.h)
//   dflow    = dpixel dpixel/df + dsmooth_u dsmooth_u/df + dsmooth_v dsmooth_v/df + dssim
//   d(ssim/ssim_weight)/df
//
// f (N,H,W,2K) and images (N,H,W,3(K+1)), frame-major; every term (1), dflow like f. How the loss L depends
// on the terms is known when a step is planned: dpixel, ... are attributes. So each pixel is warped once,
// both for the terms and for the gradient; no warped image, error or gradient to them is ever stored.
//
// A net writes the losses by the ops named above (nets/motion_loss.h), each with its gradient rule. A pass
// puts this op in their place (Registry::fusions); it has no gradient rule, for it holds the gradient.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "losses/charbonnier_attrs.h"
#include "losses/ssim.h"

namespace millrace {

struct MultiscaleLevel {
  double flow_scale = 1;  // pixels of this level per unit of flow
  // A kind of term that is left out is 0 and adds nothing to dflow.
  bool has_pixel = true, has_smoothness = true, has_ssim = true;
  CharbonnierAttrs pixel{.alpha = .4, .beta = 255}, smoothness{.alpha = .3};
  SsimAttrs ssim{};
  double ssim_weight = 1;
  double dpixel = 1, dsmooth_u = 1, dsmooth_v = 1;  // dL/d(term)
  double dssim = 1;                                 // dL/d(ssim / ssim_weight)

  std::string to_string() const;
};

struct MultiscaleLossAttrs {
  std::vector<MultiscaleLevel> levels;

  template <class V> void visit(V v) const { v("levels", levels); }
};

struct MultiscaleLoss : OpBase<MultiscaleLoss, MultiscaleLossAttrs> {
  using OpBase::OpBase;
  // (f, images, f, images, ...) -> (pixel, smooth_u, smooth_v, ssim, dflow, pixel, ...), level by level
  static constexpr const char* kName = "multiscale_loss";
  static constexpr size_t kMaxLevels = 8;  // their tables are arguments of a CUDA kernel
  enum Output : size_t { kPixel, kSmoothU, kSmoothV, kSsim, kDflow, kOutputs };
  static constexpr size_t kTerms = kDflow;

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  bool has_gradient() const override { return false; }
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

// Puts multiscale_loss in the place of every level's losses and gradients that the graph computes by the ops
// above, from flows to terms and dflow. A level is taken when its nodes are connected as nets/motion_loss.cpp
// and gradients() connect them, it has a photometric or SSIM term, and dL/d(term) is a constant; all other
// nodes stay as they are. Nothing depends on names. Values that something else reads too stay computed.
Graph fuse_multiscale_loss(const Graph& graph);

inline void register_multiscale_loss(Registry& r) {
  r.add_op<MultiscaleLoss>();
  r.add_fusion({.op = MultiscaleLoss::kName, .run = fuse_multiscale_loss, .devices = {"cuda", "cuda-sim"}});
}

}  // namespace millrace
