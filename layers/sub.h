// sub: y = a - b, element by element.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"
#include "layers/scale.h"

namespace millrace {

// The formula of all kernels.
struct SubFormula {
  template <class T> MILLRACE_HD T operator()(T a, T b) const { return a - b; }
};

struct Sub : OpBase<Sub> {
  static constexpr const char* kName = "sub";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    if (!(in[0] == in[1]) || (in[0].dtype != real && in[0].dtype != precise(real))) {
      fail(ErrorKind::runtime, {kName, "two values alike, " + in[0].to_string(), in[1].to_string(), ""});
    }
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override {
    return {.in = kAllOperands, .out = operand(0), .rounds = false};
  }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.dout[0], a.wanted[1] ? scale(a.graph, a.dout[0], -1) : Value{}};
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}, {.out = 0, .in = 1}}; }

  static std::vector<Case> cases() {
    return {{.name = "small", .op = make_op<Sub>(), .in = {{{2, 3, 2, 5}}, {{2, 3, 2, 5}}}},
            {.name = "one", .op = make_op<Sub>(), .in = {{{1}}, {{1}}}},
            {.name = "vectors and a rest", .op = make_op<Sub>(), .in = {{{31, 33}}, {{31, 33}}}},
            {.name = "benchmark",
             .op = make_op<Sub>(),
             .in = {{{4, 112, 112, 30}}, {{4, 112, 112, 30}}},
             .benchmark = true}};
  }
};

inline Value sub(Graph& g, Value a, Value b) { return g.add1(make_op<Sub>(), {a, b}); }

inline void register_sub(Registry& r) { r.add_op<Sub>(); }

}  // namespace millrace
