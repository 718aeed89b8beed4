// reorder: y = x, in another layout. Planned where a kernel wants a value to lie differently than it was
// written (core/layouts.h); nets know nothing of it.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct ReorderAttrs {
  Layout from, to;

  template <class V> void visit(V v) const {
    v("from", from);
    v("to", to);
  }
};

struct Reorder : OpBase<Reorder, ReorderAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "reorder";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
  bool has_gradient() const override { return false; }  // planned after gradients exist
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override {
    const double width = static_cast<double>(size_of(in[0].dtype));
    return {
        .flop = 0,
        .bytes = width * static_cast<double>(attrs.from.count(in[0].shape) + attrs.to.count(out[0].shape))};
  }

  static std::vector<Case> cases() {
    const Layout dense, c8 = channel_blocked(8), c16 = channel_blocked(16);
    const Layout padded{{0, 1, 2, 3}, {}, {{3, 8}}}, padded_weights{{0, 1, 2, 3}, {}, {{0, 8}, {3, 8}}};
    const Layout weights{{0, 3, 1, 2}, {{3, 16}, {0, 16}}}, turned{{0, 3, 1, 2}, {{0, 16}, {3, 16}}};
    auto reorder = [](const char* name, Layout from, Layout to, Shape shape) {
      return Case{.name = name, .op = make_op<Reorder>(ReorderAttrs{from, to}), .in = {{shape}}};
    };
    Case benchmark = reorder("benchmark", dense, c16, {1, 112, 112, 128});
    Case pad_benchmark = reorder("benchmark, pads", dense, padded, {2, 112, 112, 212});
    benchmark.benchmark = pad_benchmark.benchmark = true;
    return {reorder("block", dense, c8, {2, 3, 5, 16}),
            reorder("pad", dense, c16, {2, 3, 5, 20}),
            reorder("back", c8, dense, {1, 2, 3, 20}),
            reorder("between", c8, c16, {2, 1, 4, 12}),
            reorder("one", dense, c8, {1, 1, 1, 1}),
            reorder("weights", dense, weights, {20, 3, 3, 33}),
            reorder("turn", weights, turned, {32, 3, 3, 20}),
            reorder("unblock", weights, dense, {5, 4, 4, 7}),
            reorder("pad channels", dense, padded, {2, 3, 5, 20}),
            reorder("pad odd channels", dense, padded, {1, 9, 7, 33}),
            reorder("unpad channels", padded, dense, {2, 3, 5, 20}),
            reorder("unpad odd channels", padded, dense, {1, 9, 7, 33}),
            reorder("pad one", dense, padded, {1, 1, 1, 1}),
            reorder("pad weights", dense, padded_weights, {5, 3, 3, 33}),
            reorder("unpad weights", padded_weights, dense, {20, 3, 3, 33}),
            reorder("pads to blocks", padded, c8, {2, 3, 5, 20}),
            benchmark,
            pad_benchmark};
  }
};

inline void register_reorder(Registry& r) { r.add_op<Reorder>(); }

}  // namespace millrace
