// Sums and largest values over a warp and a block, and sums over all blocks by a second launch. The order of
// every sum is fixed by the shape of the launch, not by which thread comes first: results repeat to the bit.
#pragma once

#include "cuda/launch.cuh"

namespace MILLRACE_CUDA_NS {

inline constexpr unsigned kWholeWarp = 0xffffffffu;
inline constexpr int kLanes = 32;  // of a warp

// The sum over the 32 lanes of a warp, in every lane. Lanes 16, 8, 4, 2 and 1 apart add each other's sums:
// both do the same addition, so all lanes end with the same bits. All 32 lanes must take part.
template <class T> __device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) value += __shfl_xor_sync(kWholeWarp, value, apart);
  return value;
}

// The largest value of the 32 lanes, in every lane. As fmaxf, it drops NaNs while there is a number.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2)
    value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, apart));
  return value;
}

// This thread's number in its block of one, two or three dimensions; 32 of them in a row are a warp.
__device__ __forceinline__ int block_thread() {
  return static_cast<int>((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
}

// Sums over the block's kBlock threads, a multiple of 32, in every thread: values[k] becomes the sum of all
// values[k]. First over each warp, then over the sums of the warps, each time as in warp_sum; every warp
// does the second step for itself, which costs no more time than one doing it, and saves a broadcast.
// `shared` has room for kSums kBlock / 32 numbers. It may be written again only after a __syncthreads(),
// because slower warps still read it when this returns.
template <int kBlock, int kSums, class T>
__device__ __forceinline__ void block_sums(T (&values)[kSums], T* shared) {
  static_assert(kBlock % kLanes == 0 && kBlock >= kLanes && kBlock <= 1024,
                "whole warps, at most 32 of them");
  constexpr int kWarps = kBlock / kLanes;
  const int lane = block_thread() % kLanes, warp = block_thread() / kLanes;
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    values[k] = warp_sum(values[k]);
    if (lane == 0) shared[k * kWarps + warp] = values[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kSums; ++k) values[k] = warp_sum(lane < kWarps ? shared[k * kWarps + lane] : T(0));
}

template <int kBlock, class T> __device__ __forceinline__ T block_sum(T value, T* shared) {
  T values[1] = {value};
  block_sums<kBlock>(values, shared);
  return values[0];
}

// --- the second launch of a sum over many blocks
//
// Each block of the first launch writes its kSums sums to partials[k * count + b] (count blocks, b this one).
// A single block then adds them: no float atomics, so the order is fixed, and in double, so that thousands of
// partials lose no more than one does. What it reads, 4 or 8 bytes per block of the first launch, comes from
// the L2 cache: the second launch is all latency. (Unnamed namespace: see launch.cuh on __shared__.)

namespace {

constexpr int kPartialsBlock = 256;

// Thread t adds the partials t, t + 256, ...; then block_sums. Thread 0 hands the sums to `finish`.
template <int kSums, class T, class Finish> __global__ void __launch_bounds__(kPartialsBlock)
    add_partials(const T* __restrict__ partials, int64_t count, Finish finish) {
  __shared__ double shared[kSums * kPartialsBlock / kLanes];
  double sums[kSums] = {};
  for (int64_t b = threadIdx.x; b < count; b += kPartialsBlock) {
#pragma unroll
    for (int k = 0; k < kSums; ++k) sums[k] += partials[k * count + b];
  }
  block_sums<kPartialsBlock>(sums, shared);
  if (threadIdx.x == 0) finish(sums);
}

template <int kSums> struct WriteScaled {
  float* out;
  double scale;
  __device__ void operator()(const double (&sums)[kSums]) const {
    for (int k = 0; k < kSums; ++k) out[k] = static_cast<float>(sums[k] * scale);
  }
};

// finish(sums) on the device, sums[k] = partials[k * count] + ... + partials[k * count + count - 1]. `finish`
// is a struct whose `__device__ void operator()(const double (&sums)[kSums]) const` writes the results.
template <int kSums, class T, class Finish>
void finish_partials(const T* partials, int64_t count, const Finish& finish, void* stream) {
  launch(add_partials<kSums, T, Finish>, {.grid = 1, .block = kPartialsBlock}, stream, partials, count,
         finish);
}

// out[k] = scale times the k-th sum.
template <int kSums, class T>
void sum_partials(const T* partials, int64_t count, float* out, double scale, void* stream) {
  finish_partials<kSums>(partials, count, WriteScaled<kSums>{out, scale}, stream);
}

}  // namespace

}  // namespace MILLRACE_CUDA_NS
