// concat: the channels of all inputs one after another, y(n,i,j, C_0 + .. + C_(m-1) + c) = x_m(n,i,j,c).
// Inputs are (N,H,W,C_m), at least one. The gradient to each is a slice.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "layers/slice_channels.h"

namespace millrace {

struct Concat : OpBase<Concat> {
  static constexpr const char* kName = "concat";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    int64_t channels = 0;
    for (const Spec& s : in) {
      const Shape &x = s.shape, &first = in[0].shape;
      if (x.rank() != 4 || x[0] != first[0] || x[1] != first[1] || x[2] != first[2] ||
          s.dtype != in[0].dtype) {
        fail(ErrorKind::runtime,
             {kName, "inputs (N,H,W,C) like the first, " + in[0].to_string(), s.to_string(), ""});
      }
      channels += x[3];
    }
    if (in.empty()) fail(ErrorKind::runtime, {kName, "at least one input", "none", ""});
    return {{{in[0].shape[0], in[0].shape[1], in[0].shape[2], channels}, in[0].dtype}};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    std::vector<Value> din;
    int64_t begin = 0;
    for (size_t m = 0; m < a.in.size(); ++m) {
      const int64_t count = a.graph.shape(a.in[m])[3];
      din.push_back(a.wanted[m] ? slice_channels(a.graph, a.dout[0], {.begin = begin, .count = count})
                                : Value{});
      begin += count;
    }
    return din;
  }
  Cost cost(std::span<const Spec>, std::span<const Spec> out) const override {
    return {.flop = 0, .bytes = 2.0 * static_cast<double>(out[0].bytes())};
  }

  static std::vector<Case> cases() {
    return {
        {.name = "small", .op = make_op<Concat>(), .in = {{{2, 3, 4, 2}}, {{2, 3, 4, 5}}, {{2, 3, 4, 1}}}},
        {.name = "one input", .op = make_op<Concat>(), .in = {{{1, 2, 1, 3}}}},
        {.name = "one pixel", .op = make_op<Concat>(), .in = {{{1, 1, 1, 1}}, {{1, 1, 1, 1}}}},
        {.name = "vectors of 8", .op = make_op<Concat>(), .in = {{{1, 5, 4, 16}}, {{1, 5, 4, 8}}}},
        {.name = "vectors of 4",
         .op = make_op<Concat>(),
         .in = {{{1, 3, 4, 16}}, {{1, 3, 4, 8}}, {{1, 3, 4, 20}}}},
        {.name = "vectors of 2", .op = make_op<Concat>(), .in = {{{2, 3, 1, 4}}, {{2, 3, 1, 6}}}},
        {.name = "ten inputs", .op = make_op<Concat>(), .in = std::vector<CaseInput>(10, {{1, 2, 2, 2}})},
        {.name = "benchmark",
         .op = make_op<Concat>(),
         .in = {{{4, 112, 112, 128}}, {{4, 112, 112, 64}}, {{4, 112, 112, 20}}},
         .benchmark = true}};
  }
};

inline Value concat(Graph& g, std::span<const Value> in) { return g.add(make_op<Concat>(), in).front(); }
inline Value concat(Graph& g, std::initializer_list<Value> in) { return g.add1(make_op<Concat>(), in); }

inline void register_concat(Registry& r) { r.add_op<Concat>(); }

}  // namespace millrace
