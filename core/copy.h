// copy: y = x. The planner ends a step with it where a state update could not be computed in its place.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

// The formula of all kernels.
struct CopyFormula {
  template <class T> MILLRACE_HD T operator()(T x) const { return x; }
};

struct Copy : OpBase<Copy> {
  static constexpr const char* kName = "copy";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
  Bf16Operands bf16_operands() const override {
    return {.in = kAllOperands, .out = operand(0), .rounds = false};
  }
  std::vector<Value> grad(const GradArgs& a) const override { return {a.dout[0]}; }

  static std::vector<Case> cases() {
    return {{.name = "small", .op = make_op<Copy>(), .in = {{{2, 3}}}},
            {.name = "vectors and a rest", .op = make_op<Copy>(), .in = {{{31, 33}}}},
            {.name = "benchmark", .op = make_op<Copy>(), .in = {{{4, 112, 112, 64}}}, .benchmark = true}};
  }
};

inline Value copy(Graph& g, Value x) { return g.add1(make_op<Copy>(), {x}); }

inline void register_copy(Registry& r) { r.add_op<Copy>(); }

}  // namespace millrace
