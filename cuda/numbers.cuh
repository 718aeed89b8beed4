// Numbers as kernels store them, float or Bf16; all arithmetic is in float.
#pragma once

#include "core/bf16.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"

#ifndef MILLRACE_CUDA_SIM
#include <cuda_bf16.h>
#endif

namespace MILLRACE_CUDA_NS {

__device__ __forceinline__ float to_float(float x) { return x; }
using millrace::to_float;

// Rounds to nearest, ties to even.
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ Bf16 from_float<Bf16>(float x) {
#ifdef __CUDA_ARCH__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};  // one instruction; its NaN is another than ours
#else
  return round_to_bf16(x);
#endif
}

// N numbers in registers.
template <int N> struct Floats {
  float lane[N];

  __device__ float& operator[](int i) { return lane[i]; }
  __device__ const float& operator[](int i) const { return lane[i]; }
};

// Numbers of type T that one vector access of 16 bytes moves, at most N.
template <class T, int N> inline constexpr int kVectorLanes = N < int(16 / sizeof(T)) ? N
                                                                                      : int(16 / sizeof(T));

// p[0..N), p aligned to kVectorLanes<T, N> numbers.
template <int N, class T> __device__ __forceinline__ Floats<N> load_floats(const T* p) {
  constexpr int kLanes = kVectorLanes<T, N>;
  Floats<N> x;
#pragma unroll
  for (int from = 0; from < N; from += kLanes) {
    const Vec<T, kLanes> part = load_vec<kLanes>(p + from);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) x[from + i] = to_float(part[i]);
  }
  return x;
}

// p[0..N) = x, p aligned to kVectorLanes<T, N> numbers.
template <class T, int N> __device__ __forceinline__ void store_floats(T* p, const Floats<N>& x) {
  constexpr int kLanes = kVectorLanes<T, N>;
#pragma unroll
  for (int from = 0; from < N; from += kLanes) {
    Vec<T, kLanes> part;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) part[i] = from_float<T>(x[from + i]);
    store_vec(p + from, part);
  }
}

}  // namespace MILLRACE_CUDA_NS
