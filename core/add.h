// add: y = a + b, element by element. The engine sums gradients with it.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

// The formula of all kernels.
struct AddFormula {
  template <class T> MILLRACE_HD T operator()(T a, T b) const { return a + b; }
};

struct Add : OpBase<Add> {
  static constexpr const char* kName = "add";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    if (!(in[0] == in[1])) {
      fail(ErrorKind::runtime, {kName, "two values alike, " + in[0].to_string(), in[1].to_string(), ""});
    }
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override {
    return {.in = kAllOperands, .out = operand(0), .rounds = false};
  }
  std::vector<Value> grad(const GradArgs& a) const override { return {a.dout[0], a.dout[0]}; }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}, {.out = 0, .in = 1}}; }

  static std::vector<Case> cases() {
    return {{.name = "small", .op = make_op<Add>(), .in = {{{2, 3, 2, 5}}, {{2, 3, 2, 5}}}},
            {.name = "one", .op = make_op<Add>(), .in = {{{1}}, {{1}}}},
            {.name = "vectors and a rest", .op = make_op<Add>(), .in = {{{31, 33}}, {{31, 33}}}},
            {.name = "benchmark",
             .op = make_op<Add>(),
             .in = {{{4, 112, 112, 64}}, {{4, 112, 112, 64}}},
             .benchmark = true}};
  }
};

inline Value add(Graph& g, Value a, Value b) { return g.add1(make_op<Add>(), {a, b}); }

inline void register_add(Registry& r) { r.add_op<Add>(); }

}  // namespace millrace
