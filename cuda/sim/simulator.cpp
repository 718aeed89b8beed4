#include "cuda/sim/simulator.h"

#include <mutex>
#include <numeric>
#include <utility>

#include "cuda/sim/block.h"
#include "cuda/sim/faults.h"
#include "cuda/sim/shared_memory.h"
#include "cuda/sim/watcher.h"

namespace millrace::sim {

constinit Position position{};
LaunchHook before_launch = nullptr;
Watcher* watcher = nullptr;

namespace {

constexpr int64_t kMaxBlockThreads = 1024;
constexpr int64_t kSharedBytes = 48 * 1024;
constexpr int64_t kLargeSharedBytes = 227 * 1024;

uint64_t current_seed = 1;
uint64_t launches = 0;  // since the seed was set

int64_t volume(const dim3& d) { return static_cast<int64_t>(d.x) * d.y * d.z; }

void check_shape(const Launch& launch) {
  const auto& [grid, block] = std::pair(launch.grid, launch.block);
  if (volume(grid) == 0 || volume(block) == 0)
    refuse(launch, "at least one block and one thread", "grid " + show(grid) + ", block " + show(block));
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
    refuse(launch, "a grid of at most (2147483647,65535,65535) blocks", show(grid));
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || volume(block) > kMaxBlockThreads)
    refuse(launch, "a block of at most 1024 threads, (1024,1024,64) along its axes",
           show(block) + ", " + std::to_string(volume(block)) + " threads");
}

void check_shared(const Launch& launch, int64_t static_bytes) {
  const int64_t limit = launch.large_shared ? kLargeSharedBytes : kSharedBytes;
  if (static_bytes > kSharedBytes ||
      static_cast<uint64_t>(static_bytes) + launch.shared_bytes > static_cast<uint64_t>(limit))
    refuse(launch,
           "at most " + std::to_string(limit) + " bytes of shared memory, " + std::to_string(kSharedBytes) +
               " of them static",
           std::to_string(launch.shared_bytes) + " dynamic and " + std::to_string(static_bytes) + " static");
}

struct Simulator {
  Block block;
  DynamicShared dynamic_shared;

  void run(const Launch& launch);
};

void Simulator::run(const Launch& launch) {
  dynamic_shared.resize(launch.shared_bytes);
  Shuffler shuffler(current_seed == 0 ? 0 : current_seed + launches++);
  const int64_t blocks = volume(launch.grid);
  position.block_extent = launch.block;
  position.grid_extent = launch.grid;
  block.begin(launch, shuffler);
  if (watcher != nullptr) watcher->begin_launch(dynamic_shared.data(), dynamic_shared.size());
  // The order of blocks: steps of a stride that has no divisor in common with their number meet each of them
  // once.
  int64_t stride = 1 + static_cast<int64_t>(shuffler.below(static_cast<uint64_t>(blocks)));
  while (std::gcd(stride, blocks) != 1) ++stride;
  auto number = static_cast<int64_t>(shuffler.below(static_cast<uint64_t>(blocks)));
  for (int64_t i = 0; i < blocks; ++i, number = (number + stride) % blocks) {
    position.block = unravel(number, launch.grid);
    dynamic_shared.poison();
    poison_static_shared();
    if (watcher != nullptr) watcher->begin_block();
    block.run();
    if (watcher != nullptr) watcher->end_block();
    if (i == 0) check_shared(launch, written_static_shared());
  }
}

// Fibers stay with the operating system's thread that made them.
Simulator& simulator() {
  thread_local Simulator instance;
  return instance;
}

// Static shared memory and the position are one for the whole program, so launches take turns.
std::mutex one_launch;
void run(const Launch& launch) {
  const std::lock_guard lock(one_launch);
  const Running running(launch);
  simulator().run(launch);
}

}  // namespace

void submit(const Launch& launch) {
  if (Running::now()) refuse(launch, "a launch from the host", "a launch by a kernel");
  check_shape(launch);
  check_shared(launch, 0);
  if (before_launch != nullptr) before_launch(launch);
  submit([launch] { run(launch); });
}

int meet_block(const Meeting& meeting, bool predicate) {
  return simulator().block.meet_block(meeting, predicate);
}

unsigned vote(const Meeting& meeting, unsigned mask, bool predicate) {
  return static_cast<unsigned>(simulator().block.meet_warp(meeting, mask, predicate, Block::kVote));
}

uint64_t shuffle(const Meeting& meeting, unsigned mask, uint64_t bits, int source) {
  return simulator().block.meet_warp(meeting, mask, bits, source);
}

void sync_warp(const Meeting& meeting, unsigned mask) {
  simulator().block.meet_warp(meeting, mask, 0, Block::kSync);
}

int lane_of_shuffle(const Meeting& meeting, int width) {
  if (width < 1 || width > kWarpSize || (width & (width - 1)) != 0)
    fault(std::string("a width of ") + meeting.word + " of 1, 2, 4, 8, 16 or 32 lanes",
          std::to_string(width));
  return simulator().block.lane();
}

void* dynamic_shared_memory() {
  const DynamicShared& memory = simulator().dynamic_shared;
  if (memory.size() == 0) fault("LaunchShape::shared_bytes for dynamic_shared", "0");
  return memory.data();
}

void check_vector(const void* address, size_t bytes) {
  const auto rest = reinterpret_cast<uintptr_t>(address) % bytes;
  if (rest != 0)
    fault("a vector of " + std::to_string(bytes) + " bytes at a multiple of its size",
          "an address " + std::to_string(rest) + " bytes past one");
}

void set_order_seed(uint64_t seed) {
  current_seed = seed;
  launches = 0;
}

uint64_t order_seed() { return current_seed; }

}  // namespace millrace::sim
