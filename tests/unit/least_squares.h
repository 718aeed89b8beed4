// A net whose gradient is known in closed form, in ops of its own:
//
//   L = 1/(2N) sum over n of (y(n) - t(n))^2,  y(n) = sum over k of x(n,k) w(k)
#pragma once

#include <vector>

#include "core/graph.h"
#include "core/registry.h"

namespace millrace::test {

struct Linear : OpBase<Linear> {  // (x (N,K), w (K)) -> y (N)
  static constexpr const char* kName = "test_linear";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    return {{{in[0].shape[0]}, real}};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
};

struct LinearDw : OpBase<LinearDw> {  // (dy, x) -> dw
  static constexpr const char* kName = "test_linear_dw";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    return {{{in[1].shape[1]}, real}};
  }
};

inline std::vector<Value> Linear::grad(const GradArgs& a) const {
  return {Value{}, a.graph.add1(make_op<LinearDw>(), {a.dout[0], a.in[0]})};
}

struct HalfSquare : OpBase<HalfSquare> {  // (y, t) -> L
  static constexpr const char* kName = "test_half_square";
  std::vector<Spec> infer(std::span<const Spec>, Dtype real) const override { return {{{1}, real}}; }
  std::vector<Value> grad(const GradArgs& a) const override;
};

struct HalfSquareDy : OpBase<HalfSquareDy> {  // (dL, y, t) -> dy
  static constexpr const char* kName = "test_half_square_dy";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[1]}; }
};

inline std::vector<Value> HalfSquare::grad(const GradArgs& a) const {
  return {a.graph.add1(make_op<HalfSquareDy>(), {a.dout[0], a.in[0], a.in[1]}), Value{}};
}

template <class T> void linear(const KernelArgs& a) {
  const T *x = a.in[0].as<T>(), *w = a.in[1].as<T>();
  const int64_t N = a.in[0].shape[0], K = a.in[0].shape[1];
  for (int64_t n = 0; n < N; ++n) {
    T sum = 0;
    for (int64_t k = 0; k < K; ++k) sum += x[n * K + k] * w[k];
    a.out[0].as<T>()[n] = sum;
  }
}

template <class T> void linear_dw(const KernelArgs& a) {
  const T *dy = a.in[0].as<T>(), *x = a.in[1].as<T>();
  const int64_t N = a.in[1].shape[0], K = a.in[1].shape[1];
  for (int64_t k = 0; k < K; ++k) {
    T sum = 0;
    for (int64_t n = 0; n < N; ++n) sum += dy[n] * x[n * K + k];
    a.out[0].as<T>()[k] = sum;
  }
}

template <class T> void half_square(const KernelArgs& a) {
  const T *y = a.in[0].as<T>(), *t = a.in[1].as<T>();
  const int64_t N = a.in[0].count();
  T sum = 0;
  for (int64_t n = 0; n < N; ++n) sum += (y[n] - t[n]) * (y[n] - t[n]);
  a.out[0].as<T>()[0] = sum / static_cast<T>(2 * N);
}

template <class T> void half_square_dy(const KernelArgs& a) {
  const T *y = a.in[1].as<T>(), *t = a.in[2].as<T>();
  const int64_t N = a.in[1].count();
  for (int64_t n = 0; n < N; ++n) a.out[0].as<T>()[n] = *a.in[0].as<T>() * (y[n] - t[n]) / static_cast<T>(N);
}

// Kernels only: the generated tests do not know these ops.
inline void register_least_squares() {
  [[maybe_unused]] static const bool once = [] {
    Registry& r = Registry::mutable_registry();
    add_cpu_kernel(r, Linear::kName, linear<float>, linear<double>);
    add_cpu_kernel(r, LinearDw::kName, linear_dw<float>, linear_dw<double>);
    add_cpu_kernel(r, HalfSquare::kName, half_square<float>, half_square<double>);
    add_cpu_kernel(r, HalfSquareDy::kName, half_square_dy<float>, half_square_dy<double>);
    return true;
  }();
}

}  // namespace millrace::test
