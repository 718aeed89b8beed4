// downsample: images at a smaller size, by a tent filter on corner-aligned grids.
//
//   y(i,j) = sum over p,q of w(p,i) w(q,j) x(p,q) / sum over p,q of w(p,i) w(q,j)
//   w(p,i) = max(0, 1 - |p - src| / scale), src = i scale, scale = (in - 1) / (out - 1), per axis
//
// over integers p within ceil(scale) of round(src); taps outside the image are left out of both sums, so
// borders are renormalised. x (N,H,W,C) to y (N,height,width,C). Source: Downsample layer of
// bryanyzhu/Hidden-Two-Stream (downsample_layer.cpp). A level of the loss comes
// straight from the full image, not from the level above.
//
// An output extent of 1, which the formula leaves open: src is the middle, scale is max(in - 1, 1). Outputs
// larger than the input are refused: the tent would miss every tap. No gradient: images are data.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct DownsampleAttrs {
  int64_t height = 1, width = 1;  // of the output

  template <class V> void visit(V v) const {
    v("height", height);
    v("width", width);
  }
};

// The taps of one output index along one axis: inputs [first, first + weights.size()), weights of sum 1.
struct DownsampleTaps {
  int64_t first = 0;
  std::vector<double> weights;
};

// Tent half-width in input pixels.
double downsample_scale(int64_t in, int64_t out);
// Per output index.
std::vector<DownsampleTaps> downsample_taps(int64_t in, int64_t out);

struct Downsample : OpBase<Downsample, DownsampleAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "downsample";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  bool has_gradient() const override { return false; }
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

inline Value downsample(Graph& g, Value x, DownsampleAttrs attrs) {
  return g.add1(make_op<Downsample>(attrs), {x});
}

inline void register_downsample(Registry& r) { r.add_op<Downsample>(); }

}  // namespace millrace
