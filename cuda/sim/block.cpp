#include "cuda/sim/block.h"

#include <bit>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "cuda/sim/faults.h"
#include "cuda/sim/watcher.h"

namespace millrace::sim {

namespace {

// Thrown in a waiting thread to clear its stack after another has faulted.
struct Cancelled {};

bool same_text(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }

bool same_place(const Meeting& a, const Meeting& b) {
  return a.where.line() == b.where.line() && same_text(a.word, b.word) &&
         same_text(a.where.file_name(), b.where.file_name());
}

std::string show_mask(unsigned mask) {
  char digits[11];
  std::snprintf(digits, sizeof digits, "0x%08x", mask);
  return digits;
}

std::string show_meeting(const Meeting& meeting) {
  return std::string(meeting.word) + " of " + show_line(meeting.where);
}

}  // namespace

Block::~Block() {
  closing_ = true;
  for (auto& fiber : fibers_) fiber->resume();
}

void Block::begin(const Launch& launch, Shuffler& shuffler) {
  launch_ = &launch;
  shuffler_ = &shuffler;
  threads_.clear();
  for (unsigned z = 0; z < launch.block.z; ++z)
    for (unsigned y = 0; y < launch.block.y; ++y)
      for (unsigned x = 0; x < launch.block.x; ++x) threads_.push_back({.index = {x, y, z}});
  warps_.assign((threads_.size() + kWarpSize - 1) / kWarpSize, Warp{.present = 0xffffffffu});
  const size_t last_lanes = threads_.size() % kWarpSize;
  if (last_lanes > 0) warps_.back().present = (1u << last_lanes) - 1;
}

void Block::run() {
  ready_.clear();
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].state = State::runs;
    ready_.push_back(static_cast<int>(i));
  }
  next_ready_ = 0;
  taken_ = -1;
  unfinished_ = static_cast<int>(threads_.size());

  while (unfinished_ > 0 && !failure_) {
    const int thread = take_ready();
    if (thread < 0) {
      release_block();
    } else if (Fiber* fiber = std::exchange(threads_[static_cast<size_t>(thread)].fiber, nullptr)) {
      select(thread);
      running_fiber_ = fiber;
      fiber->resume();
    } else {
      taken_ = thread;
      idle_fiber().resume();
    }
  }
  if (failure_) {
    cancel();
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

// Any of the threads that can run, or -1.
int Block::take_ready() {
  if (taken_ >= 0) return std::exchange(taken_, -1);
  const size_t left = ready_.size() - next_ready_;
  if (left == 0) return -1;
  std::swap(ready_[next_ready_], ready_[next_ready_ + shuffler_->below(left)]);
  const int thread = ready_[next_ready_++];
  if (left == 1) {
    ready_.clear();
    next_ready_ = 0;
  }
  return thread;
}

void Block::select(int thread) {
  running_ = thread;
  position.thread = threads_[static_cast<size_t>(thread)].index;
}

void Block::run_thread(int thread) {
  select(thread);
  try {
    if (watcher != nullptr) watcher->enter(thread, running_fiber_->stack());
    launch_->thread();
  } catch (const Cancelled&) {
  } catch (...) {
    failure_ = std::current_exception();
  }
  if (watcher != nullptr) watcher->leave();
  threads_[static_cast<size_t>(running_)].state = State::done;
  --unfinished_;
}

// The life of a fiber.
void Block::work(Fiber& self) {
  while (!closing_) {
    int thread = take_ready();
    while (thread >= 0 && threads_[static_cast<size_t>(thread)].fiber == nullptr) {
      running_fiber_ = &self;
      run_thread(thread);
      thread = failure_ ? -1 : take_ready();
    }
    taken_ = thread;  // for another fiber
    idle_.push_back(&self);
    self.suspend();
  }
}

Fiber& Block::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>([this](Fiber& self) { work(self); }));
    return *fibers_.back();
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return *fiber;
}

void Block::suspend() {
  Thread& thread = threads_[static_cast<size_t>(running_)];
  thread.fiber = running_fiber_;
  running_fiber_->suspend();
  if (cancelling_) throw Cancelled{};
}

// Ends the threads that wait, after a fault.
void Block::cancel() {
  cancelling_ = true;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (threads_[i].fiber == nullptr) continue;
    select(static_cast<int>(i));
    std::exchange(threads_[i].fiber, nullptr)->resume();
  }
  cancelling_ = false;
}

// While one exists, the running thread is in the simulator, not in its kernel.
class Block::Away {
 public:
  explicit Away(const Block& block) : block_(block) {
    if (watcher != nullptr) watcher->leave();
  }
  ~Away() {
    if (watcher != nullptr) watcher->enter(block_.running_, block_.running_fiber_->stack());
  }

 private:
  const Block& block_;
};

// --- barriers

int Block::meet_block(const Meeting& meeting, bool predicate) {
  const Away away(*this);
  Thread& thread = threads_[static_cast<size_t>(running_)];
  thread.state = State::waits_for_block;
  thread.meeting = meeting;
  thread.bits = predicate;
  suspend();
  return agreed_;
}

// Nobody can run: all threads of the block must wait at one barrier, else they wait for ever.
void Block::release_block() {
  const Meeting& meeting = threads_.front().meeting;
  agreed_ = 0;
  for (const Thread& thread : threads_) {
    if (thread.state != State::waits_for_block || !same_place(thread.meeting, meeting)) {
      explain_stall();
      return;
    }
    agreed_ += static_cast<int>(thread.bits);
  }
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].state = State::runs;
    ready_.push_back(static_cast<int>(i));
  }
  if (watcher != nullptr) watcher->block_met();
}

// --- warps

uint64_t Block::meet_warp(const Meeting& meeting, unsigned mask, uint64_t bits, int source) {
  const Away away(*this);
  const int number = running_ / kWarpSize;
  Warp& warp = warps_[static_cast<size_t>(number)];
  const unsigned own = 1u << lane();
  if ((mask & own) == 0)
    fault("a mask of " + show_meeting(meeting) + " that names the calling lane, " + std::to_string(lane()),
          show_mask(mask));
  if (source >= 0 && (mask & warp.present & 1u << source) == 0)
    fault("a lane of the mask " + show_mask(mask) + " to read from by " + show_meeting(meeting),
          "lane " + std::to_string(source) +
              (warp.present & 1u << source ? "" : ", which the block does not have"));

  Thread& thread = threads_[static_cast<size_t>(running_)];
  thread.state = State::waits_for_warp;
  thread.meeting = meeting;
  thread.mask = mask;
  thread.bits = bits;
  thread.source = source;
  warp.waiting |= own;
  if ((mask & warp.present & ~warp.waiting) == 0 && all_met(number, thread))
    give_bits(number, mask & warp.present);
  else
    suspend();
  return thread.bits;
}

// All lanes of the mask wait; do they wait for each other?
bool Block::all_met(int warp, const Thread& last) const {
  for (unsigned left = last.mask & warps_[static_cast<size_t>(warp)].present; left != 0; left &= left - 1) {
    const Thread& other = threads_[static_cast<size_t>(warp * kWarpSize + std::countr_zero(left))];
    if (other.mask != last.mask || !same_place(other.meeting, last.meeting)) return false;
  }
  return true;
}

// Hands out what the lanes brought, and lets all but the running one go on.
void Block::give_bits(int warp, unsigned mask) {
  uint64_t brought[kWarpSize];
  unsigned ballot = 0;
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    brought[lane] = thread_at(warp, lane).bits;
    ballot |= (brought[lane] != 0 ? 1u : 0u) << lane;
  }
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left), number = warp * kWarpSize + lane;
    Thread& thread = thread_at(warp, lane);
    thread.bits = thread.source < 0 ? ballot : brought[thread.source];
    thread.state = State::runs;
    if (number != running_) ready_.push_back(number);
  }
  warps_[static_cast<size_t>(warp)].waiting &= ~mask;
  const bool orders_memory = threads_[static_cast<size_t>(running_)].source == kSync;
  if (watcher != nullptr && orders_memory) watcher->warp_met(warp, mask);
}

// --- the fault of threads that wait for ever

std::string Block::describe_wait(const Thread& thread) const {
  if (thread.state == State::done) return "left the kernel without it";
  const std::string wait = "waits at the " + show_meeting(thread.meeting);
  return thread.state == State::waits_for_block ? wait : wait + " for mask " + show_mask(thread.mask);
}

// Names a thread that waits and one that it waits for in vain: lanes of a warp first, since they may be why
// others wait at a barrier.
void Block::explain_stall() {
  try {
    fault_of_warp();
    fault_of_block();
  } catch (const Error&) {
    failure_ = std::current_exception();
  }
}

void Block::fault_of_warp() {
  for (size_t i = 0; i < threads_.size(); ++i) {
    const Thread& thread = threads_[i];
    if (thread.state != State::waits_for_warp) continue;
    const int warp = static_cast<int>(i) / kWarpSize;
    for (unsigned left = thread.mask & warps_[static_cast<size_t>(warp)].present; left != 0;
         left &= left - 1) {
      const Thread& other = thread_at(warp, std::countr_zero(left));
      if (other.state == State::waits_for_warp && other.mask == thread.mask &&
          same_place(other.meeting, thread.meeting))
        continue;
      select(static_cast<int>(i));
      fault("every lane of mask " + show_mask(thread.mask) + " at the " + show_meeting(thread.meeting),
            "thread " + show(other.index) + ", which " + describe_wait(other));
    }
  }
}

void Block::fault_of_block() {
  size_t waits = 0;
  while (threads_[waits].state != State::waits_for_block) ++waits;
  const Meeting& meeting = threads_[waits].meeting;
  for (const Thread& other : threads_) {
    if (other.state == State::waits_for_block && same_place(other.meeting, meeting)) continue;
    select(static_cast<int>(waits));
    fault("every thread of the block at the " + show_meeting(meeting),
          "thread " + show(other.index) + ", which " + describe_wait(other));
  }
}

}  // namespace millrace::sim
