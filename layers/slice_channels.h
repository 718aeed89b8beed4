// slice_channels: y(n,i,j,c) = x(n,i,j,begin + c) for c of [0, count): a copy of some channels.
// embed_channels: y(n,i,j,begin + c) = x(n,i,j,c), and zero in the others of `total` channels.
// Each is the other's gradient. x and y are (N,H,W,C).
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct SliceChannelsAttrs {
  int64_t begin = 0, count = 1;

  template <class V> void visit(V v) const {
    v("begin", begin);
    v("count", count);
  }
};

struct EmbedChannelsAttrs {
  int64_t begin = 0, total = 1;

  template <class V> void visit(V v) const {
    v("begin", begin);
    v("total", total);
  }
};

struct SliceChannels : OpBase<SliceChannels, SliceChannelsAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "slice_channels";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override;
  Bf16Operands bf16_operands() const override {
    return {.in = kAllOperands, .out = operand(0), .rounds = false};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct EmbedChannels : OpBase<EmbedChannels, EmbedChannelsAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "embed_channels";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override;
  static std::vector<Case> cases();
};

inline Value slice_channels(Graph& g, Value x, SliceChannelsAttrs attrs) {
  return g.add1(make_op<SliceChannels>(attrs), {x});
}
inline Value embed_channels(Graph& g, Value x, EmbedChannelsAttrs attrs) {
  return g.add1(make_op<EmbedChannels>(attrs), {x});
}

inline void register_slice_channels(Registry& r) {
  r.add_op<SliceChannels>();
  r.add_op<EmbedChannels>();
}

}  // namespace millrace
