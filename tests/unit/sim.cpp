// The simulator itself: correct kernels give right results in any order of threads, wrong ones are refused.
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

__global__ void read_unwritten(float* out) {
  __shared__ float tile[kBlock];
  if (threadIdx.x == 0) tile[0] = 1.0f;
  __syncthreads();
  out[global_thread()] = tile[threadIdx.x] + dynamic_shared<float>()[threadIdx.x];
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

TEST_CASE("shared memory read before the block wrote it is NaN, in every block") {
  std::vector<float> out(2 * kBlock, 0.0f);
  launch(block_sums<kBlock>, {.grid = 2, .block = kBlock}, nullptr, ramp(2 * kBlock).data(), out.data());
  launch(read_unwritten, {.grid = 2, .block = kBlock, .shared_bytes = kBlock * sizeof(float)}, nullptr,
         out.data());
  for (const float value : out) CHECK(std::isnan(value));
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

TEST_CASE("a barrier that a thread leaves out is refused by name, and the simulator goes on") {
  std::vector<float> out(kBlock, 0.0f);
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    const std::string message =
        refusal([&] { launch(leave_before_barrier, {.grid = dim3(1, 2), .block = 8}, nullptr, out.data()); });
    contains(message, "[leave_before_barrier launched at ");
    contains(message, "sim.cpp:");
    contains(message, "block (0,");
    contains(message, "thread (5,0,0), which left the kernel without it");
    CHECK(out[0] == 0.0f);
  }
  std::vector<int> ones(64, 0);
  const std::string message =
      refusal([&] { launch(lost_barrier_in_loop, {.grid = 4, .block = 16}, nullptr, ones.data()); });
  contains(message, "[lost_barrier_in_loop launched at ");
  contains(message, "block (2,0,0)");

  launch(block_sums<kBlock>, {.grid = 1, .block = kBlock}, nullptr, ramp(kBlock).data(), out.data());
  CHECK(out[0] == Approx(5.433147092589174));  // the harmonic number of 128
}

TEST_CASE("two barriers waited at together are refused") {
  std::vector<float> out(4, 0.0f);
  const std::string message =
      refusal([&] { launch(two_barriers, {.grid = 1, .block = dim3(4, 2)}, nullptr, out.data()); });
  contains(message, "[two_barriers launched at ");
  contains(message, "block (0,0,0), thread (0,0,0)]");
  contains(message, "thread (0,1,0), which waits at the __syncthreads of ");
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
