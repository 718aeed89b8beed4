#include "apps/data/work.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "apps/support/program.h"
#include "core/log.h"

namespace millrace {
namespace {

struct Shared {
  std::mutex mutex;
  std::condition_variable changed;
  int64_t next = 0, done = 0, running = 0;
  std::exception_ptr failure;
};

void work_thread(const WorkOptions& options, const std::function<void(int64_t)>& work, Shared& shared) {
  std::unique_lock lock(shared.mutex);
  while (shared.next < options.count && !shared.failure && !stop_requested()) {
    const int64_t item = shared.next++;
    lock.unlock();
    std::exception_ptr failure;
    try {
      work(item);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (!failure) ++shared.done;
    if (failure && !shared.failure) shared.failure = failure;
  }
  --shared.running;
  shared.changed.notify_all();
}

}  // namespace

int64_t work_on_items(const WorkOptions& options, const std::function<void(int64_t)>& work) {
  const int64_t all = std::max<int64_t>(1, std::thread::hardware_concurrency());
  const int64_t count = std::clamp<int64_t>(options.threads > 0 ? options.threads : all, 1,
                                            std::max<int64_t>(1, options.count));
  Shared shared;
  shared.running = count;
  ProgressBar bar(log(), {.title = options.title, .unit = options.unit, .total = options.count});
  std::vector<std::jthread> threads;
  for (int64_t k = 0; k < count; ++k) threads.emplace_back([&] { work_thread(options, work, shared); });
  std::unique_lock lock(shared.mutex);
  while (shared.running > 0) {
    shared.changed.wait_for(lock, std::chrono::milliseconds(100));
    const int64_t done = shared.done;
    lock.unlock();
    bar.update(done, options.status ? options.status() : "");
    lock.lock();
  }
  if (shared.failure) std::rethrow_exception(shared.failure);
  return shared.done;
}

}  // namespace millrace
