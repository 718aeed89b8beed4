// The simulator itself: correct kernels give right results in any order of threads. (Wrong ones:
// sim_faults.cpp)
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 128;

// out[b] = the sum of the b-th run of kBlock inputs, as a tree. A template, as kernels with a size often are.
template <int kThreads> __global__ void __launch_bounds__(kThreads)
    block_sums(const float* __restrict__ x, float* __restrict__ out) {
  __shared__ float partial[kThreads];
  const int t = static_cast<int>(threadIdx.x);
  partial[t] = x[global_thread()];
  __syncthreads();
#pragma unroll
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    __syncthreads();
  }
  if (t == 0) out[blockIdx.x] = partial[0];
}

// out (N,H,W): n, i and j of each element, in digits.
__global__ void write_coordinates(int* out, dim3 extent) {
  const unsigned j = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned i = blockIdx.y * blockDim.y + threadIdx.y;
  const unsigned n = blockIdx.z * blockDim.z + threadIdx.z;
  if (j >= extent.x || i >= extent.y || n >= extent.z) return;
  out[(n * extent.y + i) * extent.x + j] = static_cast<int>(n * 10000 + i * 100 + j);
}

// Reverses each block's run of inputs, by dynamic shared memory.
__global__ void reverse_runs(const float* x, float* out) {
  float* run = dynamic_shared<float>();
  run[threadIdx.x] = x[global_thread()];
  __syncthreads();
  out[global_thread()] = run[blockDim.x - 1 - threadIdx.x];
}

__global__ void scale4(const float* x, float* out, float factor) {
  const int64_t at = 4 * global_thread();
  Float4 v = load_vec<4>(x + at);
  for (int lane = 0; lane < 4; ++lane) v[lane] *= factor;
  store_vec(out + at, v);
}

__global__ void set_one(int* out) { out[global_thread()] = 1; }

__global__ void log_order(int* log, int* next) {
  log[(*next)++] = static_cast<int>(blockIdx.x * 10 + threadIdx.x);
}

TEST_CASE("block reduction by shared memory is right, and the same bits in every order") {
  constexpr size_t kBlocks = 7;
  const std::vector<float> x = ramp(kBlocks * kBlock);
  std::vector<float> first;
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<float> out(kBlocks, -1.0f);
    launch(block_sums<kBlock>, {.grid = kBlocks, .block = kBlock}, nullptr, x.data(), out.data());
    for (size_t b = 0; b < kBlocks; ++b) {
      double sum = 0;
      for (size_t i = 0; i < kBlock; ++i) sum += x[b * kBlock + i];
      CHECK(out[b] == Approx(sum).epsilon(1e-6));
    }
    if (first.empty()) first = out;
    CHECK(std::memcmp(first.data(), out.data(), kBlocks * sizeof(float)) == 0);
  }
}

TEST_CASE("two- and three-dimensional grids meet each element once") {
  const dim3 extent(37, 21, 3);
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<int> out(37 * 21 * 3, -1);
    launch(write_coordinates, {.grid = dim3(3, 3, 2), .block = dim3(16, 8, 2)}, nullptr, out.data(), extent);
    for (int n = 0, at = 0; n < 3; ++n)
      for (int i = 0; i < 21; ++i)
        for (int j = 0; j < 37; ++j, ++at) REQUIRE(out[static_cast<size_t>(at)] == n * 10000 + i * 100 + j);
  }
}

TEST_CASE("dynamic shared memory, up to what large_shared allows") {
  const std::vector<float> x = ramp(3 * 64);
  std::vector<float> out(x.size());
  for (const size_t bytes : {size_t{64 * sizeof(float)}, size_t{227 * 1024}}) {
    launch(reverse_runs, {.grid = 3, .block = 64, .shared_bytes = bytes, .large_shared = bytes > 48 * 1024},
           nullptr, x.data(), out.data());
    for (size_t i = 0; i < x.size(); ++i) REQUIRE(out[i] == x[i / 64 * 64 + 63 - i % 64]);
  }
}

TEST_CASE("vectors are loaded and stored whole") {
  struct alignas(16) Aligned {
    float values[64];
  } x{}, out{};
  for (int i = 0; i < 64; ++i) x.values[i] = static_cast<float>(i);
  launch(scale4, {.grid = 2, .block = 8}, nullptr, x.values, out.values, 0.5f);
  for (int i = 0; i < 64; ++i) CHECK(out.values[i] == 0.5f * static_cast<float>(i));
}

TEST_CASE("a block of 1024 threads runs, and one fiber does where nothing waits") {
  std::vector<int> out(1024 * 5);
  launch(set_one, {.grid = 5, .block = 1024}, nullptr, out.data());
  CHECK(out == std::vector<int>(1024 * 5, 1));
}

TEST_CASE("the seed decides the orders, one for each launch") {
  const auto order_of = [](uint64_t seed) {
    const OrderSeed order(seed);
    std::vector<int> log(24);
    int next = 0;
    for (int i = 0; i < 2; ++i) launch(log_order, {.grid = 3, .block = 4}, nullptr, log.data(), &next);
    CHECK(next == 24);
    return log;
  };
  const auto first_launch = [](const std::vector<int>& log) {
    return std::vector<int>(log.begin(), log.begin() + 12);
  };
  const auto second_launch = [](const std::vector<int>& log) {
    return std::vector<int>(log.begin() + 12, log.end());
  };
  CHECK(first_launch(order_of(0)) == std::vector<int>{0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23});
  CHECK(second_launch(order_of(0)) == first_launch(order_of(0)));
  CHECK(second_launch(order_of(7)) != first_launch(order_of(7)));
  CHECK(order_of(7) == order_of(7));
  CHECK(order_of(7) != order_of(8));
  CHECK(order_of(7) != order_of(0));
}

TEST_CASE("blocks_for rounds up and refuses what a grid cannot hold") {
  CHECK(blocks_for(1, 256) == 1);
  CHECK(blocks_for(256, 256) == 1);
  CHECK(blocks_for(257, 256) == 2);
  CHECK(blocks_for(int64_t{2147483647} * 256, 256) == 2147483647u);
  contains(refusal([] { blocks_for(int64_t{2147483647} * 256 + 1, 256); }), "[blocks_for]");
  contains(refusal([] { blocks_for(0, 256); }), "0 elements");
  contains(refusal([] { blocks_for(std::numeric_limits<int64_t>::max(), 256); }), "[blocks_for]");
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
