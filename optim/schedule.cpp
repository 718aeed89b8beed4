#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"

namespace millrace {

void check_schedule(const ScheduleOptions& o) {
  auto refuse = [](const char* expected, const std::string& got) {
    fail(ErrorKind::usage, {"learning-rate schedule", expected, got, ""});
  };
  if (!(o.base >= 0) || !std::isfinite(o.base)) refuse("a rate of 0 or more", std::to_string(o.base));
  if (!(o.factor > 0) || !std::isfinite(o.factor)) refuse("a factor above 0", std::to_string(o.factor));
  if (o.warmup < 0) refuse("a warm-up of 0 steps or more", std::to_string(o.warmup));
  for (size_t k = 0; k < o.steps.size(); ++k) {
    if (o.steps[k] > (k ? o.steps[k - 1] : 0)) continue;
    refuse("steps above 0 that rise", std::to_string(o.steps[k]) + " at place " + std::to_string(k));
  }
}

double rate_at(const ScheduleOptions& o, int64_t step) {
  const auto drops = std::upper_bound(o.steps.begin(), o.steps.end(), step) - o.steps.begin();
  const double rate = o.base * std::pow(o.factor, static_cast<double>(drops));
  return step < o.warmup ? rate * static_cast<double>(step + 1) / static_cast<double>(o.warmup) : rate;
}

ScheduleOptions motionnet_schedule() {
  return {.base = 3.2e-5, .factor = .5, .steps = {100000, 200000, 250000, 300000, 350000}, .warmup = 0};
}

}  // namespace millrace
