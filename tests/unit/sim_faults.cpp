// Deliberately wrong kernels and launches, which the simulator must name: shapes, shared memory, alignment
// and barriers here; masks of warps in sim_faults_warp.cpp; memory, order and capture in
// sim_faults_memory.cpp; races in sim_races.cpp. Each stands beside its right neighbour, which gives no
// alarm.
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 128;

// Reverses each block's run of inputs, by dynamic shared memory.
__global__ void reverse_runs(const float* x, float* out) {
  float* run = dynamic_shared<float>();
  run[threadIdx.x] = x[global_thread()];
  __syncthreads();
  out[global_thread()] = run[blockDim.x - 1 - threadIdx.x];
}

__global__ void leave_before_barrier(float* out) {
  if (threadIdx.x == 5) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

__global__ void two_barriers(float* out) {
  if (threadIdx.y == 0)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1.0f;
}

// A vote of the block in place of a barrier, by some.
__global__ void barrier_and_vote(int* out) {
  if (threadIdx.x < 32)
    out[threadIdx.x] = __syncthreads_or(1);
  else
    __syncthreads();
}

// Lane 3 waits for its block, the others for their warp.
__global__ void barrier_and_syncwarp(int* out) {
  if (threadIdx.x == 35)
    __syncthreads();
  else
    __syncwarp();
  out[threadIdx.x] = 1;
}

__global__ void lost_barrier_in_loop(int* out) {
  for (int i = 0; i < (blockIdx.x == 2 ? static_cast<int>(threadIdx.x) : 3); ++i) __syncthreads();
  out[global_thread()] = 1;
}

__global__ void misaligned_load(const float* x, float* out) {
  if (threadIdx.x == 3 && blockIdx.x == 1) out[0] = load_vec<4>(x + 2)[0];
}

__global__ void misaligned_store(float* out) { store_vec(out + 1, Float2{{1.0f, 2.0f}}); }

__global__ void fill_static_shared(int* out) {
  __shared__ int most[11 * 1024];
  for (unsigned i = threadIdx.x; i < 11 * 1024; i += blockDim.x) most[i] = static_cast<int>(i);
  __syncthreads();
  out[threadIdx.x] = most[threadIdx.x];
}

__global__ void fill_too_much_static_shared(int* out) {
  __shared__ int most[13 * 1024];
  for (unsigned i = threadIdx.x; i < 13 * 1024; i += blockDim.x) most[i] = static_cast<int>(i);
  __syncthreads();
  out[threadIdx.x] = most[threadIdx.x];
}

__global__ void set_one(int* out) { out[global_thread()] = 1; }

__global__ void launch_from_kernel(int* out) { launch(set_one, {.grid = 1, .block = 1}, nullptr, out); }

TEST_CASE("a barrier that a thread leaves out is refused by name, and the simulator goes on") {
  std::vector<float> out(kBlock, 0.0f);
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    const std::string message =
        refusal([&] { launch(leave_before_barrier, {.grid = dim3(1, 2), .block = 8}, nullptr, out.data()); });
    contains(message, "[leave_before_barrier launched at ");
    contains(message, "sim_faults.cpp:");
    contains(message, "block (0,");
    contains(message, "thread (5,0,0), which left the kernel without it");
    CHECK(out[0] == 0.0f);
  }
  std::vector<int> ones(64, 0);
  const std::string message =
      refusal([&] { launch(lost_barrier_in_loop, {.grid = 4, .block = 16}, nullptr, ones.data()); });
  contains(message, "[lost_barrier_in_loop launched at ");
  contains(message, "block (2,0,0)");

  const std::vector<float> x = ramp(64);
  launch(reverse_runs, {.grid = 1, .block = 64, .shared_bytes = 256}, nullptr, x.data(), out.data());
  CHECK(out[0] == x[63]);
}

TEST_CASE("two barriers waited at together are refused") {
  std::vector<float> out(4, 0.0f);
  const std::string message =
      refusal([&] { launch(two_barriers, {.grid = 1, .block = dim3(4, 2)}, nullptr, out.data()); });
  contains(message, "[two_barriers launched at ");
  contains(message, "block (0,0,0), thread (0,0,0)]");
  contains(message, "thread (0,1,0), which waits at the __syncthreads of ");
}

TEST_CASE("barriers of two kinds, or a barrier while others wait in a warp, are refused") {
  std::vector<int> out(64);
  const std::string vote =
      refusal([&] { launch(barrier_and_vote, {.grid = 1, .block = 64}, nullptr, out.data()); });
  contains(vote, "[barrier_and_vote launched at ");
  contains(vote,
           "block (0,0,0), thread (0,0,0)] expected every thread of the block at the __syncthreads_or of ");
  contains(vote, "thread (32,0,0), which waits at the __syncthreads of ");
  const std::string warp =
      refusal([&] { launch(barrier_and_syncwarp, {.grid = 3, .block = 64}, nullptr, out.data()); });
  contains(warp, "[barrier_and_syncwarp launched at ");
  contains(warp, "thread (32,0,0)] expected every lane of mask 0xffffffff at the __syncwarp of ");
  contains(warp, "thread (35,0,0), which waits at the __syncthreads of ");
}

TEST_CASE("misaligned vectors are refused") {
  alignas(16) float x[8] = {};
  const std::string load = refusal([&] { launch(misaligned_load, {.grid = 2, .block = 4}, nullptr, x, x); });
  contains(load, "[misaligned_load launched at ");
  contains(load, "block (1,0,0), thread (3,0,0)]");
  contains(load, "a vector of 16 bytes");
  contains(load, "8 bytes past one");
  const std::string store = refusal([&] { launch(misaligned_store, {.grid = 1, .block = 1}, nullptr, x); });
  contains(store, "[misaligned_store launched at ");
  contains(store, "4 bytes past one");
}

TEST_CASE("shapes that no GPU takes are refused") {
  int out = 0;
  const auto of = [&](const LaunchShape& shape) {
    return refusal([&] { launch(set_one, shape, nullptr, &out); });
  };
  contains(of({.grid = 1, .block = 1025}), "[set_one launched at ");
  contains(of({.grid = 1, .block = 1025}), "1025 threads");
  contains(of({.grid = 1, .block = dim3(32, 33)}), "1056 threads");
  contains(of({.grid = 1, .block = dim3(1, 1, 65)}), "a block of at most");
  contains(of({.grid = 0, .block = 1}), "at least one block and one thread");
  contains(of({.grid = 1, .block = dim3(1, 0)}), "at least one block and one thread");
  contains(of({.grid = dim3(1, 65536), .block = 1}), "a grid of at most");
  contains(of({.grid = dim3(1, 1, 65536), .block = 1}), "a grid of at most");
  contains(of({.grid = dim3(2147483648u), .block = 1}), "a grid of at most");
  CHECK(out == 0);
}

TEST_CASE("shared memory over the limit is refused") {
  std::vector<float> x = ramp(64);
  const auto reverse = [&](size_t bytes, bool large) {
    return refusal([&] {
      launch(reverse_runs, {.grid = 1, .block = 64, .shared_bytes = bytes, .large_shared = large}, nullptr,
             x.data(), x.data());
    });
  };
  CHECK(reverse(48 * 1024, false) == "no error");
  contains(reverse(48 * 1024 + 1, false), "[reverse_runs launched at ");
  contains(reverse(48 * 1024 + 1, false), "at most 49152 bytes of shared memory");
  CHECK(reverse(227 * 1024, true) == "no error");
  contains(reverse(227 * 1024 + 1, true), "at most 232448 bytes of shared memory");
  contains(reverse(0, false), "LaunchShape::shared_bytes");

  std::vector<int> out(64);
  const auto fill = [&](size_t bytes) {
    return refusal([&] {
      launch(fill_static_shared, {.grid = 1, .block = 64, .shared_bytes = bytes}, nullptr, out.data());
    });
  };
  CHECK(fill(4 * 1024) == "no error");
  contains(fill(4 * 1024 + 1), "4097 dynamic and 45056 static");
  contains(refusal([&] {
             launch(fill_too_much_static_shared, {.grid = 1, .block = 64, .large_shared = true}, nullptr,
                    out.data());
           }),
           "0 dynamic and 53248 static");
}

TEST_CASE("a kernel cannot launch") {
  int out = 0;
  contains(refusal([&] { launch(launch_from_kernel, {.grid = 1, .block = 1}, nullptr, &out); }),
           "expected a launch from the host");
  CHECK(out == 0);
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
