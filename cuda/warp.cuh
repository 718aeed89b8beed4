// Where the samples of a warp lie: shared by warp.cu and warp_dimage.cu.
#pragma once

#include "core/tensor.h"
#include "cuda/divide.cuh"
#include "cuda/numbers.cuh"

namespace MILLRACE_CUDA_NS {

// The cell that holds one sample point: its first tap and the fractions towards the second.
struct Cell {
  int row, column;
  float down, right;

  // The sample of pixel (i,j) by the flow (u,v), in an image of H x W.
  __device__ Cell(int i, int j, float u, float v, int H, int W)
      : Cell(static_cast<float>(j) + u, static_cast<float>(i) + v, static_cast<float>(H),
             static_cast<float>(W)) {}

  // The sample at column x and row y.
  __device__ Cell(float x, float y, float H, float W)
      : row(tap(y, H)), column(tap(x, W)), down(y - floorf(y)), right(x - floorf(x)) {}

  // No tap of a cell at -2 or at the image's extent is inside, so what lies further out is moved there: the
  // conversion is defined for any flow (fmaxf drops a NaN), and sums with it stay small.
  __device__ static int tap(float at, float extent) {
    return static_cast<int>(fminf(fmaxf(floorf(at), -2.0f), extent));
  }
};

struct SamplePlace {
  int n, i, j, k;
};

// The extents of a warp in 32 bits. Samples, a pixel and a flow each, are numbered in the order of the flow's
// pairs: s = ((n H + i) W + j) K + k. The C colours of sample s are elements s C ... s C + C - 1 of an image.
struct WarpExtents {
  int H, W, K;
  int samples;
  Divisor by_H, by_W, by_K;

  WarpExtents(const Shape& image, const Shape& flow)
      : H(static_cast<int>(image[1])),
        W(static_cast<int>(image[2])),
        K(static_cast<int>(flow[3] / 2)),
        samples(static_cast<int>(flow.count() / 2)),
        by_H(H),
        by_W(W),
        by_K(K) {}

  // Three divisions: a third of all instructions of a warp, were they left to the compiler.
  __device__ SamplePlace place(int s) const {
    const int pixel = by_K.quotient(s), row = by_W.quotient(pixel), n = by_H.quotient(row);
    return {n, by_H.remainder(row, n), by_W.remainder(pixel, row), by_K.remainder(s, pixel)};
  }
};

// What one sample reads: its cell, the number of the cell's first tap as a sample, and which rows and columns
// of taps are inside.
struct Reach {
  Cell cell;
  int first;
  bool top, bottom, left, right;
  int below;  // from a tap's number to the one below; to the right it is K

  // `flow` (u,v) of sample s.
  __device__ Reach(const Vec<float, 2>& flow, int s, const WarpExtents& e) : Reach(flow, s, e.place(s), e) {}

 private:
  __device__ Reach(const Vec<float, 2>& flow, int s, const SamplePlace& at, const WarpExtents& e)
      : cell(at.i, at.j, flow[0], flow[1], e.H, e.W), below(e.W * e.K) {
    first = s + (cell.row - at.i) * below + (cell.column - at.j) * e.K;
    top = cell.row >= 0 && cell.row < e.H;
    bottom = cell.row >= -1 && cell.row < e.H - 1;
    left = cell.column >= 0 && cell.column < e.W;
    right = cell.column >= -1 && cell.column < e.W - 1;
  }
};

// The C colours of a sample, or zeros. Two and four move as one vector.
template <int C> __device__ __forceinline__ Floats<C> load_colours(const float* p) {
  if constexpr (C == 2 || C == 4) {
    return load_floats<C>(p);
  } else {
    Floats<C> x;
#pragma unroll
    for (int c = 0; c < C; ++c) x[c] = p[c];
    return x;
  }
}

template <int C>
__device__ __forceinline__ Floats<C> tap_or_zeros(const float* __restrict__ image, int tap, bool inside) {
  if (inside) return load_colours<C>(image + tap * C);
  Floats<C> zeros;
#pragma unroll
  for (int c = 0; c < C; ++c) zeros[c] = 0;
  return zeros;
}

template <int C> __device__ __forceinline__ void store_colours(float* p, const Floats<C>& x) {
  if constexpr (C == 2 || C == 4) {
    store_floats(p, x);
  } else {
#pragma unroll
    for (int c = 0; c < C; ++c) p[c] = x[c];
  }
}

// The four taps of a sample.
template <int C> struct Taps {
  Floats<C> a, b, d, e;  // a b
                         // d e

  __device__ Taps(const float* __restrict__ image, const Reach& at, int K)
      : a(tap_or_zeros<C>(image, at.first, at.top && at.left)),
        b(tap_or_zeros<C>(image, at.first + K, at.top && at.right)),
        d(tap_or_zeros<C>(image, at.first + at.below, at.bottom && at.left)),
        e(tap_or_zeros<C>(image, at.first + at.below + K, at.bottom && at.right)) {}
};

// Fast versions hold numbers of elements in 32 bits, with room for a row outside of the last image, and the
// colours of a sample in registers.
inline constexpr int64_t kMostElements = int64_t{1} << 30;
inline constexpr int64_t kMostColours = 4;

inline int64_t colours_of(const Shape& image, const Shape& flow) { return image[3] / (flow[3] / 2); }

inline bool fits_fast_warp(const Shape& image, const Shape& flow) {
  const int64_t colours = colours_of(image, flow);
  return image.count() <= kMostElements && flow.count() <= kMostElements && colours >= 1 &&
         colours <= kMostColours;
}

// run<C>() for the number of colours of these operands.
template <class Run> void by_colours(const Tensor& image, const Tensor& flow, const Run& run) {
  switch (colours_of(image.shape, flow.shape)) {
    case 1:
      return run.template operator()<1>();
    case 2:
      return run.template operator()<2>();
    case 3:
      return run.template operator()<3>();
    default:
      return run.template operator()<4>();
  }
}

}  // namespace MILLRACE_CUDA_NS
