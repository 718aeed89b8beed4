#include "losses/charbonnier.h"

#include <algorithm>

#include "cpu/power.h"
#include "cpu/reduce.h"

namespace millrace::cpu {
namespace {

// The valid part of a row of a (N,H,W,C) tensor is one run of elements; rows in the border have none.
struct ValidRow {
  int64_t begin, end;
};

template <class T> ValidRow valid_row(const View4<const T>& x, const CharbonnierAttrs& a, int64_t row) {
  const int64_t i = row % x.H, start = row * x.W * x.C;
  if (i < a.border_y || i >= x.H - a.border_y) return {start, start};
  return {start + a.border_x * x.C, start + (x.W - a.border_x) * x.C};
}

template <class T> void charbonnier(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<Charbonnier>();
  const View4<const T> x(args.in[0]);
  const T beta = static_cast<T>(a.beta), alpha = static_cast<T>(a.alpha);
  const T epsilon2 = static_cast<T>(a.epsilon * a.epsilon);
  const auto [sum] = sum_rows<1>(x.N * x.H, args.in[0].count(), [&](int64_t row) {
    const ValidRow valid = valid_row(x, a, row);
    return std::array{sum_terms<T>(valid.begin, valid.end, [=](int64_t e) {
      const T scaled = beta * x.data[e];
      return power(scaled * scaled + epsilon2, alpha);
    })};
  });
  *args.out[0].as<T>() = static_cast<T>(sum / (static_cast<double>(x.N) * a.normalizer));
}

template <class T> void charbonnier_dx(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<CharbonnierDx>();
  const View4<const T> x(args.in[1]);
  T* dx = args.out[0].as<T>();
  const double dloss = static_cast<double>(*args.in[0].as<T>());
  const T factor =
      static_cast<T>(dloss * 2 * a.alpha * a.beta * a.beta / (static_cast<double>(x.N) * a.normalizer));
  const T beta = static_cast<T>(a.beta), exponent = static_cast<T>(a.alpha - 1);
  const T epsilon2 = static_cast<T>(a.epsilon * a.epsilon);
  parallel_rows(x.N * x.H, args.in[1].count(), [&](int64_t row) {
    const ValidRow valid = valid_row(x, a, row);
    std::fill(dx + row * x.W * x.C, dx + valid.begin, T(0));
    const T* in = x.data;
#pragma omp simd
    for (int64_t e = valid.begin; e < valid.end; ++e) {
      const T scaled = beta * in[e];
      dx[e] = factor * in[e] * power(scaled * scaled + epsilon2, exponent);
    }
    std::fill(dx + valid.end, dx + (row + 1) * x.W * x.C, T(0));
  });
}

}  // namespace

void register_charbonnier(Registry& r) {
  add_cpu_kernel(r, Charbonnier::kName, charbonnier<float>, charbonnier<double>);
  add_cpu_kernel(r, CharbonnierDx::kName, charbonnier_dx<float>, charbonnier_dx<double>);
}

}  // namespace millrace::cpu
