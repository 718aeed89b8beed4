// flow_to_input: a predicted flow as the temporal stream of Hidden Two-Stream takes it: clipped, brought to
// the range of 8-bit flow images, and twice as large.
//
//   z = scale clamp(x, -clip, clip) + offset;   quantise: rounded to integers, halves to even
//   y(n,2i,·,c)   = .75 z(n,i,·,c) + .25 z(n,i-1,·,c) - shift,
//   y(n,2i+1,·,c) = .75 z(n,i,·,c) + .25 z(n,i+1,·,c) - shift,   and columns alike
//   z = 0 outside;   replicate: that of the nearest pixel
//
// x (N,H,W,C), C = 2K channels u, v of each flow, in units of 20 pixels; y (N,2H,2W,C). Source: Hidden
// Two-Stream's end_train_val.prototxt, which writes it as x20, clip to [-20,20], +20, x6.375, a fixed
// deconvolution (4x4, stride 2, pad 1, depthwise bilinear) and -128: the constants here. As there, z is not
// continued over the border: at the outermost ring a quarter of the mass is missing (no flow gives -.5
// inside, -32.4 at edges, -56.3 in corners): weights that were trained on that need it, and a net trained
// from scratch does not (`replicate`). The paper says that flow is quantised; the authors' files never do, so
// it is off unless asked for.
//
// Gradient: dx = scale times the transposed interpolation of dy where |x| < clip, else 0, as ReLUs have it.
// Rounding is passed straight through. x and dx keep full precision where y is bf16.
#pragma once

#include <cmath>

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

struct FlowToInputAttrs {
  double clip = 1;  // of x
  double scale = 127.5;
  double offset = 127.5;
  double shift = 128;
  bool quantise = false;
  bool replicate = false;

  template <class V> void visit(V v) const {
    v("clip", clip);
    v("scale", scale);
    v("offset", offset);
    v("shift", shift);
    v("quantise", quantise);
    v("replicate", replicate);
  }
};

// The formulas of all kernels.
template <class T> struct FlowToInputFormula {
  T clip, scale, offset;
  bool quantise;

  explicit FlowToInputFormula(const FlowToInputAttrs& a)
      : clip(static_cast<T>(a.clip)),
        scale(static_cast<T>(a.scale)),
        offset(static_cast<T>(a.offset)),
        quantise(a.quantise) {}

  // z; that of a NaN is one.
  MILLRACE_HD T operator()(T x) const {
    const T above = x < -clip ? -clip : x;  // in two steps: nvcc branches for one nested choice
    const T z = scale * (above > clip ? clip : above) + offset;
    return quantise ? std::rint(z) : z;
  }
  // dz/dx
  MILLRACE_HD T slope(T x) const { return x > -clip && x < clip ? scale : T(0); }
};

namespace detail {
void check_flow_to_input(const char* op, const FlowToInputAttrs& attrs, const Spec& x, Dtype real);
}

struct FlowToInput : OpBase<FlowToInput, FlowToInputAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "flow_to_input";  // (x) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct FlowToInputDx : OpBase<FlowToInputDx, FlowToInputAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "flow_to_input_dx";  // (dy, x) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = operand(0)}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

inline Value flow_to_input(Graph& g, Value x, FlowToInputAttrs attrs = {}) {
  return g.add1(make_op<FlowToInput>(attrs), {x});
}

inline void register_flow_to_input(Registry& r) {
  r.add_op<FlowToInput>();
  r.add_op<FlowToInputDx>();
}

}  // namespace millrace
