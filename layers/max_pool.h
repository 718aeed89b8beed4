// Max pooling: y(n,o,r,c) = max of x(n,i,j,c) over the (i,j) of window (o,r); see layers/pool_windows.h.
//
// x (N,H,W,C) -> y (N,OH,OW,C). The gradient goes to the first of the largest inputs, row by row:
//
//   dx(n,i,j,c) = sum over the windows whose first maximum is (i,j) of dy(n,o,r,c)
//
// in the order of the windows. Source: Caffe's pooling_layer.cpp. A NaN counts as larger than any number, so
// that it is seen at the end of the net; Caffe drops it. The places of the maxima are not kept: finding them
// again reads x once more, which is there for the gradients of its neighbours anyway, and a second output
// would be written in inference too.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "layers/pool_windows.h"

namespace millrace {

// Whether x takes the place of the largest so far.
template <class T> MILLRACE_HD bool exceeds(T x, T largest) { return x > largest || x != x; }

struct MaxPoolDx : OpBase<MaxPoolDx, PoolAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "max_pool_dx";  // (dy, x) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Spec dy{detail::pool_shape(kName, in[1], attrs, real), real};
    if (!(in[0] == dy)) fail(ErrorKind::runtime, {kName, "dy " + dy.to_string(), in[0].to_string(), ""});
    return {in[1]};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  bool has_gradient() const override { return false; }  // first derivatives only

  static std::vector<Case> cases() {
    std::vector<Case> cases;
    const Draw few_values = [](Random& r) { return static_cast<double>(r.integer(-1, 1)); };
    for (const bool ties : {false, true}) {
      for (const detail::PoolCase& c : detail::pool_cases()) {
        if (ties && c.benchmark) continue;
        const Shape y = detail::pool_shape(kName, {c.x, Dtype::f64}, c.attrs, Dtype::f64);
        cases.push_back({.name = std::string(c.name) + (ties ? ", ties" : ""),
                         .op = make_op<MaxPoolDx>(c.attrs),
                         .in = {{y}, {c.x, ties ? few_values : uniform(-1, 1)}},
                         .benchmark = c.benchmark});
      }
    }
    return cases;
  }
};

struct MaxPool : OpBase<MaxPool, PoolAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "max_pool";  // (x) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    return {{detail::pool_shape(kName, in[0], attrs, real), real}};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.graph.add1(make_op<MaxPoolDx>(attrs), {a.dout[0], a.in[0]})};
  }

  static std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const detail::PoolCase& c : detail::pool_cases())
      cases.push_back(
          {.name = c.name, .op = make_op<MaxPool>(c.attrs), .in = {{c.x}}, .benchmark = c.benchmark});
    return cases;
  }
};

inline Value max_pool(Graph& g, Value x, PoolAttrs attrs = {}) {
  return g.add1(make_op<MaxPool>(attrs), {x});
}

inline void register_max_pool(Registry& r) {
  r.add_op<MaxPool>();
  r.add_op<MaxPoolDx>();
}

}  // namespace millrace
