#include "layers/max_pool.h"

#include <limits>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> constexpr T kLowest = -std::numeric_limits<T>::infinity();

template <class T> void max_pool(const KernelArgs& args) {
  const View4<const T> x(args.in[0]);
  const View4<T> y(args.out[0]);
  const PoolWindows windows = pool_windows(args.attrs<MaxPool>(), x.H, x.W);
  parallel_rows(y.N * y.H, args.in[0].count(), [&](int64_t row) {
    const int64_t n = row / y.H, o = row % y.H;
    const PoolAxis::Range rows = windows.rows.window(static_cast<int>(o));
    for (int64_t r = 0; r < y.W; ++r) {
      const PoolAxis::Range columns = windows.columns.window(static_cast<int>(r));
      T* largest = &y(n, o, r, 0);
      std::fill_n(largest, y.C, kLowest<T>);
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        for (int64_t j = columns.begin; j < columns.end; ++j) {
          const T* values = &x(n, i, j, 0);
#pragma omp simd
          for (int64_t c = 0; c < y.C; ++c)
            largest[c] = exceeds(values[c], largest[c]) ? values[c] : largest[c];
        }
      }
    }
  });
}

// One thread per image: no two threads meet in one element, and each element's sum is in the order of the
// windows.
template <class T> void max_pool_dx(const KernelArgs& args) {
  const View4<const T> dy(args.in[0]), x(args.in[1]);
  const View4<T> dx(args.out[0]);
  const PoolWindows windows = pool_windows(args.attrs<MaxPoolDx>(), x.H, x.W);
  parallel_rows(x.N, args.in[1].count(), [&](int64_t n) {
    std::fill_n(&dx(n, 0, 0, 0), x.H * x.W * x.C, T(0));
    for (int64_t o = 0; o < dy.H; ++o) {
      const PoolAxis::Range rows = windows.rows.window(static_cast<int>(o));
      for (int64_t r = 0; r < dy.W; ++r) {
        const PoolAxis::Range columns = windows.columns.window(static_cast<int>(r));
        for (int64_t c = 0; c < x.C; ++c) {
          int64_t at_i = rows.begin, at_j = columns.begin;
          for (int64_t i = rows.begin; i < rows.end; ++i) {
            for (int64_t j = columns.begin; j < columns.end; ++j) {
              if (!exceeds(x(n, i, j, c), x(n, at_i, at_j, c))) continue;
              at_i = i;
              at_j = j;
            }
          }
          dx(n, at_i, at_j, c) += dy(n, o, r, c);
        }
      }
    }
  });
}

}  // namespace

void register_max_pool(Registry& r) {
  add_cpu_kernel(r, MaxPool::kName, max_pool<float>, max_pool<double>);
  add_cpu_kernel(r, MaxPoolDx::kName, max_pool_dx<float>, max_pool_dx<double>);
}

}  // namespace millrace::cpu
