// Numbers between f32 and bf16. The precision pass puts these ops into a plan (core/precision_pass.h); nets
// do not know them.
//
// cast: y = x, an activation in full precision, or a value in full precision as an activation: where
// activations are bf16, bf16 to f32 or f32 to bf16 by rounding. In a graph of f32 or f64 both are its type.
// round_bf16: y is the bf16 number nearest to x, ties to even, as f32: what a device without bf16 computes
// where the plan would store bf16.
#pragma once

#include <cmath>

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"

namespace millrace {

struct CastAttrs {
  bool precise = false;  // what y is: in full precision, else an activation

  template <class V> void visit(V v) const { v("precise", precise); }
};

struct Cast : OpBase<Cast, CastAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "cast";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    const Dtype from = attrs.precise ? real : precise(real), to = attrs.precise ? precise(real) : real;
    if (in[0].dtype != from)
      fail(ErrorKind::runtime, {kName, "a value of " + std::string(name_of(from)), in[0].to_string(), ""});
    return {{in[0].shape, to}};
  }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.graph.add1(make_op<Cast>(CastAttrs{!attrs.precise}), {a.dout[0]})};
  }

  static std::vector<Case> cases() {
    auto of = [](const char* name, bool precise, Shape shape, bool benchmark = false) {
      return Case{.name = name,
                  .op = make_op<Cast>(CastAttrs{precise}),
                  .in = {{.shape = shape, .precise = !precise}},
                  .benchmark = benchmark};
    };
    return {of("small", false, {2, 3, 2, 5}),
            of("small, precise", true, {2, 3, 2, 5}),
            of("one", false, {1}),
            of("one, precise", true, {1}),
            of("vectors and a rest", false, {31, 133}),
            of("vectors and a rest, precise", true, {31, 133}),
            of("benchmark", false, {4, 112, 112, 64}, true),
            of("benchmark, precise", true, {4, 112, 112, 64}, true)};
  }
};

// The formula of all kernels; double is rounded as its float.
struct RoundBf16Formula {
  template <class T> MILLRACE_HD T operator()(T x) const {
    return static_cast<T>(to_float(round_to_bf16(static_cast<float>(x))));
  }
};

struct RoundBf16 : OpBase<RoundBf16> {
  static constexpr const char* kName = "round_bf16";

  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    if (in[0].dtype != Dtype::f32 && in[0].dtype != Dtype::f64)
      fail(ErrorKind::runtime, {kName, "f32 or f64", in[0].to_string(), ""});
    return {in[0]};
  }
  bool has_gradient() const override { return false; }  // planned after gradients exist
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }

  static std::vector<Case> cases() {
    // Near the smallest and the largest numbers, and ties.
    const Draw any = [](Random& r) {
      const double size = std::ldexp(r.uniform(-2, 2), static_cast<int>(r.integer(-140, 126)));
      return r.integer(0, 3) == 0 ? static_cast<double>(r.integer(-1024, 1024)) * 0x1p-9 : size;
    };
    return {
        {.name = "small", .op = make_op<RoundBf16>(), .in = {{{2, 3, 2, 5}}}},
        {.name = "one", .op = make_op<RoundBf16>(), .in = {{{1}}}},
        {.name = "all sizes, vectors and a rest", .op = make_op<RoundBf16>(), .in = {{{31, 133}, any}}},
        {.name = "benchmark", .op = make_op<RoundBf16>(), .in = {{{4, 112, 112, 64}}}, .benchmark = true}};
  }
};

inline void register_cast(Registry& r) {
  r.add_op<Cast>();
  r.add_op<RoundBf16>();
}

}  // namespace millrace
