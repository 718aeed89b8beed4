// normalize_image: what the nets see of 8-bit frames.
//
//   y(n,i,j,c) = (x(n,i,j,c) - mean(c mod 3)) * scale
//
// x (N,H,W,3T) u8, frame-major, B G R; y of the same shape, real. Where the three means are one, as that of
// stored flows is, x may have any number of channels. The means are those of BGR on ImageNet and
// the scale is 1/255 (bryanyzhu/Hidden-Two-Stream; the authors' training code rounds it to
// 0.0039216, their test code does not). Range about [-.48, .59]. No gradient: images are data.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct NormalizeImageAttrs {
  double mean_b = 104, mean_g = 117, mean_r = 123;
  double scale = 1.0 / 255;

  template <class V> void visit(V v) const {
    v("mean_b", mean_b);
    v("mean_g", mean_g);
    v("mean_r", mean_r);
    v("scale", scale);
  }
};

struct NormalizeImage : OpBase<NormalizeImage, NormalizeImageAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "normalize_image";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Shape& x = in[0].shape;
    const bool one_mean = attrs.mean_b == attrs.mean_g && attrs.mean_g == attrs.mean_r;
    if (x.rank() != 4 || x[3] == 0 || (x[3] % 3 != 0 && !one_mean) || in[0].dtype != Dtype::u8) {
      const char* channels = one_mean ? "(N,H,W,C)" : "(N,H,W,3T)";
      fail(ErrorKind::runtime, {kName, std::string("u8 frames ") + channels, in[0].to_string(), ""});
    }
    return {{x, real}};
  }
  Bf16Operands bf16_operands() const override { return {.out = operand(0)}; }
  bool has_gradient() const override { return false; }

  static std::vector<Case> cases() {
    const Draw pixel = [](Random& r) { return static_cast<double>(r.integer(0, 255)); };
    const NormalizeImageAttrs other{.mean_b = 0, .mean_g = 1, .mean_r = 255, .scale = 2};
    const NormalizeImageAttrs one_mean{.mean_b = 128, .mean_g = 128, .mean_r = 128, .scale = 1};
    return {{.name = "small", .op = make_op<NormalizeImage>(), .in = {{{2, 3, 5, 6}, pixel, Dtype::u8}}},
            {.name = "one pixel", .op = make_op<NormalizeImage>(), .in = {{{1, 1, 1, 3}, pixel, Dtype::u8}}},
            {.name = "other constants",
             .op = make_op<NormalizeImage>(other),
             .in = {{{1, 2, 2, 9}, pixel, Dtype::u8}}},
            {.name = "pairs of flow",
             .op = make_op<NormalizeImage>(one_mean),
             .in = {{{1, 3, 5, 4}, pixel, Dtype::u8}}},
            {.name = "several blocks",
             .op = make_op<NormalizeImage>(),
             .in = {{{1, 43, 37, 3}, pixel, Dtype::u8}}},
            {.name = "benchmark",
             .op = make_op<NormalizeImage>(),
             .in = {{{4, 224, 224, 33}, pixel, Dtype::u8}},
             .benchmark = true}};
  }
};

inline Value normalize_image(Graph& g, Value x, NormalizeImageAttrs attrs = {}) {
  return g.add1(make_op<NormalizeImage>(attrs), {x});
}

inline void register_normalize_image(Registry& r) { r.add_op<NormalizeImage>(); }

}  // namespace millrace
