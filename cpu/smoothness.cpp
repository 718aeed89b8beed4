#include "losses/smoothness.h"

#include <algorithm>
#include <cmath>

#include "cpu/power.h"
#include "cpu/reduce.h"

namespace millrace::cpu {
namespace {

// Which differences a row has, as runs of elements of the row: channel pairs (u, v) lie side by side, so an
// even element is u and an odd one v.
struct Row {
  int64_t i, start;
  bool valid;          // not in the border
  int64_t begin, end;  // valid columns
  int64_t end_of_dx;   // those of them with a right neighbour
  bool below;          // the row has a row below

  Row(const Shape& flow, const CharbonnierAttrs& a, int64_t row) {
    const int64_t H = flow[1], W = flow[2], C = flow[3];
    i = row % H;
    start = row * W * C;
    valid = i >= a.border_y && i < H - a.border_y;
    begin = a.border_x * C;
    end = (W - a.border_x) * C;
    end_of_dx = std::min(W - a.border_x, W - 1) * C;
    below = i + 1 < H;
  }
};

// Sums of rho(beta (f(e) - f(e + step))) over [begin, end), of u and v.
template <class T> std::array<double, 2> penalty(const T* f, int64_t step, int64_t begin, int64_t end,
                                                 const CharbonnierAttrs& a) {
  const T beta = static_cast<T>(a.beta), alpha = static_cast<T>(a.alpha);
  const T epsilon2 = static_cast<T>(a.epsilon * a.epsilon);
  auto rho = [=](int64_t e) {
    const T z = beta * (f[e] - f[e + step]);
    return power(z * z + epsilon2, alpha);
  };
  return {sum_terms<T>(begin / 2, end / 2, [=](int64_t pair) { return rho(2 * pair); }),
          sum_terms<T>(begin / 2, end / 2, [=](int64_t pair) { return rho(2 * pair + 1); })};
}

template <class T> void smoothness(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<Smoothness>();
  const Shape& shape = args.in[0].shape;
  const int64_t C = shape[3], below = shape[2] * C;
  const T* flow = args.in[0].as<T>();
  const double rho0 = std::pow(a.epsilon, 2 * a.alpha);
  const auto [u, v] = sum_rows<2>(shape[0] * shape[1], args.in[0].count(), [&](int64_t r) {
    const Row row(shape, a, r);
    if (!row.valid) return std::array<double, 2>{};
    const T* f = flow + row.start;
    const auto dx = penalty(f, C, row.begin, row.end_of_dx, a);
    const auto dy = row.below ? penalty(f, below, row.begin, row.end, a) : std::array<double, 2>{};
    // Differences that were set to 0 still count where no border covers them.
    const int64_t zeros = row.end - row.end_of_dx + (row.below ? 0 : row.end - row.begin);
    const double rest = static_cast<double>(zeros / 2) * rho0;
    return std::array{dx[0] + dy[0] + rest, dx[1] + dy[1] + rest};
  });
  const double divisor = static_cast<double>(shape[0]) * a.normalizer;
  *args.out[0].as<T>() = static_cast<T>(u / divisor);
  *args.out[1].as<T>() = static_cast<T>(v / divisor);
}

// Adds to d(e) the derivative of rho(beta (f(e) - f(e + other))) with respect to f(e).
template <class T> struct Slope {
  T factor_u, factor_v, beta, exponent, epsilon2;

  void add(T* d, const T* f, int64_t other, int64_t begin, int64_t end) const {
#pragma omp simd
    for (int64_t e = begin; e < end; ++e) {
      const T delta = f[e] - f[e + other], z = beta * delta;
      d[e] += (e % 2 ? factor_v : factor_u) * delta * power(z * z + epsilon2, exponent);
    }
  }
};

template <class T> void smoothness_dflow(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<SmoothnessDflow>();
  const Shape& shape = args.in[0].shape;
  const int64_t C = shape[3], width = shape[2] * C;
  const T* flow = args.in[0].as<T>();
  T* dflow = args.out[0].as<T>();
  const double factor = 2 * a.alpha * a.beta * a.beta / (static_cast<double>(shape[0]) * a.normalizer);
  const Slope<T> slope{.factor_u = static_cast<T>(factor * static_cast<double>(*args.in[1].as<T>())),
                       .factor_v = static_cast<T>(factor * static_cast<double>(*args.in[2].as<T>())),
                       .beta = static_cast<T>(a.beta),
                       .exponent = static_cast<T>(a.alpha - 1),
                       .epsilon2 = static_cast<T>(a.epsilon * a.epsilon)};
  // Each element gathers from the up to four differences it is part of. rho is even, so its slope as the
  // second operand of a difference is that of the difference the other way round.
  parallel_rows(shape[0] * shape[1], args.in[0].count(), [&](int64_t r) {
    const Row row(shape, a, r);
    const T* f = flow + row.start;
    T* d = dflow + row.start;
    std::fill(d, d + width, T(0));
    if (row.valid) {
      slope.add(d, f, C, row.begin, row.end_of_dx);
      slope.add(d, f, -C, row.begin + C, row.end_of_dx + C);
      if (row.below) slope.add(d, f, width, row.begin, row.end);
    }
    if (row.i > 0 && Row(shape, a, r - 1).valid) slope.add(d, f, -width, row.begin, row.end);
  });
}

}  // namespace

void register_smoothness(Registry& r) {
  add_cpu_kernel(r, Smoothness::kName, smoothness<float>, smoothness<double>);
  add_cpu_kernel(r, SmoothnessDflow::kName, smoothness_dflow<float>, smoothness_dflow<double>);
}

}  // namespace millrace::cpu
