// What the kernels of pooling share: where a thread stands in a (N,H,W,C) tensor.
#pragma once

#include "cuda/divide.cuh"
#include "cuda/elementwise.cuh"
#include "layers/pool_windows.h"

namespace MILLRACE_CUDA_NS {

inline constexpr int kPoolBlock = 256;
template <class T> inline constexpr int kPoolWidth = kVectorBytes / sizeof(T);  // numbers in a vector

// The element of `t` that belongs to a thread, neighbouring threads along channels.
struct PoolElement {
  int64_t n, c;
  int i, j;

  template <class T> __device__ PoolElement(int64_t at, const View4<T>& t) {
    c = at % t.C;
    j = static_cast<int>(at / t.C % t.W);
    i = static_cast<int>(at / t.C / t.W % t.H);
    n = at / t.C / t.W / t.H;
  }
};

// The vector of kPoolWidth channels that belongs to a thread.
struct PoolVector {
  unsigned n, c;  // the first of the channels
  int i, j;
};

// A thread for each vector of a grid with `rows` by `columns` for each of N images. Fewer than 2^31 threads:
// in 32 bits and by products, as divisions would be a quarter of a thread's instructions.
template <class T> struct PoolGrid {
  int threads;
  Divisor by_rows, by_columns, by_vectors;

  PoolGrid(unsigned N, unsigned rows, unsigned columns, unsigned C)
      : threads(static_cast<int>(N * rows * columns * C) / kPoolWidth<T>),
        by_rows(static_cast<int>(rows)),
        by_columns(static_cast<int>(columns)),
        by_vectors(static_cast<int>(C) / kPoolWidth<T>) {}

  __device__ PoolVector place(int t) const {
    const int pixel = by_vectors.quotient(t), row = by_columns.quotient(pixel), n = by_rows.quotient(row);
    return {.n = static_cast<unsigned>(n),
            .c = static_cast<unsigned>(by_vectors.remainder(t, pixel) * kPoolWidth<T>),
            .i = by_rows.remainder(row, n),
            .j = by_columns.remainder(pixel, row)};
  }
};

// PoolWindows::holders of both axes, which have one stride, by products.
struct PoolHolders {
  PoolWindows windows;
  Divisor by_stride;

  explicit PoolHolders(const PoolWindows& w) : windows(w), by_stride(w.rows.stride) {}

  __device__ PoolAxis::Range rows(int i) const { return of(windows.rows, i); }
  __device__ PoolAxis::Range columns(int j) const { return of(windows.columns, j); }

 private:
  __device__ PoolAxis::Range of(const PoolAxis& axis, int p) const {
    const int before = p + axis.pad - axis.kernel, last = by_stride.quotient(p + axis.pad);
    return {before < 0 ? 0 : by_stride.quotient(before) + 1, last < axis.windows ? last + 1 : axis.windows};
  }
};

// A (N,H,W,C) tensor of fewer than 2^31 elements.
template <class T> struct PoolTensor {
  T* data;
  unsigned N, H, W, C;

  PoolTensor(const Tensor& t)
      : data(t.as<T>()),
        N(static_cast<unsigned>(t.shape[0])),
        H(static_cast<unsigned>(t.shape[1])),
        W(static_cast<unsigned>(t.shape[2])),
        C(static_cast<unsigned>(t.shape[3])) {}

  // The vector of v's channels in row i and column j of its image.
  __device__ T* at(const PoolVector& v, int i, int j) const {
    return data + (((v.n * H + static_cast<unsigned>(i)) * W + static_cast<unsigned>(j)) * C + v.c);
  }
};

// Accepts what vector kernels can do: channels in whole vectors, and elements that 32 bits can count.
template <class T>
std::optional<Prepared> pool_vectors(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  const auto fits = [](const Spec& s) {
    return s.shape[3] % kPoolWidth<T> == 0 && s.shape.count() < (int64_t{1} << 31);
  };
  if (!std::all_of(in.begin(), in.end(), fits) || !fits(out[0])) return {};
  return Prepared{};
}

inline bool all_vector_aligned(const KernelArgs& args) {
  const auto aligned = [](const Tensor& t) { return vector_aligned(t.data); };
  return std::all_of(args.in.begin(), args.in.end(), aligned) && aligned(args.out[0]);
}

}  // namespace MILLRACE_CUDA_NS
