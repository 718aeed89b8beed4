#include "cuda/sim/simulator.h"

#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"
#include "cuda/sim/device.h"
#include "cuda/sim/fiber.h"

// The section of all __shared__ variables; the linker makes these when there is one.
extern "C" {
extern unsigned char __start_sim_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_sim_shared[] __attribute__((weak, visibility("hidden")));
}

namespace millrace::cuda_sim::sim {

constinit Position position{};

namespace {

constexpr int64_t kMaxBlockThreads = 1024;
constexpr int64_t kSharedBytes = 48 * 1024;
constexpr int64_t kLargeSharedBytes = 227 * 1024;
constexpr unsigned char kPoison = 0xFF;

uint64_t current_seed = 1;
uint64_t launches = 0;  // since the seed was set

int64_t volume(const dim3& d) { return static_cast<int64_t>(d.x) * d.y * d.z; }

std::string show(const dim3& d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

dim3 unravel(int64_t index, const dim3& extent) {
  const auto rest = static_cast<uint64_t>(index) / extent.x;
  return {static_cast<unsigned>(index % extent.x), static_cast<unsigned>(rest % extent.y),
          static_cast<unsigned>(rest / extent.y)};
}

std::string show_line(const std::source_location& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

// SplitMix64 (Steele, Lea, Flood 2014): enough to shuffle with, and the same on every machine.
class Shuffler {
 public:
  explicit Shuffler(uint64_t seed) : natural_(seed == 0), state_(seed) {}

  uint64_t below(uint64_t limit) {
    if (natural_) return 0;
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % limit;
  }
  void shuffle(std::vector<int>& items) {
    if (natural_) return;
    for (size_t left = items.size(); left > 1; --left) std::swap(items[left - 1], items[below(left)]);
  }

 private:
  bool natural_;
  uint64_t state_;
};

size_t static_shared_bytes() {
  return reinterpret_cast<uintptr_t>(__stop_sim_shared) - reinterpret_cast<uintptr_t>(__start_sim_shared);
}

// ASan forbids the guards between the variables of the section to all other code. The volatile access keeps
// g++ from making the loop a call of memset, which ASan checks too.
__attribute__((no_sanitize("address"))) void poison_static_shared() {
#ifdef __SANITIZE_ADDRESS__
  volatile unsigned char* bytes = __start_sim_shared;
  for (size_t i = 0; i < static_shared_bytes(); ++i) bytes[i] = kPoison;
#else
  if (static_shared_bytes() > 0) std::memset(__start_sim_shared, kPoison, static_shared_bytes());
#endif
}

// Bytes of static shared memory that were written since, in words.
__attribute__((no_sanitize("address"))) int64_t written_static_shared() {
  constexpr int64_t kWord = 4;
  int64_t written = 0;
  const volatile unsigned char* word = __start_sim_shared;
  for (size_t left = static_shared_bytes() / kWord; left > 0; --left, word += kWord)
    if ((word[0] & word[1] & word[2] & word[3]) != kPoison) written += kWord;
  return written;
}

// Thrown in a waiting thread to clear its stack after another has faulted.
struct Cancelled {};

class Simulator {
 public:
  ~Simulator();
  void run(const Launch& launch);

  // Called by the running thread.
  void barrier(const std::source_location& where);
  void* dynamic_shared_memory();
  [[noreturn]] void fault(const std::string& expected, const std::string& got);

 private:
  struct Thread {
    Fiber* fiber = nullptr;  // set while it waits
    std::source_location barrier;
    bool done = false;
  };

  void check_shape() const;
  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const;
  std::string place(const std::string& thread) const;
  void run_block();
  void release_barrier();
  void check_barrier();
  void cancel();
  void select(int thread);
  void run_selected();
  void work(Fiber& self);
  Fiber& idle_fiber();

  const Launch* launch_ = nullptr;
  Shuffler shuffler_{0};
  std::vector<unsigned char> dynamic_shared_;

  std::vector<Thread> threads_;  // of the running block
  std::vector<int> order_;       // in which they run until the next barrier
  size_t started_ = 0;
  int waiting_ = 0;
  int running_ = 0;
  Fiber* running_fiber_ = nullptr;
  bool cancelling_ = false;
  std::exception_ptr failure_;

  // A fiber runs thread after thread until one of them waits: a kernel without barriers needs a single fiber.
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  bool closing_ = false;
};

Simulator::~Simulator() {
  closing_ = true;
  for (auto& fiber : fibers_) fiber->resume();
}

std::string Simulator::place(const std::string& thread) const {
  return kernel_name(launch_->kernel) + " launched at " + show_line(launch_->where) +
         (thread.empty() ? "" : ", block " + show(position.block) + ", thread " + thread);
}

void Simulator::fault(const std::string& expected, const std::string& got) {
  fail(ErrorKind::device,
       {.where = place(show(position.thread)), .expected = expected, .got = got, .hint = ""});
}

void Simulator::refuse(const std::string& expected, const std::string& got) const {
  fail(ErrorKind::device, {.where = place(""), .expected = expected, .got = got, .hint = ""});
}

void Simulator::check_shape() const {
  const auto& [grid, block] = std::pair(launch_->grid, launch_->block);
  if (volume(grid) == 0 || volume(block) == 0)
    refuse("at least one block and one thread", "grid " + show(grid) + ", block " + show(block));
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
    refuse("a grid of at most (2147483647,65535,65535) blocks", show(grid));
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || volume(block) > kMaxBlockThreads)
    refuse("a block of at most 1024 threads, (1024,1024,64) along its axes",
           show(block) + ", " + std::to_string(volume(block)) + " threads");
}

void Simulator::run(const Launch& launch) {
  launch_ = &launch;
  check_shape();
  const int64_t limit = launch.large_shared ? kLargeSharedBytes : kSharedBytes;
  const auto check_shared = [&](int64_t static_bytes) {
    if (static_cast<uint64_t>(static_bytes) + launch.shared_bytes > static_cast<uint64_t>(limit) ||
        static_bytes > kSharedBytes)
      refuse(
          "at most " + std::to_string(limit) + " bytes of shared memory, " + std::to_string(kSharedBytes) +
              " of them static",
          std::to_string(launch.shared_bytes) + " dynamic and " + std::to_string(static_bytes) + " static");
  };
  check_shared(0);

  // A new vector is exactly as long as asked for, so that ASan sees the first byte behind it.
  dynamic_shared_ = std::vector<unsigned char>(launch.shared_bytes);
  shuffler_ = Shuffler(current_seed == 0 ? 0 : current_seed + launches++);
  const int64_t blocks = volume(launch.grid);
  position.block_extent = launch.block;
  position.grid_extent = launch.grid;
  // The order of blocks: steps of a stride that has no divisor in common with their number meet each of them
  // once.
  int64_t stride = 1 + static_cast<int64_t>(shuffler_.below(static_cast<uint64_t>(blocks)));
  while (std::gcd(stride, blocks) != 1) ++stride;
  auto block = static_cast<int64_t>(shuffler_.below(static_cast<uint64_t>(blocks)));
  for (int64_t i = 0; i < blocks; ++i, block = (block + stride) % blocks) {
    position.block = unravel(block, launch.grid);
    run_block();
    if (i == 0) check_shared(written_static_shared());
  }
}

void Simulator::run_block() {
  std::fill(dynamic_shared_.begin(), dynamic_shared_.end(), kPoison);
  poison_static_shared();
  threads_.assign(static_cast<size_t>(volume(launch_->block)), Thread{});
  order_.resize(threads_.size());
  std::iota(order_.begin(), order_.end(), 0);
  shuffler_.shuffle(order_);
  started_ = 0;
  waiting_ = 0;
  failure_ = nullptr;

  while (started_ < order_.size() && !failure_) idle_fiber().resume();
  while (waiting_ > 0 && !failure_) release_barrier();
  if (failure_) {
    cancel();
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void Simulator::release_barrier() {
  try {
    check_barrier();
  } catch (const Error&) {
    failure_ = std::current_exception();
    return;
  }
  shuffler_.shuffle(order_);
  waiting_ = 0;
  for (size_t i = 0; i < order_.size() && !failure_; ++i) {
    Fiber* fiber = std::exchange(threads_[static_cast<size_t>(order_[i])].fiber, nullptr);
    select(order_[i]);
    running_fiber_ = fiber;
    fiber->resume();
  }
}

// All threads of the block must wait, and at the same barrier.
void Simulator::check_barrier() {
  size_t waits = 0;
  while (threads_[waits].fiber == nullptr) ++waits;
  const std::source_location& where = threads_[waits].barrier;
  for (size_t i = 0; i < threads_.size(); ++i) {
    const Thread& thread = threads_[i];
    const bool same = thread.fiber != nullptr && thread.barrier.line() == where.line() &&
                      std::strcmp(thread.barrier.file_name(), where.file_name()) == 0;
    if (same) continue;
    const std::string other = "thread " + show(unravel(static_cast<int64_t>(i), launch_->block));
    select(static_cast<int>(waits));
    fault("every thread of the block at the barrier of " + show_line(where),
          other + (thread.done ? " left the kernel without it"
                               : " at the barrier of " + show_line(thread.barrier)));
  }
}

void Simulator::cancel() {
  cancelling_ = true;
  for (auto& thread : threads_)
    if (thread.fiber != nullptr) std::exchange(thread.fiber, nullptr)->resume();
  cancelling_ = false;
}

void Simulator::select(int thread) {
  running_ = thread;
  position.thread = unravel(thread, launch_->block);
}

void Simulator::run_selected() {
  Thread& thread = threads_[static_cast<size_t>(running_)];
  try {
    launch_->thread();
  } catch (const Cancelled&) {
  } catch (...) {
    failure_ = std::current_exception();
  }
  thread.done = true;
}

// The life of a fiber.
void Simulator::work(Fiber& self) {
  while (!closing_) {
    while (started_ < order_.size() && !failure_) {
      select(order_[started_++]);
      running_fiber_ = &self;
      run_selected();
    }
    idle_.push_back(&self);
    self.suspend();
  }
}

Fiber& Simulator::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>([this](Fiber& self) { work(self); }));
    return *fibers_.back();
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return *fiber;
}

void Simulator::barrier(const std::source_location& where) {
  Thread& thread = threads_[static_cast<size_t>(running_)];
  thread.barrier = where;
  thread.fiber = running_fiber_;
  ++waiting_;
  running_fiber_->suspend();
  if (cancelling_) throw Cancelled{};
}

void* Simulator::dynamic_shared_memory() {
  if (dynamic_shared_.empty()) fault("LaunchShape::shared_bytes for dynamic_shared", "0");
  return dynamic_shared_.data();
}

// Fibers stay with the operating system's thread that made them.
Simulator& simulator() {
  thread_local Simulator instance;
  return instance;
}

// Static shared memory and the position are one for the whole program, so launches take turns.
std::mutex one_launch;
thread_local bool launching = false;

}  // namespace

void run(const Launch& launch) {
  if (launching)
    fail(ErrorKind::device, {.where = kernel_name(launch.kernel) + " launched at " + show_line(launch.where),
                             .expected = "a launch from the host",
                             .got = "a launch by a kernel",
                             .hint = ""});
  const std::lock_guard lock(one_launch);
  launching = true;
  try {
    simulator().run(launch);
  } catch (...) {
    launching = false;
    throw;
  }
  launching = false;
}

void barrier(const std::source_location& where) { simulator().barrier(where); }

void* dynamic_shared_memory() { return simulator().dynamic_shared_memory(); }

void check_vector(const void* address, size_t bytes) {
  const auto rest = reinterpret_cast<uintptr_t>(address) % bytes;
  if (rest != 0)
    simulator().fault("a vector of " + std::to_string(bytes) + " bytes at a multiple of its size",
                      "an address " + std::to_string(rest) + " bytes past one");
}

void set_order_seed(uint64_t seed) {
  current_seed = seed;
  launches = 0;
}

uint64_t order_seed() { return current_seed; }

}  // namespace millrace::cuda_sim::sim
