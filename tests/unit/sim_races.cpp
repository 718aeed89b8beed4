// Deliberately racing kernels, which the detector must name in whatever order they run, each beside the right
// one, which gives no alarm. This file is compiled with a call at each access to memory.
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 64;

using Kernel = void (*)(const float*, float*);

// --- within a block: each thread reads what another has written

template <bool kRight> __global__ void rotate_static(const float* x, float* out) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = x[global_thread()];
  if (kRight) __syncthreads();
  out[global_thread()] = tile[(threadIdx.x + 32) % kBlock];
}

template <bool kRight> __global__ void rotate_dynamic(const float* x, float* out) {
  float* tile = dynamic_shared<float>();
  tile[threadIdx.x] = x[global_thread()];
  if (kRight) __syncthreads();
  out[global_thread()] = tile[(threadIdx.x + 32) % kBlock];
}

// By global memory, which barriers order as well.
template <bool kRight> __global__ void rotate_global(const float* x, float* out) {
  out[global_thread()] = x[global_thread()];
  if (kRight) __syncthreads();
  const float other = out[blockIdx.x * kBlock + (threadIdx.x + 32) % kBlock];
  __syncthreads();
  out[global_thread()] = other;
}

// A tile that is filled again while others still read it: the second barrier of the loop is missing.
template <bool kRight> __global__ void reuse_tile(const float* x, float* out) {
  __shared__ float tile[kBlock];
  float sum = 0;
  for (int turn = 0; turn < 2; ++turn) {
    tile[threadIdx.x] = x[global_thread()];
    __syncthreads();
    sum += tile[(threadIdx.x + 32) % kBlock];
    if (kRight) __syncthreads();
  }
  out[global_thread()] = sum;
}

// Two sums by the same shared memory: block_sum says that a barrier belongs between.
template <bool kRight> __global__ void sum_twice(const float* x, float* out) {
  __shared__ float shared[kBlock / kLanes];
  const float sum = block_sum<kBlock>(x[global_thread()], shared);
  if (kRight) __syncthreads();
  out[global_thread()] = sum + block_sum<kBlock>(2 * x[global_thread()], shared);
}

// Vectors of 16 bytes beside each other, or overlapping by half.
template <bool kRight> __global__ void store_vectors(const float* x, float* out) {
  __shared__ __align__(16) float tile[4 * kBlock];
  const unsigned at = kRight ? 4 * threadIdx.x : 4 * (threadIdx.x / 2);
  store_vec(tile + at, Float4{{x[0], x[1], x[2], x[3]}});
  __syncthreads();
  out[global_thread()] = tile[threadIdx.x];
}

// --- within a warp

template <bool kRight> __global__ void turn_in_warp(const float* x, float* out) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = x[global_thread()];
  if (kRight) __syncwarp();
  out[global_thread()] = tile[threadIdx.x ^ 1];
}

// A shuffle waits for the lanes, but orders no memory.
template <bool kRight> __global__ void shuffle_is_no_fence(const float* x, float* out) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = x[global_thread()];
  const float other = __shfl_xor_sync(kWholeWarp, x[global_thread()], 2);
  if (kRight) __syncwarp();
  out[global_thread()] = tile[threadIdx.x ^ 1] + other;
}

// __syncwarp orders the lanes of its mask only, and not two warps.
template <bool kRight> __global__ void sync_of_half(const float* x, float* out) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = x[global_thread()];
  __syncwarp(threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  out[global_thread()] = tile[threadIdx.x ^ (kRight ? 8 : 16)];
}

template <bool kRight> __global__ void sync_of_other_warp(const float* x, float* out) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = x[global_thread()];
  __syncwarp();
  out[global_thread()] = tile[threadIdx.x ^ (kRight ? 16 : 32)];
}

// Lane 0 writes, hands on to lane 1, which hands on to lane 2: order by a chain.
template <bool kRight> __global__ void chain(const float* x, float* out) {
  __shared__ float value;
  const unsigned lane = threadIdx.x;
  if (lane == 0) value = x[0];
  if (lane < 2) __syncwarp(3u);
  if (kRight && (lane == 1 || lane == 2)) __syncwarp(6u);
  if (lane == 2) out[blockIdx.x] = value;
}

// --- writes

// All write the same; that is a race too.
template <bool kRight> __global__ void all_write(const float* x, float* out) {
  if (!kRight || threadIdx.x == 0) out[blockIdx.x] = x[0];
}

// Bytes beside each other are no race, the same byte is.
template <bool kRight> __global__ void write_bytes(const float*, float* out) {
  auto* bytes = reinterpret_cast<unsigned char*>(out + blockIdx.x * kBlock);
  bytes[kRight ? threadIdx.x : threadIdx.x / 2] = 1;
}

// --- between blocks

template <bool kRight> __global__ void neighbours_overlap(const float* x, float* out) {
  out[global_thread()] = x[0];
  if (!kRight && threadIdx.x == kBlock - 1 && blockIdx.x + 1 < gridDim.x) out[global_thread() + 1] = x[1];
}

// A block reads what another has written, in one launch.
template <bool kRight> __global__ void read_other_block(const float* x, float* out) {
  out[global_thread()] = x[0];
  const unsigned other = kRight ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
  __syncthreads();
  if (threadIdx.x == 0 && out[other * kBlock] != x[0]) out[global_thread()] = 0;
}

// --- atomics

template <bool kRight> __global__ void count_with_plain_read(const float*, float* out) {
  auto* counter = reinterpret_cast<unsigned*>(out);
  atomicAdd(counter, 1u);
  if (!kRight && threadIdx.x == 7) out[100] = static_cast<float>(*counter);
}

template <bool kRight> __global__ void atomic_after_plain_write(const float*, float* out) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  if (kRight) __syncthreads();
  atomicAdd(&sum, 1);
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<float>(sum);
}

std::string outcome(Kernel kernel, unsigned blocks) {
  const std::vector<float> x = ramp(4 * kBlock);
  std::vector<float> out(4 * kBlock);
  return refusal([&] {
    launch(kernel, {.grid = blocks, .block = kBlock, .shared_bytes = kBlock * sizeof(float)}, nullptr,
           x.data(), out.data());
  });
}

struct Race {
  std::string name;
  Kernel right, wrong;
  std::string found;  // in the message
  bool across_blocks = false;
};

#define RACE(kernel) #kernel, kernel < true>, kernel < false>

TEST_CASE("races are named in every order of threads, and the right kernels give no alarm") {
  const std::vector<Race> races = {
      {RACE(rotate_static), " 4 bytes of static shared memory at sim_races.cpp:"},
      {RACE(rotate_dynamic), " 4 bytes of dynamic shared memory, byte "},
      {RACE(rotate_global), " 4 bytes of global memory at sim_races.cpp:"},
      {RACE(reuse_tile), "read of 4 bytes of static shared memory at sim_races.cpp:"},
      {RACE(sum_twice), " 4 bytes of static shared memory"},
      {RACE(store_vectors), "write of 4 bytes of static shared memory"},
      {RACE(turn_in_warp), "static shared memory"},
      {RACE(shuffle_is_no_fence), "static shared memory"},
      {RACE(sync_of_half), "static shared memory"},
      {RACE(sync_of_other_warp), "static shared memory"},
      {RACE(chain), "4 bytes of static shared memory"},
      {RACE(all_write), "write of 4 bytes of global memory"},
      {RACE(write_bytes), "write of 1 bytes of global memory"},
      {RACE(neighbours_overlap), "write of 4 bytes of global memory", true},
      {RACE(read_other_block), "of 4 bytes of global memory", true},
      {RACE(count_with_plain_read), "read of 4 bytes of global memory"},
      {RACE(atomic_after_plain_write), " 4 bytes of static shared memory"},
  };
  for (const Race& race : races) {
    for (const uint64_t seed : kSeeds) {
      INFO(race.name << ", seed " << seed);
      const OrderSeed order(seed);
      CHECK(outcome(race.right, 4) == "no error");
      const std::string message = outcome(race.wrong, 4);
      contains(message, "[" + race.name + "<false> launched at ");
      contains(message, "sim_races.cpp:");
      contains(message, ",0,0), thread (");
      contains(message, race.found);
      contains(message, race.across_blocks ? "by block (" : "by thread (");
    }
  }
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
