// Timer: when a device passed marks that were queued between pieces of work, so that each piece is timed
// without being waited for. NamedRange: names for what the host does, for profilers (NVTX).
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "core/device.h"

namespace millrace {

using HostClock = std::chrono::steady_clock;

class Timer {
 public:
  virtual ~Timer() = default;
  // Waits for all that is queued, so that the host's clock and the device's meet here. Forgets all marks.
  virtual void start() = 0;
  virtual void mark() = 0;  // behind what is queued
  // Waits for all marks. Seconds from start() to each.
  virtual std::vector<double> read() = 0;
  HostClock::time_point started() const { return started_; }

 protected:
  HostClock::time_point started_;
};

// Of a run of a plan, node by node.
struct StepTimes {
  HostClock::time_point start;   // when the first node could begin
  HostClock::time_point queued;  // when the host had queued the last
  // Per step of the plan. The nodes lie end to end: where the device waits for the host, the wait counts as
  // part of the node behind it.
  std::vector<double> seconds;

  double total() const;
};

class NamedRange {
 public:
  NamedRange(Device& device, const char* name) : device_(device) { device_.begin_range(name); }
  NamedRange(const NamedRange&) = delete;
  NamedRange& operator=(const NamedRange&) = delete;
  ~NamedRange() { device_.end_range(); }

 private:
  Device& device_;
};

}  // namespace millrace
