// lrn: local response normalisation across the three colours of each frame.
//
//   y(c) = x(c) (k + (alpha / size) sum over the frame's three c' of x(c')^2)^(-beta)
//
// x (N,H,W,3T), frame-major. Source: Caffe's LRN layer, ACROSS_CHANNELS, as Hidden Two-Stream applies it to
// each image of its losses: size 9, alpha 1, beta .7, k 1. The window of 9 channels
// covers all three wherever it is centred; a size below 5 would not, and is refused. No gradient: images are
// data.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct LrnAttrs {
  int64_t size = 9;
  double alpha = 1, beta = .7, k = 1;

  template <class V> void visit(V v) const {
    v("size", size);
    v("alpha", alpha);
    v("beta", beta);
    v("k", k);
  }
};

struct Lrn : OpBase<Lrn, LrnAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "lrn";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Shape& x = in[0].shape;
    if (x.rank() != 4 || x[3] == 0 || x[3] % 3 != 0 || in[0].dtype != precise(real)) {
      fail(ErrorKind::runtime, {kName, "frames (N,H,W,3T)", in[0].to_string(), ""});
    }
    if (attrs.size < 5 || attrs.alpha < 0 || attrs.k <= 0) {
      fail(ErrorKind::runtime, {kName, "size >= 5, alpha >= 0, k > 0", attributes(), ""});
    }
    return {in[0]};
  }
  bool has_gradient() const override { return false; }
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override {
    Cost cost = Op::cost(in, out);
    cost.flop = 10.0 * static_cast<double>(out[0].shape.count());  // a power per pixel as about 20
    return cost;
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }

  static std::vector<Case> cases() {
    const LrnAttrs other{.size = 5, .alpha = 3, .beta = .5, .k = 2};
    return {{.name = "small", .op = make_op<Lrn>(), .in = {{{2, 3, 5, 6}}}},
            {.name = "one pixel", .op = make_op<Lrn>(), .in = {{{1, 1, 1, 3}}}},
            {.name = "other constants", .op = make_op<Lrn>(other), .in = {{{1, 2, 7, 9}}}},
            {.name = "more than a tile", .op = make_op<Lrn>(), .in = {{{1, 11, 33, 9}}}},
            {.name = "benchmark", .op = make_op<Lrn>(), .in = {{{4, 224, 224, 33}}}, .benchmark = true}};
  }
};

inline Value lrn(Graph& g, Value x, LrnAttrs attrs = {}) { return g.add1(make_op<Lrn>(attrs), {x}); }

inline void register_lrn(Registry& r) { r.add_op<Lrn>(); }

}  // namespace millrace
