// pack: one flat vector out of slices, out[offset_i + k] = in_i[k], zero between them. The gradients of a net
// become the flat buffer that optimizers and norms read, each in the layout that its parameter has. Each
// slice may be computed in its place there, and then nothing is copied.
#pragma once

#include <vector>

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct PackAttrs {
  int64_t total = 0;              // elements of the result
  std::vector<int64_t> offsets;   // of each slice, in elements, rising
  std::vector<Layout> layouts{};  // of each slice in the result; empty: all dense

  template <class V> void visit(V v) const {
    v("total", total);
    v("offsets", offsets);
    v("layouts", layouts);
  }
  // Elements that slice i takes.
  int64_t count(size_t i, const Shape& shape) const {
    return layouts.empty() ? shape.count() : layouts[i].count(shape);
  }
};

struct Pack : OpBase<Pack, PackAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "pack";

  // Slices are of one type, that of the result: where activations are bf16, gradients may be f32.
  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Dtype dtype = in.empty() ? real : in[0].dtype;
    int64_t end = 0;
    bool fits = (dtype == real || dtype == precise(real)) && in.size() == attrs.offsets.size() &&
                (attrs.layouts.empty() || attrs.layouts.size() == in.size());
    for (size_t i = 0; fits && i < in.size(); ++i) {
      fits = attrs.offsets[i] >= end && in[i].dtype == dtype;
      end = attrs.offsets[i] + attrs.count(i, in[i].shape);
    }
    if (!fits || end > attrs.total) {
      fail(ErrorKind::runtime,
           {kName, "slices in order, apart, within " + std::to_string(attrs.total), attributes(), ""});
    }
    return {{{attrs.total}, dtype}};
  }
  bool has_gradient() const override { return false; }  // it only gathers gradients
  std::vector<Sharing> sharing() const override {
    std::vector<Sharing> licences;
    for (size_t i = 0; i < attrs.offsets.size(); ++i) {
      licences.push_back({.out = 0, .in = static_cast<int>(i), .offset = attrs.offsets[i]});
    }
    return licences;
  }

  // More slices and gaps than one launch of a CUDA kernel takes.
  static Case many_slices() {
    PackAttrs attrs{.total = 0, .offsets = {}};
    std::vector<CaseInput> in;
    for (int64_t i = 0; i < 60; ++i) {
      attrs.offsets.push_back(attrs.total + i % 3);
      in.push_back({{1 + i % 7}});
      attrs.total = attrs.offsets.back() + 1 + i % 7;
    }
    return {.name = "many slices", .op = make_op<Pack>(std::move(attrs)), .in = std::move(in)};
  }
  static std::vector<Case> cases() {
    return {{.name = "gaps",
             .op = make_op<Pack>(PackAttrs{.total = 20, .offsets = {0, 8, 16}}),
             .in = {{{2, 3}}, {{8}}, {{1}}}},
            {.name = "layouts",
             .op = make_op<Pack>(
                 PackAttrs{.total = 400, .offsets = {8, 208}, .layouts = {channel_blocked(8), Layout{}}}),
             .in = {{{1, 3, 2, 20}}, {{9, 2}}}},
            {.name = "offset", .op = make_op<Pack>(PackAttrs{.total = 9, .offsets = {4}}), .in = {{{3}}}},
            {.name = "several blocks",
             .op = make_op<Pack>(PackAttrs{.total = 9100, .offsets = {0, 4352, 4355}}),
             .in = {{{67, 64}}, {{3}}, {{8, 64}}}},
            many_slices(),
            {.name = "benchmark",
             .op = make_op<Pack>(PackAttrs{.total = 12'000'064, .offsets = {0, 64, 9'000'064}}),
             .in = {{{50}}, {{9'000'000}}, {{3'000'000}}},
             .benchmark = true}};
  }
};

inline Value pack(Graph& g, std::span<const Value> slices, PackAttrs attrs) {
  return g.add(make_op<Pack>(std::move(attrs)), slices).front();
}

inline void register_pack(Registry& r) { r.add_op<Pack>(); }

}  // namespace millrace
