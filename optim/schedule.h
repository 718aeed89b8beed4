// Learning rates as a function of the step: host code, no op.
//
//   rate(step) = base * factor^(number of `steps` at or before `step`) * min(1, (step + 1) / warmup)
//
// `step` counts updates from 0, as Caffe's multistep policy does: with steps {100000} the first update at the
// new rate is number 100000. No `steps`: a fixed rate.
#pragma once

#include <cstdint>
#include <vector>

namespace millrace {

struct ScheduleOptions {
  double base = 0;
  double factor = .5;
  std::vector<int64_t> steps{};  // rising
  int64_t warmup = 0;            // updates over which the rate rises linearly from base / warmup
};

// Throws ErrorKind::usage on options that cannot be meant.
void check_schedule(const ScheduleOptions& options);

double rate_at(const ScheduleOptions& options, int64_t step);

// MotionNet as published in code (unsup solver.prototxt of Hidden-Two-Stream): the paper halves every 100,000
// updates, the code also at 250,000 and 350,000. Training ends at 400,000.
ScheduleOptions motionnet_schedule();

}  // namespace millrace
