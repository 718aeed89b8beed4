// The numbers of training steps on their way from the device's ring (optim/metrics.h) to the host: queued
// behind each step, read when they have arrived, so that the device need not stand still.
#pragma once

#include <memory>
#include <vector>

#include "core/state.h"
#include "optim/metrics.h"

namespace millrace {

struct MetricsReaderOptions {
  MetricsRing ring;
  int64_t rows_of_step = 1;
  int64_t steps = 1;  // most that are queued before the first is read
};

class MetricsReader {
 public:
  // The State has the ring, which no step has written yet.
  MetricsReader(State& state, const MetricsReaderOptions& options);

  // To be called behind each step.
  void queue();
  int64_t queued() const { return queued_ - read_; }
  // The rows of the first step that was not read; waits for it, and not for those behind it.
  std::vector<std::vector<double>> next();
  // Empties the ring, so that nothing in it stops a step.
  void reset();

 private:
  State& state_;
  MetricsReaderOptions options_;
  std::vector<std::unique_ptr<Readback>> readbacks_;
  int64_t queued_ = 0, read_ = 0;  // steps
};

}  // namespace millrace
