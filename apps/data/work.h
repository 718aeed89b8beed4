// Numbered items, worked on by several threads under a progress bar.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace millrace {

struct WorkOptions {
  std::string title = {};
  std::string unit = {};
  int64_t count = 0;    // items 0 to count - 1
  int64_t threads = 0;  // 0: as many as the machine has
  // The caller's own words at the end of the bar; called by the thread that called work_on_items.
  std::function<std::string()> status = {};
};

// Calls work(item) once for each item, from several threads, in about this order. After a signal
// (stop_requested) or an exception no further item is begun; the first exception is thrown again when all
// threads have ended. Returns the number of items done.
int64_t work_on_items(const WorkOptions& options, const std::function<void(int64_t item)>& work);

}  // namespace millrace
