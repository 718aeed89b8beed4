// weighted_sum: y = sum over m of weight_m x_m, of scalars: the terms of a loss. Inputs (1), output (1).
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "layers/scale.h"

namespace millrace {

struct WeightedSumAttrs {
  std::vector<double> weights;  // one per input

  template <class V> void visit(V v) const { v("weights", weights); }
};

struct WeightedSum : OpBase<WeightedSum, WeightedSumAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "weighted_sum";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Spec scalar{{1}, precise(real)};
    if (in.empty() || in.size() != attrs.weights.size()) {
      fail(ErrorKind::runtime, {kName, "at least one input and a weight for each",
                                std::to_string(in.size()) + " inputs, " + attributes(), ""});
    }
    for (const Spec& x : in) {
      if (!(x == scalar)) fail(ErrorKind::runtime, {kName, "scalars (1)", x.to_string(), ""});
    }
    return {scalar};
  }
  std::vector<Value> grad(const GradArgs& a) const override {
    std::vector<Value> din(a.in.size());
    for (size_t m = 0; m < din.size(); ++m) {
      if (a.wanted[m]) din[m] = scale(a.graph, a.dout[0], attrs.weights[m]);
    }
    return din;
  }

  static std::vector<Case> cases() {
    return {{.name = "small",
             .op = make_op<WeightedSum>(WeightedSumAttrs{.weights = {.5, -2, 3}}),
             .in = {{{1}}, {{1}}, {{1}}}},
            {.name = "many",
             .op = make_op<WeightedSum>(WeightedSumAttrs{.weights = std::vector<double>(70, .3)}),
             .in = std::vector<CaseInput>(70, {.shape = {1}})},
            {.name = "one", .op = make_op<WeightedSum>(WeightedSumAttrs{.weights = {.16}}), .in = {{{1}}}}};
  }
};

inline Value weighted_sum(Graph& g, std::span<const Value> terms, std::vector<double> weights) {
  return g.add(make_op<WeightedSum>(WeightedSumAttrs{.weights = std::move(weights)}), terms).front();
}

inline void register_weighted_sum(Registry& r) { r.add_op<WeightedSum>(); }

}  // namespace millrace
