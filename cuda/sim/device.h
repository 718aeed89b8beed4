// CUDA's words for g++: with these a .cu file is C++, and runs on the CPU by cuda/sim/simulator.h.
// This file: where code and data lie, where a thread is, and how threads wait for each other.
#pragma once

#include <bit>
#include <cstdint>
#include <source_location>
#include <type_traits>

#include "cuda/sim/arithmetic.h"
#include "cuda/sim/atomics.h"
#include "cuda/sim/runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// One copy for all blocks, which run one after another; poisoned before each (all bytes 0xFF: NaN). In
// templates g++ 12 drops the name of a section, unless it depends on the template as __func__ does.
#define __shared__ static __attribute__((section((static_cast<void>(__func__), "sim_shared"))))

namespace MILLRACE_CUDA_NS {

using sim::dim3;

inline constexpr const dim3& threadIdx = sim::position.thread;
inline constexpr const dim3& blockIdx = sim::position.block;
inline constexpr const dim3& blockDim = sim::position.block_extent;
inline constexpr const dim3& gridDim = sim::position.grid_extent;
inline constexpr int warpSize = sim::kWarpSize;

template <class T> T* dynamic_shared() { return static_cast<T*>(sim::dynamic_shared_memory()); }

// --- the threads of a block; each word names its caller's line

using Here = std::source_location;

inline void __syncthreads(const Here& where = Here::current()) { sim::meet_block({"__syncthreads", where}); }

inline int __syncthreads_count(int predicate, const Here& where = Here::current()) {
  return sim::meet_block({"__syncthreads_count", where}, predicate != 0);
}
inline int __syncthreads_or(int predicate, const Here& where = Here::current()) {
  return sim::meet_block({"__syncthreads_or", where}, predicate != 0) > 0;
}
inline int __syncthreads_and(int predicate, const Here& where = Here::current()) {
  return sim::meet_block({"__syncthreads_and", where}, predicate == 0) == 0;
}

// --- the lanes of a warp: each waits for those of the mask

inline void __syncwarp(unsigned mask = 0xffffffffu, const Here& where = Here::current()) {
  sim::sync_warp({"__syncwarp", where}, mask);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, const Here& where = Here::current()) {
  return sim::vote({"__ballot_sync", where}, mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate, const Here& where = Here::current()) {
  return sim::vote({"__any_sync", where}, mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate, const Here& where = Here::current()) {
  return sim::vote({"__all_sync", where}, mask, predicate == 0) == 0;
}

namespace detail {

template <class T> T shuffle(const sim::Meeting& meeting, unsigned mask, T value, int source) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "CUDA shuffles numbers of 4 and 8 bytes");
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  const uint64_t got = sim::shuffle(meeting, mask, std::bit_cast<Bits>(value), source);
  return std::bit_cast<T>(static_cast<Bits>(got));
}

}  // namespace detail

// A warp is cut into segments of `width` lanes. A lane gets what the source lane brought; where that is
// outside of its segment (__shfl_xor_sync: behind it), it gets its own.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, const Here& where = Here::current()) {
  const sim::Meeting meeting{"__shfl_sync", where};
  const int first = sim::lane_of_shuffle(meeting, width) & ~(width - 1);
  return detail::shuffle(meeting, mask, value, first | (source & (width - 1)));
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = warpSize,
                                    const Here& where = Here::current()) {
  const sim::Meeting meeting{"__shfl_up_sync", where};
  const int lane = sim::lane_of_shuffle(meeting, width), within = lane & (width - 1);
  const bool inside = by <= static_cast<unsigned>(within);
  return detail::shuffle(meeting, mask, value, inside ? lane - static_cast<int>(by) : lane);
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = warpSize,
                                      const Here& where = Here::current()) {
  const sim::Meeting meeting{"__shfl_down_sync", where};
  const int lane = sim::lane_of_shuffle(meeting, width), within = lane & (width - 1);
  const bool inside = by < static_cast<unsigned>(width - within);
  return detail::shuffle(meeting, mask, value, inside ? lane + static_cast<int>(by) : lane);
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int flipped, int width = warpSize,
                                     const Here& where = Here::current()) {
  const sim::Meeting meeting{"__shfl_xor_sync", where};
  const int lane = sim::lane_of_shuffle(meeting, width), source = lane ^ (flipped & (warpSize - 1));
  const bool behind = source > (lane | (width - 1));
  return detail::shuffle(meeting, mask, value, behind ? lane : source);
}

}  // namespace MILLRACE_CUDA_NS
