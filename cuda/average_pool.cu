#include "cuda/pool.cuh"
#include "layers/average_pool.h"

namespace MILLRACE_CUDA_NS {
namespace {

__device__ float size_of_window(const PoolWindows& windows, int o, int r) {
  return static_cast<float>(windows.rows.length(o) * windows.columns.length(r));
}

// plain. One thread per output. Bytes per output, with a window that is the stride: k^2 elements read, one
// written. Windows that overlap read their common elements from the caches.
template <class T> __global__ void __launch_bounds__(kPoolBlock)
    average_pool_elements(View4<const T> x, View4<T> y, PoolWindows windows) {
  const int64_t element = global_thread();
  if (element >= y.N * y.H * y.W * y.C) return;
  const PoolElement at(element, y);
  const PoolAxis::Range rows = windows.rows.window(at.i), columns = windows.columns.window(at.j);
  float sum = 0;
  for (int i = rows.begin; i < rows.end; ++i)
    for (int j = columns.begin; j < columns.end; ++j) sum += to_float(x(at.n, i, j, at.c));
  y.data[element] = from_float<T>(sum / size_of_window(windows, at.i, at.j));
}

// vector. One thread per window and 16 bytes of channels: its place in the tensor is found once for 4 or 8
// outputs, in 32 bits, and what it reads comes in a quarter or an eighth of the instructions. Bytes as in
// `plain`.
template <class T> __global__ void __launch_bounds__(kPoolBlock)
    average_pool_vectors(PoolTensor<const T> x, PoolTensor<T> y, PoolWindows windows, PoolGrid<T> grid) {
  constexpr int kWidth = kPoolWidth<T>;
  const auto thread = static_cast<int>(global_thread());
  if (thread >= grid.threads) return;
  const PoolVector at = grid.place(thread);
  const PoolAxis::Range rows = windows.rows.window(at.i), columns = windows.columns.window(at.j);
  Floats<kWidth> sum{};
  for (int i = rows.begin; i < rows.end; ++i) {
#pragma unroll 4
    for (int j = columns.begin; j < columns.end; ++j) {
      const Floats<kWidth> values = load_floats<kWidth>(x.at(at, i, j));
#pragma unroll
      for (int c = 0; c < kWidth; ++c) sum[c] += values[c];
    }
  }
  const float size = size_of_window(windows, at.i, at.j);
#pragma unroll
  for (int c = 0; c < kWidth; ++c) sum[c] /= size;
  store_floats(y.at(at, at.i, at.j), sum);
}

// plain. One thread per input, which adds up what the windows that hold it give it: no two threads share a
// sum. Bytes per element of dx, with a window that is the stride: one written, 1/k^2 of dy read.
template <class T> __global__ void __launch_bounds__(kPoolBlock)
    average_pool_dx_elements(View4<const T> dy, View4<T> dx, PoolWindows windows) {
  const int64_t element = global_thread();
  if (element >= dx.N * dx.H * dx.W * dx.C) return;
  const PoolElement at(element, dx);
  const PoolAxis::Range over = windows.rows.holders(at.i), across = windows.columns.holders(at.j);
  float sum = 0;
  for (int o = over.begin; o < over.end; ++o)
    for (int r = across.begin; r < across.end; ++r)
      sum += to_float(dy(at.n, o, r, at.c)) / size_of_window(windows, o, r);
  dx.data[element] = from_float<T>(sum);
}

// vector. The same for 16 bytes of channels, for the reasons above; the division by the size is one for all
// of them. Bytes as in `plain`.
template <class T> __global__ void __launch_bounds__(kPoolBlock)
    average_pool_dx_vectors(PoolTensor<const T> dy, PoolTensor<T> dx, PoolHolders holders, PoolGrid<T> grid) {
  constexpr int kWidth = kPoolWidth<T>;
  const auto thread = static_cast<int>(global_thread());
  if (thread >= grid.threads) return;
  const PoolVector at = grid.place(thread);
  const PoolAxis::Range over = holders.rows(at.i), across = holders.columns(at.j);
  Floats<kWidth> sum{};
  for (int o = over.begin; o < over.end; ++o) {
    for (int r = across.begin; r < across.end; ++r) {
      const Floats<kWidth> slope = load_floats<kWidth>(dy.at(at, o, r));
      const float share = 1.0f / size_of_window(holders.windows, o, r);
#pragma unroll
      for (int c = 0; c < kWidth; ++c) sum[c] += slope[c] * share;
    }
  }
  store_floats(dx.at(at, at.i, at.j), sum);
}

LaunchShape shape_for(int64_t threads) {
  return {.grid = blocks_for(threads, kPoolBlock), .block = kPoolBlock};
}

template <class T> void average_pool(const KernelArgs& args) {
  const View4<const T> x(args.in[0]);
  launch(average_pool_elements<T>, shape_for(args.out[0].count()), args.stream, x, args.out[0],
         pool_windows(args.attrs<AveragePool>(), x.H, x.W));
}

template <class T> void average_pool_vector(const KernelArgs& args) {
  if (!all_vector_aligned(args)) return average_pool<T>(args);
  const PoolTensor<const T> x(args.in[0]);
  const PoolTensor<T> y(args.out[0]);
  const PoolGrid<T> grid(y.N, y.H, y.W, y.C);
  launch(average_pool_vectors<T>, shape_for(grid.threads), args.stream, x, y,
         pool_windows(args.attrs<AveragePool>(), x.H, x.W), grid);
}

template <class T> void average_pool_dx(const KernelArgs& args) {
  const View4<T> dx(args.out[0]);
  launch(average_pool_dx_elements<T>, shape_for(args.out[0].count()), args.stream, args.in[0], dx,
         pool_windows(args.attrs<AveragePoolDx>().pool, dx.H, dx.W));
}

template <class T> void average_pool_dx_vector(const KernelArgs& args) {
  if (!all_vector_aligned(args)) return average_pool_dx<T>(args);
  const PoolTensor<T> dx(args.out[0]);
  const PoolGrid<T> grid(dx.N, dx.H, dx.W, dx.C);
  launch(average_pool_dx_vectors<T>, shape_for(grid.threads), args.stream, args.in[0], dx,
         PoolHolders(pool_windows(args.attrs<AveragePoolDx>().pool, dx.H, dx.W)), grid);
}

template <class T> void add_versions(Registry& r) {
  constexpr Dtype kType = dtype_of<T>();
  add_cuda_kernel(r, {.op = AveragePool::kName, .dtype = kType, .run = average_pool<T>});
  add_cuda_kernel(r, {.op = AveragePool::kName,
                      .version = "vector",
                      .dtype = kType,
                      .run = average_pool_vector<T>,
                      .prepare = pool_vectors<T>,
                      .preference = 1});
  add_cuda_kernel(r, {.op = AveragePoolDx::kName, .dtype = kType, .run = average_pool_dx<T>});
  add_cuda_kernel(r, {.op = AveragePoolDx::kName,
                      .version = "vector",
                      .dtype = kType,
                      .run = average_pool_dx_vector<T>,
                      .prepare = pool_vectors<T>,
                      .preference = 1});
}

}  // namespace

void register_average_pool(Registry& r) {
  add_versions<float>(r);
  add_versions<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
