// Average pooling: y(n,o,r,c) = sum of x(n,i,j,c) over the (i,j) of window (o,r) / size(o,r).
//
// x (N,H,W,C) -> y (N,OH,OW,C); windows: layers/pool_windows.h. The size is that of the window within the
// padded image: padding counts, what sticks out beyond it (where the number of windows was rounded up) does
// not. Source: Caffe's pooling_layer.cpp.
//
//   dx(n,i,j,c) = sum over the windows that hold (i,j) of dy(n,o,r,c) / size(o,r)
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "layers/pool_windows.h"

namespace millrace {

struct AveragePoolDxAttrs {
  PoolAttrs pool{};
  int64_t height = 1, width = 1;  // of dx

  template <class V> void visit(V v) const {
    pool.visit(v);
    v("height", height);
    v("width", width);
  }
};

struct AveragePoolDx : OpBase<AveragePoolDx, AveragePoolDxAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "average_pool_dx";  // (dy) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Shape& dy = in[0].shape;
    const bool fits = dy.rank() == 4;
    const Spec dx{{fits ? dy[0] : 0, attrs.height, attrs.width, fits ? dy[3] : 0}, real};
    const Spec expected{detail::pool_shape(kName, dx, attrs.pool, real), real};
    if (!fits || !(in[0] == expected))
      fail(ErrorKind::runtime, {kName, "dy " + expected.to_string(), in[0].to_string(), ""});
    return {dx};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  bool has_gradient() const override { return false; }  // first derivatives only

  static std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const detail::PoolCase& c : detail::pool_cases()) {
      const Shape y = detail::pool_shape(kName, {c.x, Dtype::f64}, c.attrs, Dtype::f64);
      cases.push_back({.name = c.name,
                       .op = make_op<AveragePoolDx>(
                           AveragePoolDxAttrs{.pool = c.attrs, .height = c.x[1], .width = c.x[2]}),
                       .in = {{y}},
                       .benchmark = c.benchmark});
    }
    return cases;
  }
};

struct AveragePool : OpBase<AveragePool, PoolAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "average_pool";  // (x) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    return {{detail::pool_shape(kName, in[0], attrs, real), real}};
  }
  Bf16Operands bf16_operands() const override { return {.in = kAllOperands, .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    const Shape& x = a.graph.shape(a.in[0]);
    return {
        a.graph.add1(make_op<AveragePoolDx>(AveragePoolDxAttrs{.pool = attrs, .height = x[1], .width = x[2]}),
                     {a.dout[0]})};
  }

  static std::vector<Case> cases() {
    std::vector<Case> cases;
    for (const detail::PoolCase& c : detail::pool_cases())
      cases.push_back(
          {.name = c.name, .op = make_op<AveragePool>(c.attrs), .in = {{c.x}}, .benchmark = c.benchmark});
    return cases;
  }
};

inline Value average_pool(Graph& g, Value x, PoolAttrs attrs = {}) {
  return g.add1(make_op<AveragePool>(attrs), {x});
}

inline void register_average_pool(Registry& r) {
  r.add_op<AveragePool>();
  r.add_op<AveragePoolDx>();
}

}  // namespace millrace
