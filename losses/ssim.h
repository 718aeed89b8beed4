// Structural dissimilarity of two images, over 8x8 windows side by side.
//
//   loss = 1/N  sum over n, c, windows of  1 - lp cs
//   lp = (2 mx my + c1) / (mx^2 + my^2 + c1)      cs = (2 sxy + c2) / (sxx + syy + c2)
//   mx = sum of w x,  sxx = sum of w x^2 - mx^2,  sxy = sum of w x y - mx my, over the window's pixels
//
// x (the warped image) and y (N,H,W,C), loss (1). w is an 8x8 Gaussian of standard deviation 16/12 around
// (4,4), half a pixel off the centre, of sum 1. Windows start at multiples of 8; those that reach over the
// right or lower edge lose those weights and are not renormalised. A sum over channels and windows, not a
// mean: the weights of the levels are made for that. Source: SSIMLoss layer of bryanyzhu/Hidden-Two-Stream
// (ssim_loss_layer.cpp). There the gradient goes to x only; a net whose y is data
// asks for no other.
#pragma once

#include <array>

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

constexpr int64_t kSsimWindow = 8;

// The window's weights along one axis; w(p,q) is the product of two.
const std::array<double, kSsimWindow>& ssim_weights();

// Windows along an axis: 1, 2, 4, 7, 14 for 7, 14, 28, 56, 112.
MILLRACE_HD constexpr int64_t ssim_windows(int64_t extent) {
  return (extent + kSsimWindow - 1) / kSsimWindow;
}

struct SsimAttrs {
  double c1 = 1e-4, c2 = 1e-3;

  template <class V> void visit(V v) const {
    v("c1", c1);
    v("c2", c2);
  }
};

namespace detail {
void check_ssim(const char* op, const SsimAttrs& attrs, const Spec& x, const Spec& y);
}

struct Ssim : OpBase<Ssim, SsimAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "ssim";  // (x, y) -> loss

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_ssim(kName, attrs, in[0], in[1]);
    return {{{1}, precise(real)}};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

// dx = -dloss/N w (2 cs (my - mx lp) / (mx^2 + my^2 + c1) + 2 lp ((y - my) - cs (x - mx)) / (sxx + syy +
// c2)), exact for cut windows too. The loss is symmetric: dy is this with x and y exchanged.
struct SsimDx : OpBase<SsimDx, SsimAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "ssim_dx";  // (dloss, x, y) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

inline Value ssim(Graph& g, Value x, Value y, SsimAttrs attrs = {}) {
  return g.add1(make_op<Ssim>(attrs), {x, y});
}

inline void register_ssim(Registry& r) {
  r.add_op<Ssim>();
  r.add_op<SsimDx>();
}

}  // namespace millrace
