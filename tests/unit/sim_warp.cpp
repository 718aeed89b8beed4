// CUDA's words in the simulator: votes, shuffles, atomics, arithmetic, and the sums of cuda/reduce.cuh.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr unsigned kAll = 0xffffffffu;

enum class Shuffle { index, up, down, flip };

// Each lane brings its number; out: what it gets.
template <class T> __global__ void shuffle_lanes(T* out, Shuffle kind, int by, int width) {
  const auto own = static_cast<T>(threadIdx.x);
  T got{};
  if (kind == Shuffle::index) got = __shfl_sync(kAll, own, by, width);
  if (kind == Shuffle::up) got = __shfl_up_sync(kAll, own, static_cast<unsigned>(by), width);
  if (kind == Shuffle::down) got = __shfl_down_sync(kAll, own, static_cast<unsigned>(by), width);
  if (kind == Shuffle::flip) got = __shfl_xor_sync(kAll, own, by, width);
  out[threadIdx.x] = got;
}

template <class T> void check_shuffles(const std::function<int(int, int, int)>& expected, Shuffle kind) {
  for (int width = 1; width <= 32; width *= 2) {
    for (int by = 0; by < 32; ++by) {
      std::vector<T> out(64);
      launch(shuffle_lanes<T>, {.grid = 1, .block = 64}, nullptr, out.data(), kind, by, width);
      for (int t = 0; t < 64; ++t)
        REQUIRE(out[static_cast<size_t>(t)] == static_cast<T>(t / 32 * 32 + expected(t % 32, by, width)));
    }
  }
}

// The definitions of the CUDA programming guide, written out once more.
int source_of_index(int lane, int by, int width) { return lane / width * width + by % width; }
int source_of_up(int lane, int by, int width) { return lane % width < by ? lane : lane - by; }
int source_of_down(int lane, int by, int width) { return lane % width + by >= width ? lane : lane + by; }
int source_of_flip(int lane, int by, int width) {
  return (lane ^ by) / width > lane / width ? lane : lane ^ by;
}

TEST_CASE("shuffles read the lane that CUDA reads, for every width") {
  check_shuffles<int>(source_of_index, Shuffle::index);
  check_shuffles<float>(source_of_up, Shuffle::up);
  check_shuffles<double>(source_of_down, Shuffle::down);
  check_shuffles<unsigned>(source_of_flip, Shuffle::flip);
  check_shuffles<long long>(source_of_flip, Shuffle::flip);
}

__global__ void shuffle_bits(uint32_t* out, double* wide) {
  const float nan_with_payload = __uint_as_float(0x7fc00000u + threadIdx.x);
  out[threadIdx.x] = __float_as_uint(__shfl_sync(kAll, nan_with_payload, 7));
  wide[threadIdx.x] = __shfl_xor_sync(kAll, -1.0 / (threadIdx.x + 1), 1);
}

TEST_CASE("shuffles keep every bit") {
  std::vector<uint32_t> out(32);
  std::vector<double> wide(32);
  launch(shuffle_bits, {.grid = 1, .block = 32}, nullptr, out.data(), wide.data());
  for (size_t t = 0; t < 32; ++t) {
    CHECK(out[t] == 0x7fc00007u);
    CHECK(wide[t] == -1.0 / static_cast<double>((t ^ 1) + 1));
  }
}

// The two halves of each warp go different ways, and one of them two steps further.
__global__ void halves(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int value = lane;
  if (lane < 16) {
    for (int apart = 8; apart > 0; apart /= 2) value += __shfl_xor_sync(0x0000ffffu, value, apart);
  } else {
    value = __shfl_sync(0xffff0000u, value, 16);
  }
  __syncwarp();
  out[threadIdx.x] = value;
}

TEST_CASE("lanes wait for those of their mask only, in every order") {
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<int> out(96);
    launch(halves, {.grid = 1, .block = 96}, nullptr, out.data());
    for (size_t t = 0; t < out.size(); ++t) CHECK(out[t] == (t % 32 < 16 ? 120 : 16));
  }
}

// Each lane hands a sum to the next, in masks of two lanes.
__global__ void pass_on(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int sum = 0;
  for (int step = 0; step < 31; ++step) {
    if (lane != step && lane != step + 1) continue;
    const int got = __shfl_sync(3u << step, sum, step);
    if (lane == step + 1) sum = got + lane;
  }
  out[lane] = sum;
}

TEST_CASE("a chain of shuffles between neighbours") {
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<int> out(32);
    launch(pass_on, {.grid = 1, .block = 32}, nullptr, out.data());
    for (int lane = 0; lane < 32; ++lane) CHECK(out[static_cast<size_t>(lane)] == lane * (lane + 1) / 2);
  }
}

// Reads a neighbour's number in shared memory, lane by lane of one warp.
__global__ void turn_by_syncwarp(int* out) {
  __shared__ int tile[64];
  for (int turn = 0; turn < 3; ++turn) {
    tile[threadIdx.x] = static_cast<int>(threadIdx.x) + turn;
    __syncwarp();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
    __syncwarp();
  }
}

TEST_CASE("__syncwarp orders what the lanes of a warp write") {
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<int> out(64);
    launch(turn_by_syncwarp, {.grid = 1, .block = 64}, nullptr, out.data());
    for (int t = 0; t < 64; ++t) CHECK(out[static_cast<size_t>(t)] == (t ^ 1) + 2);
  }
}

__global__ void votes(unsigned* out, int threshold) {
  const int t = static_cast<int>(threadIdx.x);
  unsigned* mine = out + 6 * t;
  mine[0] = __ballot_sync(kAll, t < threshold);
  mine[1] = static_cast<unsigned>(__any_sync(kAll, t < threshold));
  mine[2] = static_cast<unsigned>(__all_sync(kAll, t < threshold));
  mine[3] = static_cast<unsigned>(__syncthreads_count(t < threshold));
  mine[4] = static_cast<unsigned>(__syncthreads_or(t < threshold));
  mine[5] = static_cast<unsigned>(__syncthreads_and(t < threshold));
}

TEST_CASE("votes of a warp and of a block, the last warp being partial") {
  constexpr int kThreads = 40;  // 32 and 8
  for (const int threshold : {0, 1, 31, 32, 35, 40}) {
    std::vector<unsigned> out(6 * kThreads);
    launch(votes, {.grid = 1, .block = kThreads}, nullptr, out.data(), threshold);
    for (int t = 0; t < kThreads; ++t) {
      const int first = t / 32 * 32, lanes = t < 32 ? 32 : 8;
      const int yes = std::clamp(threshold - first, 0, lanes);
      const unsigned* mine = out.data() + 6 * t;
      CHECK(mine[0] == static_cast<unsigned>((uint64_t{1} << yes) - 1));
      CHECK(mine[1] == (yes > 0));
      CHECK(mine[2] == (yes == lanes));
      CHECK(mine[3] == static_cast<unsigned>(threshold));
      CHECK(mine[4] == (threshold > 0));
      CHECK(mine[5] == (threshold == kThreads));
    }
  }
}

struct Counters {
  int sum, most, least, swapped;
  unsigned bits, common;
  unsigned long long wide, claimed;
  float real;
};

__global__ void count(Counters* c, int* before) {
  const int t = static_cast<int>(global_thread());
  before[t] = atomicAdd(&c->sum, 1);
  atomicMax(&c->most, t);
  atomicMin(&c->least, -t);
  atomicOr(&c->bits, 1u << t % 32);
  atomicAnd(&c->common, ~(1u << t % 4));
  atomicAdd(&c->wide, 1ull << 32);
  atomicCAS(&c->claimed, 0ull, 7ull);
  atomicExch(&c->swapped, 5);
  atomicAdd(&c->real, 0.5f);
}

TEST_CASE("atomics") {
  Counters c{0, 0, 0, 0, 0, 0xffu, 0, 0, 0};
  std::vector<int> before(200);
  launch(count, {.grid = 4, .block = 50}, nullptr, &c, before.data());
  std::sort(before.begin(), before.end());
  for (int i = 0; i < 200; ++i) CHECK(before[static_cast<size_t>(i)] == i);
  CHECK(c.sum == 200);
  CHECK(c.most == 199);
  CHECK(c.least == -199);
  CHECK(c.bits == kAll);
  CHECK(c.common == 0xf0u);
  CHECK(c.wide == 200ull << 32);
  CHECK(c.claimed == 7);
  CHECK(c.swapped == 5);
  CHECK(c.real == 100.0f);
}

TEST_CASE("arithmetic words") {
  CHECK(rsqrtf(4.0f) == 0.5f);
  CHECK(__fdividef(3.0f, 4.0f) == 0.75f);
  CHECK(__expf(0.0f) == 1.0f);
  CHECK(__logf(1.0f) == 0.0f);
  CHECK(__powf(2.0f, 10.0f) == 1024.0f);
  CHECK(__fmaf_rn(2.0f, 3.0f, 4.0f) == 10.0f);
  CHECK(__float_as_int(-0.0f) == std::numeric_limits<int>::min());
  CHECK(__int_as_float(__float_as_int(1.5f)) == 1.5f);
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__clz(0) == 32);
  CHECK(__clz(1) == 31);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__umulhi(0x80000000u, 6u) == 3u);
}

constexpr int kBlock = 96;

// Sums and sums of squares of a block's elements, to partials (2, blocks); all: the block's sum as each of
// its threads got it.
__global__ void __launch_bounds__(kBlock)
    sum_blocks(const float* x, int64_t count, float* partials, float* all) {
  __shared__ float shared[2 * kBlock / kLanes];
  const int64_t at = global_thread();
  const float value = at < count ? x[at] : 0.0f;
  float sums[2] = {value, value * value};
  block_sums<kBlock>(sums, shared);
  all[at] = sums[0];
  if (threadIdx.x == 0) {
    partials[blockIdx.x] = sums[0];
    partials[gridDim.x + blockIdx.x] = sums[1];
  }
}

struct WriteRatio {
  double* out;
  __device__ void operator()(const double (&sums)[2]) const { out[0] = sums[0] / std::sqrt(sums[1]); }
};

TEST_CASE("sums over warps, blocks and launches: right, and the same bits in every order") {
  constexpr int kBlocks = 300;
  const std::vector<float> x = ramp(kBlocks * kBlock - 5);
  double sum = 0, squares = 0;
  for (const float value : x) {
    sum += value;
    squares += double{value} * value;
  }
  std::vector<float> first;
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<float> partials(2 * kBlocks), all(kBlocks * kBlock), out(2);
    launch(sum_blocks, {.grid = kBlocks, .block = kBlock}, nullptr, x.data(), static_cast<int64_t>(x.size()),
           partials.data(), all.data());
    for (size_t i = 0; i < all.size(); ++i) REQUIRE(all[i] == partials[i / kBlock]);
    sum_partials<2>(partials.data(), kBlocks, out.data(), 0.5, nullptr);
    CHECK(out[0] == Approx(sum / 2).epsilon(1e-6));
    CHECK(out[1] == Approx(squares / 2).epsilon(1e-6));
    double ratio = 0;
    finish_partials<2>(partials.data(), kBlocks, WriteRatio{&ratio}, nullptr);
    CHECK(ratio == Approx(sum / std::sqrt(squares)).epsilon(1e-6));
    if (first.empty()) first = out;
    CHECK(std::memcmp(first.data(), out.data(), 2 * sizeof(float)) == 0);
  }
}

__global__ void most_of_warp(const float* x, float* out) { out[threadIdx.x] = warp_max(x[threadIdx.x]); }

TEST_CASE("warp_max, which drops NaNs") {
  std::vector<float> x = ramp(32), out(32);
  x[3] = std::nanf("");
  x[17] = 2.0f;
  launch(most_of_warp, {.grid = 1, .block = 32}, nullptr, x.data(), out.data());
  CHECK(out == std::vector<float>(32, 2.0f));
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
