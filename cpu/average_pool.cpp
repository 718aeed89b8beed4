#include "layers/average_pool.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void average_pool(const KernelArgs& args) {
  const View4<const T> x(args.in[0]);
  const View4<T> y(args.out[0]);
  const PoolWindows windows = pool_windows(args.attrs<AveragePool>(), x.H, x.W);
  parallel_rows(y.N * y.H, args.in[0].count(), [&](int64_t row) {
    const int64_t n = row / y.H, o = row % y.H;
    const PoolAxis::Range rows = windows.rows.window(static_cast<int>(o));
    for (int64_t r = 0; r < y.W; ++r) {
      const PoolAxis::Range columns = windows.columns.window(static_cast<int>(r));
      T* sum = &y(n, o, r, 0);
      std::fill_n(sum, y.C, T(0));
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        for (int64_t j = columns.begin; j < columns.end; ++j) {
          const T* values = &x(n, i, j, 0);
#pragma omp simd
          for (int64_t c = 0; c < y.C; ++c) sum[c] += values[c];
        }
      }
      const T size = static_cast<T>(windows.rows.length(static_cast<int>(o)) *
                                    windows.columns.length(static_cast<int>(r)));
      for (int64_t c = 0; c < y.C; ++c) sum[c] /= size;
    }
  });
}

template <class T> void average_pool_dx(const KernelArgs& args) {
  const View4<const T> dy(args.in[0]);
  const View4<T> dx(args.out[0]);
  const PoolWindows windows = pool_windows(args.attrs<AveragePoolDx>().pool, dx.H, dx.W);
  parallel_rows(dx.N * dx.H, args.out[0].count(), [&](int64_t row) {
    const int64_t n = row / dx.H, i = row % dx.H;
    const PoolAxis::Range rows = windows.rows.holders(static_cast<int>(i));
    for (int64_t j = 0; j < dx.W; ++j) {
      const PoolAxis::Range columns = windows.columns.holders(static_cast<int>(j));
      T* sum = &dx(n, i, j, 0);
      std::fill_n(sum, dx.C, T(0));
      for (int o = rows.begin; o < rows.end; ++o) {
        for (int r = columns.begin; r < columns.end; ++r) {
          const T size = static_cast<T>(windows.rows.length(o) * windows.columns.length(r));
          const T* values = &dy(n, o, r, 0);
          for (int64_t c = 0; c < dx.C; ++c) sum[c] += values[c] / size;
        }
      }
    }
  });
}

}  // namespace

void register_average_pool(Registry& r) {
  add_cpu_kernel(r, AveragePool::kName, average_pool<float>, average_pool<double>);
  add_cpu_kernel(r, AveragePoolDx::kName, average_pool_dx<float>, average_pool_dx<double>);
}

}  // namespace millrace::cpu
