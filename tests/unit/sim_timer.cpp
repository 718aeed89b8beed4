// Marks and named ranges on the simulated GPU, where work is done as late as it may.
#include "core/session.h"
#include "cuda/device.h"
#include "cuda/register.h"
#include "cuda/sim/driver_sim.h"
#include "layers/scale.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

namespace millrace {
namespace {

using sim::SimDriver;

struct Machine {
  Machine() : driver(std::make_shared<SimDriver>()), device(driver, "cuda-sim", 0), state(device) {
    static const bool registered = [] {
      cuda_sim::register_kernels(Registry::mutable_registry());
      return true;
    }();
    (void)registered;
  }
  std::shared_ptr<SimDriver> driver;
  CudaDevice device;
  State state;
};

Plan two_scales() {
  Graph g;
  Value first, second;
  const Value x = g.input("x", {7});
  {
    const Graph::Scope scope(g, "a");
    first = scale(g, x, 2);
  }
  {
    const Graph::Scope scope(g, "b");
    second = scale(g, first, 3);
  }
  g.output("first", first);
  g.output("y", second);
  return make_plan(g, {.device = "cuda-sim"});
}

}  // namespace

TEST_CASE("a step is timed with one wait before it and one behind it, and events are made once") {
  Machine m;
  Session s(two_scales(), m.state);
  s.set("x", std::vector<float>(7, 1.f));
  const StepTimes warm = s.run_timed();
  const int64_t waits = m.driver->calls("synchronize_stream"), made = m.driver->calls("create_timed_event");
  CHECK(made == static_cast<int64_t>(s.plan().steps.size()) + 1);
  const int64_t event_waits = m.driver->calls("synchronize_event");
  const auto before = HostClock::now();
  const StepTimes times = s.run_timed();
  const auto after = HostClock::now();
  CHECK(m.driver->calls("synchronize_stream") == waits + 2);
  CHECK(m.driver->calls("create_timed_event") == made);
  CHECK(m.driver->calls("synchronize_event") == event_waits);
  REQUIRE(times.seconds.size() == s.plan().steps.size());
  for (const double t : times.seconds) CHECK(t >= 0);
  CHECK(times.start >= before);
  CHECK(times.queued >= times.start);
  CHECK(times.start + std::chrono::duration<double>(times.total()) <= after);
  CHECK(s.get("y") == std::vector<double>(7, 6.));
}

TEST_CASE("marks take the time of what lies between them, not of what the host does before it queues") {
  Machine m;
  const auto timer = m.device.make_timer();
  const auto sleep = [](int milliseconds) {
    return [=] {
      const auto end = HostClock::now() + std::chrono::milliseconds(milliseconds);
      while (HostClock::now() < end) {
      }
    };
  };
  timer->start();
  SimDriver::run_on(m.device.stream(), sleep(20));
  timer->mark();
  timer->mark();
  const std::vector<double> at = timer->read();
  REQUIRE(at.size() == 2);
  CHECK(at[0] >= .02);
  CHECK(at[1] >= at[0]);
  timer->start();
  CHECK(timer->read().empty());
}

TEST_CASE("an event's time cannot be asked before it is recorded and waited for") {
  SimDriver driver;
  void *stream = nullptr, *first = nullptr, *last = nullptr, *plain = nullptr;
  double seconds = 0;
  REQUIRE(driver.create_stream(stream).ok());
  REQUIRE(driver.create_timed_event(first).ok());
  REQUIRE(driver.create_timed_event(last).ok());
  REQUIRE(driver.create_event(plain).ok());
  CHECK(driver.elapsed_seconds(first, last, seconds).code == kCudaInvalidValue);
  driver.record_event(first, stream);
  driver.record_event(last, stream);
  driver.record_event(plain, stream);
  CHECK(driver.elapsed_seconds(first, last, seconds).code == kCudaNotReady);
  driver.synchronize_stream(stream);
  CHECK(driver.elapsed_seconds(first, last, seconds).ok());
  CHECK(driver.elapsed_seconds(first, plain, seconds).code == kCudaNotReady);
  CHECK(seconds >= 0);
  driver.record_event(last, stream);  // still queued when it goes
  driver.destroy_event(last);
  driver.synchronize_stream(stream);
}

TEST_CASE("each failing call of a timer is told with the device's name") {
  for (const char* call : {"create_timed_event", "record_event", "elapsed_seconds"}) {
    Machine m;
    Session s(two_scales(), m.state);
    m.driver->inject({.call = call, .name = "cudaErrorUnknown"});
    INFO(call);
    CHECK_THAT(test::message_of([&] { s.run_timed(); }), Catch::Matchers::Contains("cuda-sim:0"));
    CHECK(m.driver->open_ranges() == 0);
  }
}

TEST_CASE("each node is a range of its name, also where a launch fails") {
  Machine m;
  Session s(two_scales(), m.state);
  s.run_timed();
  for (const PlanStep& step : s.plan().steps) {
    INFO(step.name);
    bool found = false;
    for (const auto& [name, count] : m.driver->ranges())
      found = found || (name.ends_with(step.name) && count == 1);
    CHECK(found);
  }
  m.driver->inject({.call = "launch", .name = "cudaErrorLaunchOutOfResources"});
  CHECK_THROWS(s.run_timed());
  CHECK(m.driver->open_ranges() == 0);
  CHECK_THROWS(m.device.end_range());  // none is open
}

}  // namespace millrace
