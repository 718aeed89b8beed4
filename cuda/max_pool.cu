#include "cuda/pool.cuh"
#include "layers/max_pool.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// plain. One thread per output. Bytes per output, with a window that is the stride: k^2 elements read, one
// written. Windows that overlap read their common elements from the caches.
template <class T> __global__ void __launch_bounds__(kPoolBlock)
    max_pool_elements(View4<const T> x, View4<T> y, PoolWindows windows) {
  const int64_t element = global_thread();
  if (element >= y.N * y.H * y.W * y.C) return;
  const PoolElement at(element, y);
  const PoolAxis::Range rows = windows.rows.window(at.i), columns = windows.columns.window(at.j);
  float largest = kLowest;
  for (int i = rows.begin; i < rows.end; ++i) {
    for (int j = columns.begin; j < columns.end; ++j) {
      const float value = to_float(x(at.n, i, j, at.c));
      if (exceeds(value, largest)) largest = value;
    }
  }
  y.data[element] = from_float<T>(largest);
}

// vector. One thread per window and 16 bytes of channels: its place in the tensor is found once for 4 or 8
// outputs, in 32 bits, and what it reads comes in a quarter or an eighth of the instructions. A window of
// known size is unrolled and has no branches, so that all its loads are under way at once: taps outside the
// image are moved to its border, which is in the window too and so changes no maximum. Bytes as in `plain`.
// Machine instructions of window 2 on sm_90: 126, 1.6 per byte (235 and 2.9 as bf16).
template <class T, int kKernel> __global__ void __launch_bounds__(kPoolBlock)
    max_pool_vectors(PoolTensor<const T> x, PoolTensor<T> y, PoolWindows windows, PoolGrid<T> grid) {
  constexpr int kWidth = kPoolWidth<T>;
  const auto thread = static_cast<int>(global_thread());
  if (thread >= grid.threads) return;
  const PoolVector at = grid.place(thread);
  const PoolAxis::Range rows = windows.rows.window(at.i), columns = windows.columns.window(at.j);
  Floats<kWidth> largest;
#pragma unroll
  for (int c = 0; c < kWidth; ++c) largest[c] = kLowest;
  const auto take = [&](int i, int j) {
    const Floats<kWidth> values = load_floats<kWidth>(x.at(at, i, j));
#pragma unroll
    for (int c = 0; c < kWidth; ++c) largest[c] = exceeds(values[c], largest[c]) ? values[c] : largest[c];
  };
  if constexpr (kKernel > 0) {
#pragma unroll
    for (int k = 0; k < kKernel * kKernel; ++k)
      take(min(rows.begin + k / kKernel, rows.end - 1), min(columns.begin + k % kKernel, columns.end - 1));
  } else {
    for (int i = rows.begin; i < rows.end; ++i) {
#pragma unroll 2
      for (int j = columns.begin; j < columns.end; ++j) take(i, j);
    }
  }
  store_floats(y.at(at, at.i, at.j), largest);
}

// plain. One thread per input, which finds the first maximum of each window that holds it, and takes dy where
// that is itself: no two threads share a sum. Bytes per element of dx, with a window that is the stride: one
// written, one of x read (k^2 times, from the caches), and 1/k^2 of dy.
template <class T> __global__ void __launch_bounds__(kPoolBlock)
    max_pool_dx_elements(View4<const T> dy, View4<const T> x, View4<T> dx, PoolWindows windows) {
  const int64_t element = global_thread();
  if (element >= dx.N * dx.H * dx.W * dx.C) return;
  const PoolElement at(element, dx);
  const PoolAxis::Range over = windows.rows.holders(at.i), across = windows.columns.holders(at.j);
  float sum = 0;
  for (int o = over.begin; o < over.end; ++o) {
    for (int r = across.begin; r < across.end; ++r) {
      const PoolAxis::Range rows = windows.rows.window(o), columns = windows.columns.window(r);
      float largest = kLowest;
      int first_i = rows.begin, first_j = columns.begin;
      for (int i = rows.begin; i < rows.end; ++i) {
        for (int j = columns.begin; j < columns.end; ++j) {
          const float value = to_float(x(at.n, i, j, at.c));
          if (!exceeds(value, largest)) continue;
          largest = value;
          first_i = i;
          first_j = j;
        }
      }
      if (first_i == at.i && first_j == at.j) sum += to_float(dy(at.n, o, r, at.c));
    }
  }
  dx.data[element] = from_float<T>(sum);
}

// The first maximum of each of a vector's channels, and its number in the window, counted row by row.
template <class T> struct FirstMaximum {
  static constexpr int kWidth = kPoolWidth<T>;
  Floats<kWidth> largest;
  int number[kWidth];

  __device__ FirstMaximum() {
#pragma unroll
    for (int c = 0; c < kWidth; ++c) {
      largest[c] = kLowest;
      number[c] = 0;
    }
  }
  __device__ void take(int k, const T* values) {
    const Floats<kWidth> v = load_floats<kWidth>(values);
#pragma unroll
    for (int c = 0; c < kWidth; ++c) {
      if (exceeds(v[c], largest[c])) {
        largest[c] = v[c];
        number[c] = k;
      }
    }
  }
};

// vector. The same for 16 bytes of channels. The windows that hold an input are looked through again by each
// of its neighbours: with a kernel of 3 and a stride of 2 an input of x is read 20 times, nearly always from
// the L1 cache. Bytes as in `plain`. Four blocks of a multiprocessor: for five, nvcc spills.
template <class T> __global__ void __launch_bounds__(kPoolBlock, 4)
    max_pool_dx_vectors(PoolTensor<const T> dy, PoolTensor<const T> x, PoolTensor<T> dx, PoolHolders holders,
                        PoolGrid<T> grid) {
  constexpr int kWidth = kPoolWidth<T>;
  const auto thread = static_cast<int>(global_thread());
  if (thread >= grid.threads) return;
  const PoolVector at = grid.place(thread);
  const PoolAxis::Range over = holders.rows(at.i), across = holders.columns(at.j);
  Floats<kWidth> sum{};
  for (int o = over.begin; o < over.end; ++o) {
    for (int r = across.begin; r < across.end; ++r) {
      const PoolAxis::Range rows = holders.windows.rows.window(o),
                            columns = holders.windows.columns.window(r);
      const int width = columns.end - columns.begin;
      FirstMaximum<T> first;
      for (int i = rows.begin; i < rows.end; ++i)
        for (int j = columns.begin; j < columns.end; ++j)
          first.take((i - rows.begin) * width + j - columns.begin, x.at(at, i, j));
      const int own = (at.i - rows.begin) * width + at.j - columns.begin;
      const Floats<kWidth> slope = load_floats<kWidth>(dy.at(at, o, r));
#pragma unroll
      for (int c = 0; c < kWidth; ++c) sum[c] += first.number[c] == own ? slope[c] : 0.0f;
    }
  }
  store_floats(dx.at(at, at.i, at.j), sum);
}

// windows, where the kernel is the stride, so that each input is in one window at most. One thread per window
// and 16 bytes of channels: x is read once where `vector` reads it k^2 times, and the first maximum is looked
// for once. Rows and columns behind the last window, where their number was rounded down, belong to windows
// that do not exist, and get zeros. Bytes as in `plain`. Window 2 is unrolled: on sm_90 241 machine
// instructions, 1.7 per byte (427 and 3.0 as bf16).
template <class T, int kKernel> __global__ void __launch_bounds__(kPoolBlock)
    max_pool_dx_windows(PoolTensor<const T> dy, PoolTensor<const T> x, PoolTensor<T> dx, PoolWindows windows,
                        PoolGrid<T> grid) {
  constexpr int kWidth = kPoolWidth<T>;
  const auto thread = static_cast<int>(global_thread());
  if (thread >= grid.threads) return;
  const PoolVector at = grid.place(thread);
  const int kernel = kKernel > 0 ? kKernel : windows.rows.stride;
  const PoolAxis::Range rows = windows.rows.window(at.i), columns = windows.columns.window(at.j);
  FirstMaximum<T> first;
#pragma unroll
  for (int k = 0; k < kernel * kernel; ++k) {
    const int i = rows.begin + k / kernel, j = columns.begin + k % kernel;
    if (i < rows.end && j < columns.end) first.take(k, x.at(at, i, j));
  }
  Floats<kWidth> slope{};
  if (at.i < windows.rows.windows && at.j < windows.columns.windows)
    slope = load_floats<kWidth>(dy.at(at, at.i, at.j));
#pragma unroll
  for (int k = 0; k < kernel * kernel; ++k) {
    const int i = rows.begin + k / kernel, j = columns.begin + k % kernel;
    Floats<kWidth> own;
#pragma unroll
    for (int c = 0; c < kWidth; ++c) own[c] = first.number[c] == k ? slope[c] : 0.0f;
    if (i < rows.end && j < columns.end) store_floats(dx.at(at, i, j), own);
  }
}

LaunchShape shape_for(int64_t threads) {
  return {.grid = blocks_for(threads, kPoolBlock), .block = kPoolBlock};
}

template <class T> void max_pool(const KernelArgs& args) {
  const View4<const T> x(args.in[0]);
  launch(max_pool_elements<T>, shape_for(args.out[0].count()), args.stream, x, args.out[0],
         pool_windows(args.attrs<MaxPool>(), x.H, x.W));
}

template <class T> void max_pool_vector(const KernelArgs& args) {
  if (!all_vector_aligned(args)) return max_pool<T>(args);
  const PoolTensor<const T> x(args.in[0]);
  const PoolWindows windows = pool_windows(args.attrs<MaxPool>(), x.H, x.W);
  const int kernel = windows.rows.kernel == windows.columns.kernel ? windows.rows.kernel : 0;
  const auto run = kernel == 2   ? max_pool_vectors<T, 2>
                   : kernel == 3 ? max_pool_vectors<T, 3>
                                 : max_pool_vectors<T, 0>;
  const PoolTensor<T> y(args.out[0]);
  const PoolGrid<T> grid(y.N, y.H, y.W, y.C);
  launch(run, shape_for(grid.threads), args.stream, x, y, windows, grid);
}

template <class T> void max_pool_dx(const KernelArgs& args) {
  const View4<const T> x(args.in[1]);
  launch(max_pool_dx_elements<T>, shape_for(args.out[0].count()), args.stream, args.in[0], x, args.out[0],
         pool_windows(args.attrs<MaxPoolDx>(), x.H, x.W));
}

template <class T> void max_pool_dx_vector(const KernelArgs& args) {
  if (!all_vector_aligned(args)) return max_pool_dx<T>(args);
  const PoolTensor<const T> x(args.in[1]);
  const PoolGrid<T> grid(x.N, x.H, x.W, x.C);
  launch(max_pool_dx_vectors<T>, shape_for(grid.threads), args.stream, args.in[0], x, args.out[0],
         PoolHolders(pool_windows(args.attrs<MaxPoolDx>(), x.H, x.W)), grid);
}

template <class T>
std::optional<Prepared> no_overlap(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  const PoolAttrs& a = static_cast<const MaxPoolDx&>(op).attrs;
  if (a.global || a.kernel != a.stride) return {};
  return pool_vectors<T>(op, in, out);
}

template <class T> void max_pool_dx_window(const KernelArgs& args) {
  if (!all_vector_aligned(args)) return max_pool_dx<T>(args);
  const PoolTensor<const T> x(args.in[1]);
  const PoolWindows windows = pool_windows(args.attrs<MaxPoolDx>(), x.H, x.W);
  const int k = windows.rows.stride, pad = windows.rows.pad;
  const auto over = (x.H + static_cast<unsigned>(pad + k - 1)) / static_cast<unsigned>(k);
  const auto across = (x.W + static_cast<unsigned>(pad + k - 1)) / static_cast<unsigned>(k);
  const PoolGrid<T> grid(x.N, over, across, x.C);
  launch(k == 2 ? max_pool_dx_windows<T, 2> : max_pool_dx_windows<T, 0>, shape_for(grid.threads), args.stream,
         args.in[0], x, args.out[0], windows, grid);
}

template <class T> void add_versions(Registry& r) {
  constexpr Dtype kType = dtype_of<T>();
  add_cuda_kernel(r, {.op = MaxPool::kName, .dtype = kType, .run = max_pool<T>});
  add_cuda_kernel(r, {.op = MaxPool::kName,
                      .version = "vector",
                      .dtype = kType,
                      .run = max_pool_vector<T>,
                      .prepare = pool_vectors<T>,
                      .preference = 1});
  add_cuda_kernel(r, {.op = MaxPoolDx::kName, .dtype = kType, .run = max_pool_dx<T>});
  add_cuda_kernel(r, {.op = MaxPoolDx::kName,
                      .version = "vector",
                      .dtype = kType,
                      .run = max_pool_dx_vector<T>,
                      .prepare = pool_vectors<T>,
                      .preference = 1});
  add_cuda_kernel(r, {.op = MaxPoolDx::kName,
                      .version = "windows",
                      .dtype = kType,
                      .run = max_pool_dx_window<T>,
                      .prepare = no_overlap<T>,
                      .preference = 2});
}

}  // namespace

void register_max_pool(Registry& r) {
  add_versions<float>(r);
  add_versions<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
