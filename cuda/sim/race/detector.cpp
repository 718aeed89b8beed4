#include "cuda/sim/race/detector.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "cuda/sim/faults.h"
#include "cuda/sim/race/shadow.h"
#include "cuda/sim/race/source_line.h"
#include "cuda/sim/shared_memory.h"

namespace millrace::sim {

// --- the shadow

Shadow::Page& Shadow::find(uintptr_t number) {
  std::unique_ptr<Page>& page = pages_[number];
  if (page == nullptr && !spare_.empty()) {
    page = std::move(spare_.back());
    spare_.pop_back();
    page->fill(Cell{});
  } else if (page == nullptr) {
    page = std::make_unique<Page>();
  }
  return *page;
}

void Shadow::clear() {
  constexpr size_t kMaxSpare = 10000;  // 40 MiB
  for (auto& [number, page] : pages_)
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(page));
  pages_.clear();
  recent_.fill({});
}

// --- what orders accesses

namespace {

// Return addresses as differences from some place in the program, which fit in 32 bits.
const char kProgram = 0;
int32_t code_number(const void* code) {
  return static_cast<int32_t>(static_cast<const char*>(code) - &kProgram);
}
const void* code_of(int32_t number) { return &kProgram + number; }

}  // namespace

Detector::Detector() : clock_(kMaxThreads, 1), seen_(kMaxThreads) {}

void Detector::begin_launch(const void* dynamic_shared, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(dynamic_shared);
  dynamic_shared_ = {begin, begin + bytes};
  shadow_.clear();
  found_.reset();
}

void Detector::begin_block() {
  const dim3 &at = position.block, &grid = position.grid_extent;
  block_ = (at.z * grid.y + at.y) * grid.x + at.x + 1;
  epoch_ = 0;
}

void Detector::end_block() {
  if (found_) fail(ErrorKind::device, *std::exchange(found_, std::nullopt));
}

void Detector::enter(int thread, const StackRange& stack) {
  const auto begin = reinterpret_cast<uintptr_t>(stack.bottom);
  stack_ = {begin, begin + stack.bytes};
  thread_ = static_cast<uint32_t>(thread);
  inside_ = !found_;
}

void Detector::warp_met(int warp, unsigned mask) {
  const size_t first = static_cast<size_t>(warp) * kWarpSize;
  std::array<uint32_t, kWarpSize> known{};
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const auto lane = static_cast<size_t>(std::countr_zero(left));
    for (size_t i = 0; i < known.size(); ++i) known[i] = std::max(known[i], seen_[first + lane][i]);
    known[lane] = std::max(known[lane], clock_[first + lane]);
  }
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const auto lane = static_cast<size_t>(std::countr_zero(left));
    seen_[first + lane] = known;
    ++clock_[first + lane];
  }
}

// Whether nothing makes the one come before the other. Clocks and epochs only grow, also from block to block.
bool Detector::unordered(const Access& before, const Access& now, bool shared) const {
  if (before.block == 0) return false;
  if (before.block != now.block) return !shared;
  if (before.thread == now.thread || before.epoch != now.epoch) return false;
  const bool same_warp = before.thread / kWarpSize == now.thread / kWarpSize;
  return !same_warp || seen_[now.thread][before.thread % kWarpSize] < before.clock;
}

void Detector::remember(std::array<Access, 2>& kept, const Access& now, bool shared) const {
  Access& place = kept[unordered(kept[0], now, shared) ? 1 : 0];
  // A thread's own atomic must not hide its plain access.
  const bool again = place.block == now.block && place.thread == now.thread && place.epoch == now.epoch;
  if (again && now.atomic && !place.atomic) return;
  place = now;
}

void Detector::check(uintptr_t address, size_t bytes, AccessKind kind, const void* code) {
  const bool shared = in_static_shared(address) || dynamic_shared_.holds(address);
  const Access now{.block = block_,
                   .thread = thread_,
                   .atomic = kind == AccessKind::atomic,
                   .epoch = epoch_,
                   .clock = clock_[thread_],
                   .code = code_number(code)};
  for (uintptr_t at = address; at < address + bytes; ++at) {
    Cell& cell = shadow_.page_of(at)[at % Shadow::kPageBytes];
    for (const Access& before : cell.writes)
      if (unordered(before, now, shared) && !(before.atomic && now.atomic))
        return report(before, true, now, kind, address, bytes);
    if (kind == AccessKind::read) {
      remember(cell.reads, now, shared);
      continue;
    }
    for (const Access& before : cell.reads)
      if (unordered(before, now, shared)) return report(before, false, now, kind, address, bytes);
    remember(cell.writes, now, shared);
  }
}

// --- the message

void Detector::report(const Access& before, bool before_wrote, const Access& now, AccessKind kind,
                      uintptr_t address, size_t bytes) {
  inside_ = false;
  const auto name_of = [](bool wrote, bool atomic) {
    return std::string(atomic ? "atomic" : wrote ? "write" : "read");
  };
  const auto at_line = [](const Access& access) {
    const std::string line = source_line(code_of(access.code));
    return line.empty() ? "" : " at " + line;
  };
  std::string memory = "global memory";
  if (in_static_shared(address)) memory = "static shared memory";
  if (dynamic_shared_.holds(address))
    memory = "dynamic shared memory, byte " + std::to_string(address - dynamic_shared_.begin);

  const bool same_block = before.block == now.block;
  const dim3 block = unravel(before.block - 1, position.grid_extent);
  const dim3 thread = unravel(before.thread, position.block_extent);
  found_ = Mismatch{
      .where = running_thread(),
      .expected = same_block
                      ? "__syncthreads, or __syncwarp within a warp, between what two threads do to the "
                        "same memory"
                      : "no block to write what another one of the launch accesses",
      .got = name_of(kind == AccessKind::write, now.atomic) + " of " + std::to_string(bytes) + " bytes of " +
             memory + at_line(now) + " after " + name_of(before_wrote, before.atomic) + " by " +
             (same_block ? "" : "block " + show(block) + ", ") + "thread " + show(thread) + at_line(before)};
}

}  // namespace millrace::sim
