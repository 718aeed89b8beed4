// fill: y = value, a constant of any shape.
#pragma once

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

struct FillAttrs {
  Shape shape;
  double value = 0;

  template <class V> void visit(V v) const {
    v("shape", shape);
    v("value", value);
  }
};

// The formula of all kernels.
template <class T> struct FillFormula {
  T value;
  MILLRACE_HD T operator()() const { return value; }
};

struct Fill : OpBase<Fill, FillAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "fill";

  std::vector<Spec> infer(std::span<const Spec>, Dtype real) const override { return {{attrs.shape, real}}; }
  bool has_gradient() const override { return false; }  // it has no input

  static std::vector<Case> cases() {
    return {{.name = "small", .op = make_op<Fill>(FillAttrs{.shape = {2, 3}, .value = -1.5}), .in = {}},
            {.name = "one", .op = make_op<Fill>(FillAttrs{.shape = {1}, .value = 1}), .in = {}},
            {.name = "vectors and a rest",
             .op = make_op<Fill>(FillAttrs{.shape = {9, 911}, .value = .5}),
             .in = {}},
            {.name = "benchmark",
             .op = make_op<Fill>(FillAttrs{.shape = {4, 112, 112, 64}, .value = 0}),
             .in = {},
             .benchmark = true}};
  }
};

inline Value fill(Graph& g, Shape shape, double value) {
  return g.add1(make_op<Fill>(FillAttrs{.shape = shape, .value = value}), {});
}

inline void register_fill(Registry& r) { r.add_op<Fill>(); }

}  // namespace millrace
