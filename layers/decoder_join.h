// The input of a decoder's level, put together in one pass from its three parts:
//
//   y(n,i,j,:) = [ skip(n,i,j,:), leaky(up(n,i,j,:) + b), flow(n,i,j,:) + b_flow ]
//
// skip (N,H,W,S): the encoder's features; up (N,H,W,U): the deconvolution of the level above, before bias b
// (U) and leaky ReLU; flow (N,H,W,F): the upsampled flow in pixels, before bias b_flow (F); y (N,H,W,S+U+F).
// This is the order of channels of MotionNet's decoder. The biases are f32 also where the others are bf16.
//
//   dskip = dy,  dup = dy where y > 0 else slope dy,  dflow = dy,  each of its own channels;
//   db and db_flow are conv2d_db of dup and dflow.
//
// It computes what concat, bias and leaky_relu give one after another, with 3/5 of their traffic at S = 128,
// U = 64, F = 20. motionnet() is built of those, and a pass puts this op in their place on GPUs; on the CPU
// they work on blocked layouts.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct DecoderJoinAttrs {
  double negative_slope = .1;

  template <class V> void visit(V v) const { v("negative_slope", negative_slope); }
};

struct DecoderJoin : OpBase<DecoderJoin, DecoderJoinAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "decoder_join";  // (skip, up, b, flow, b_flow) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override {
    return {.in = operand(0) | operand(1) | operand(3), .out = operand(0)};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  static std::vector<Case> cases();
};

struct DecoderJoinDxAttrs {
  double negative_slope = .1;
  int64_t skip = 1, up = 1;  // channels S and U; F is what dy has more

  template <class V> void visit(V v) const {
    v("negative_slope", negative_slope);
    v("skip", skip);
    v("up", up);
  }
};

struct DecoderJoinDx : OpBase<DecoderJoinDx, DecoderJoinDxAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "decoder_join_dx";  // (dy, y) -> (dskip, dup, dflow)

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = kAllOperands}; }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct DecoderParts {
  Value skip, up, b, flow, b_flow;
};

inline Value decoder_join(Graph& g, const DecoderParts& p, DecoderJoinAttrs attrs = {}) {
  return g.add1(make_op<DecoderJoin>(attrs), {p.skip, p.up, p.b, p.flow, p.b_flow});
}

// Puts decoder_join in the place of concat(skip, leaky_relu(bias(up)), bias(flow)), and decoder_join_dx in
// that of its gradients', where nothing else reads what lies between.
Graph fuse_decoder_join(const Graph& graph);

inline void register_decoder_join(Registry& r) {
  r.add_op<DecoderJoin>();
  r.add_op<DecoderJoinDx>();
  r.add_fusion({.op = DecoderJoin::kName, .run = fuse_decoder_join, .devices = {"cuda", "cuda-sim"}});
}

}  // namespace millrace
