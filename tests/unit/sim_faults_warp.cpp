// Deliberately wrong votes and shuffles, which the simulator must name; the right ones are in sim_warp.cpp.
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr unsigned kAll = 0xffffffffu;

__global__ void mask_without_caller(int* out) {
  out[threadIdx.x] = __shfl_sync(0x0000ffffu, static_cast<int>(threadIdx.x), 0);
}

__global__ void vote_without_caller(int* out) { out[threadIdx.x] = __any_sync(0x7fffffffu, 1); }

__global__ void sync_without_caller(int* out) {
  __syncwarp(threadIdx.x < 7 ? 0x7fu : 0xffffff00u);
  out[threadIdx.x] = 1;
}

// The classic: the tail leaves, and the others name it in their masks.
__global__ void shuffle_with_left_lane(int* out, int count) {
  const int i = static_cast<int>(global_thread());
  if (i >= count) return;
  out[i] = __shfl_down_sync(kAll, i, 1);
}

__global__ void vote_with_left_lane(int* out, int count) {
  const int i = static_cast<int>(global_thread());
  if (i >= count) return;
  out[i] = __all_sync(kAll, i >= 0);
}

// Right: whoever takes part is asked before anyone leaves.
__global__ void shuffle_with_ballot(int* out, int count) {
  const int i = static_cast<int>(global_thread());
  const unsigned here = __ballot_sync(kAll, i < count);
  if (i >= count) return;
  out[i] = __shfl_sync(here, i, 0);
}

// A sum of the tail's lanes, of which a last, partial warp has not enough.
__global__ void sum_partial_warp(int* out) { out[threadIdx.x] = warp_sum(1); }

__global__ void two_lines(int* out) {
  if (threadIdx.x % 32 < 8)
    out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
  else
    out[threadIdx.x] = __shfl_sync(kAll, 2, 0);
}

__global__ void two_kinds(int* out) {
  if (threadIdx.x % 2 == 0)
    out[threadIdx.x] = __any_sync(kAll, 1);
  else
    __syncwarp();
}

__global__ void two_masks(int* out) {
  const unsigned mask = threadIdx.x % 32 < 16 ? kAll : 0xffff0000u;
  out[threadIdx.x] = __shfl_sync(mask, 1, 16);
}

__global__ void read_outside_mask(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1, 16);
}

__global__ void odd_width(int* out) { out[threadIdx.x] = __shfl_sync(kAll, 1, 0, 12); }

// Two pairs of lanes wait crosswise: 0 for 1, 1 for 2, 2 for 0.
__global__ void circle(int* out) {
  const unsigned lane = threadIdx.x;
  if (lane < 3) out[lane] = __any_sync(1u << lane | 1u << (lane + 1) % 3, 1);
}

struct Wrong {
  void (*kernel)(int*);
  std::string name, thread, expected, got;
};

TEST_CASE("votes and shuffles with wrong masks are named") {
  const std::vector<Wrong> wrongs = {
      {mask_without_caller, "mask_without_caller", "", "a mask of __shfl_sync of ", "got 0x0000ffff"},
      {vote_without_caller, "vote_without_caller", "thread (31,0,0)", "that names the calling lane, 31",
       "got 0x7fffffff"},
      {sync_without_caller, "sync_without_caller", "thread (7,0,0)", "a mask of __syncwarp of ",
       "got 0xffffff00"},
      {two_lines, "two_lines", "thread (0,0,0)", "every lane of mask 0xffffffff at the __shfl_sync of ",
       "thread (8,0,0), which waits at the __shfl_sync of "},
      {two_kinds, "two_kinds", "thread (0,0,0)", "every lane of mask 0xffffffff at the __any_sync of ",
       "thread (1,0,0), which waits at the __syncwarp of "},
      {two_masks, "two_masks", "thread (0,0,0)", "every lane of mask 0xffffffff at the __shfl_sync of ",
       "thread (16,0,0), which "},
      {read_outside_mask, "read_outside_mask", "",
       "a lane of the mask 0x0000ffff to read from by __shfl_xor_sync of ", "got lane "},
      {odd_width, "odd_width", "", "a width of __shfl_sync of 1, 2, 4, 8, 16 or 32 lanes", "got 12"},
      {circle, "circle", "thread (0,0,0)", "every lane of mask 0x00000003 at the __any_sync of ",
       "thread (1,0,0), which waits at the __any_sync of "},
  };
  for (const Wrong& wrong : wrongs) {
    for (const uint64_t seed : kSeeds) {
      const OrderSeed order(seed);
      std::vector<int> out(32);
      const std::string message =
          refusal([&] { launch(wrong.kernel, {.grid = 1, .block = 32}, nullptr, out.data()); });
      contains(message, "[" + wrong.name + " launched at ");
      contains(message, "sim_faults_warp.cpp:");
      contains(message, ", block (0,0,0), thread (");
      contains(message, wrong.thread);
      contains(message, wrong.expected);
      contains(message, wrong.got);
    }
  }
}

TEST_CASE("lanes that left are named, and none is missed where a ballot asked first") {
  for (const uint64_t seed : kSeeds) {
    const OrderSeed order(seed);
    std::vector<int> out(96, -1);
    const LaunchShape shape{.grid = 3, .block = 32};
    const std::string shuffle =
        refusal([&] { launch(shuffle_with_left_lane, shape, nullptr, out.data(), 70); });
    contains(shuffle, "[shuffle_with_left_lane launched at ");
    contains(shuffle, "block (2,0,0), thread (0,0,0)]");
    contains(shuffle, "at the __shfl_down_sync of ");
    contains(shuffle, "thread (6,0,0), which left the kernel without it");
    contains(refusal([&] { launch(vote_with_left_lane, shape, nullptr, out.data(), 70); }),
             "thread (6,0,0), which left the kernel without it");

    launch(shuffle_with_ballot, shape, nullptr, out.data(), 70);
    for (int i = 0; i < 70; ++i) CHECK(out[static_cast<size_t>(i)] == i / 32 * 32);
    CHECK(refusal([&] { launch(vote_with_left_lane, shape, nullptr, out.data(), 96); }) == "no error");
  }
}

TEST_CASE("a lane that the last warp does not have may be named, and not read") {
  std::vector<int> out(64);
  const std::string message =
      refusal([&] { launch(sum_partial_warp, {.grid = 1, .block = 40}, nullptr, out.data()); });
  contains(message, "[sum_partial_warp launched at ");
  contains(message, "block (0,0,0), thread (3");
  contains(message, ", which the block does not have");
  CHECK(refusal([&] { launch(sum_partial_warp, {.grid = 1, .block = 64}, nullptr, out.data()); }) ==
        "no error");
  CHECK(out == std::vector<int>(64, 32));
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
