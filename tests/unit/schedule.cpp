#include "optim/schedule.h"

#include <limits>

#include "core/error.h"
#include "tests/catch.h"

using namespace millrace;

TEST_CASE("MotionNet's rate halves at the published steps, from that very update on") {
  const ScheduleOptions s = motionnet_schedule();
  check_schedule(s);
  const std::pair<int64_t, double> expected[] = {
      {0, 3.2e-5},    {99999, 3.2e-5}, {100000, 1.6e-5}, {199999, 1.6e-5}, {200000, 8e-6}, {249999, 8e-6},
      {250000, 4e-6}, {299999, 4e-6},  {300000, 2e-6},   {349999, 2e-6},   {350000, 1e-6}, {399999, 1e-6}};
  for (auto [step, rate] : expected) {
    INFO("step " << step);
    CHECK(rate_at(s, step) == Approx(rate).epsilon(1e-14));
  }
}

TEST_CASE("a schedule without steps is a fixed rate") {
  const ScheduleOptions s{.base = .25};
  check_schedule(s);
  CHECK(rate_at(s, 0) == .25);
  CHECK(rate_at(s, 1000000000) == .25);
}

TEST_CASE("warm-up rises linearly, reaches the base, and goes with the steps") {
  const ScheduleOptions s{.base = 1, .factor = .1, .steps = {2, 10}, .warmup = 4};
  check_schedule(s);
  CHECK(rate_at(s, 0) == Approx(.25));
  CHECK(rate_at(s, 1) == Approx(.5));
  CHECK(rate_at(s, 2) == Approx(.075));  // after a drop inside the warm-up
  CHECK(rate_at(s, 3) == Approx(.1));
  CHECK(rate_at(s, 9) == Approx(.1));
  CHECK(rate_at(s, 10) == Approx(.01));
}

TEST_CASE("schedules that cannot be meant are usage errors") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const ScheduleOptions bad[] = {{.base = -1},
                                 {.base = nan},
                                 {.base = std::numeric_limits<double>::infinity()},
                                 {.base = 1, .factor = 0},
                                 {.base = 1, .factor = nan},
                                 {.base = 1, .steps = {0}},
                                 {.base = 1, .steps = {5, 5}},
                                 {.base = 1, .steps = {5, 4}},
                                 {.base = 1, .warmup = -1}};
  for (const ScheduleOptions& s : bad) {
    INFO("bad schedule " << &s - bad);
    try {
      check_schedule(s);
      FAIL_CHECK("accepted");
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
    }
  }
}
