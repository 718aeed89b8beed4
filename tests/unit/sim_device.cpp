// The device layer on the simulation: memory, inputs that arrive beside the running step, recorded steps, and
// sessions that give what they give on the CPU.
#include "core/add.h"
#include "core/session.h"
#include "cuda/device.h"
#include "cuda/launch.cuh"
#include "cuda/register.h"
#include "cuda/sim/driver_sim.h"
#include "layers/scale.h"
#include "layers/sub.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 32;

__global__ void __launch_bounds__(kBlock) add_to(float* sum, const float* x, float factor, int count) {
  const auto i = static_cast<int>(global_thread());
  if (i < count) sum[i] += factor * x[i];
}

struct Floats {
  float* data;
  int count;
};

void queue_add(Device& device, Floats sum, const float* x, float factor = 1) {
  launch(add_to, {.grid = blocks_for(sum.count, kBlock), .block = kBlock}, device.stream(), sum.data, x,
         factor, sum.count);
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS

namespace millrace {
namespace {

using cuda_sim::queue_add;
using sim::SimDriver;
using sim::SimMachine;
using test::message_of;

constexpr int kCount = 40;
using Numbers = std::vector<float>;

struct Machine {
  explicit Machine(SimMachine what = {})
      : driver(std::make_shared<SimDriver>(std::move(what))), device(driver, "cuda-sim", 0) {
    static const bool registered = [] {
      cuda_sim::register_kernels(Registry::mutable_registry());
      return true;
    }();
    (void)registered;
  }
  std::shared_ptr<SimDriver> driver;
  CudaDevice device;
};

Numbers download(Device& device, const Memory& memory) {
  Numbers result(kCount);
  device.download(result.data(), memory.data(), kCount * 4);
  return result;
}

Memory zeros(Device& device) {
  Memory memory(device, kCount * 4);
  device.fill_bytes(memory.data(), 0, kCount * 4);
  return memory;
}

// y = (a + b) - 3 a
Graph small_graph() {
  Graph g;
  const Value a = g.input("a", {2, 5}), b = g.input("b", {2, 5});
  g.output("y", sub(g, add(g, a, b), scale(g, a, 3)));
  return g;
}

}  // namespace

TEST_CASE("memory is filled, uploaded and downloaded in the order of the calls") {
  Machine m;
  const Memory memory = zeros(m.device);
  Numbers values(kCount, 2);
  CHECK(download(m.device, memory) == Numbers(kCount, 0));
  m.device.upload(memory.data(), values.data(), kCount * 4);
  values.assign(kCount, 9);  // the host's memory is free again
  CHECK(download(m.device, memory) == Numbers(kCount, 2));
  m.device.fill_bytes(memory.data(), 0, 4);
  values = Numbers(kCount, 2);
  values[0] = 0;
  CHECK(download(m.device, memory) == values);
}

TEST_CASE("each step finds its own input, whose memory is free again at once, and nothing is allocated") {
  Machine m;
  const Memory sum = zeros(m.device), input = zeros(m.device);
  m.device.reserve_input(kCount * 4);
  const int64_t allocations = m.driver->calls("allocate") + m.driver->calls("allocate_pinned");
  float expected = 0;
  for (int step = 1; step <= 10; ++step) {
    Numbers values(kCount, static_cast<float>(step));
    m.device.upload_input(input.data(), values.data(), kCount * 4);
    values.assign(kCount, -100);
    queue_add(m.device, {static_cast<float*>(sum.data()), kCount}, static_cast<const float*>(input.data()));
    expected += static_cast<float>(step);
  }
  CHECK(download(m.device, sum) == Numbers(kCount, expected));
  CHECK(m.driver->calls("allocate") + m.driver->calls("allocate_pinned") == allocations);
  CHECK(m.driver->calls("copy_within") == 10);
}

TEST_CASE("a slot is written again only when its last input has arrived") {
  Machine m;
  m.device.reserve_input(kCount * 4);
  std::vector<Memory> inputs;
  for (int k = 0; k < 10; ++k) inputs.push_back(zeros(m.device));
  m.device.synchronize();
  for (int k = 0; k < 10; ++k) {
    const Numbers values(kCount, static_cast<float>(k));
    m.device.upload_input(inputs[static_cast<size_t>(k)].data(), values.data(), kCount * 4);
  }
  for (int k = 0; k < 10; ++k)
    CHECK(download(m.device, inputs[static_cast<size_t>(k)]) == Numbers(kCount, static_cast<float>(k)));
}

TEST_CASE("an input too large for the slots is copied all the same") {
  Machine m;
  const Memory input = zeros(m.device);
  const Numbers values(kCount, 7);
  m.device.upload_input(input.data(), values.data(), kCount * 4);
  CHECK(download(m.device, input) == values);
  CHECK(m.driver->calls("copy_within") == 0);
}

TEST_CASE("inputs are copied to the device while the step before is still queued") {
  Machine m;
  const Memory input = zeros(m.device);
  m.device.reserve_input(kCount * 4);
  const int64_t waits = m.driver->calls("synchronize_stream");
  const Numbers values(kCount, 7);
  for (int k = 0; k < 3; ++k) m.device.upload_input(input.data(), values.data(), kCount * 4);
  CHECK(m.driver->calls("synchronize_stream") == waits);
}

TEST_CASE("a recorded step reads the inputs of its own time, and what the host said then is baked in") {
  Machine m;
  const Memory sum = zeros(m.device), input = zeros(m.device);
  m.device.reserve_input(kCount * 4);
  float factor = 2;
  const auto step = [&] {
    queue_add(m.device, {static_cast<float*>(sum.data()), kCount}, static_cast<const float*>(input.data()),
              factor);
    m.device.fill_bytes(sum.at(0), 0, 4);
  };
  const std::unique_ptr<Recording> recording = m.device.record(step);
  REQUIRE(recording);
  CHECK(download(m.device, sum) == Numbers(kCount, 0));  // recorded, not done
  factor = 100;
  for (const float value : {1.f, 10.f}) {
    const Numbers values(kCount, value);
    m.device.upload_input(input.data(), values.data(), kCount * 4);
    recording->launch();
  }
  Numbers expected(kCount, 22);
  expected[0] = 0;
  CHECK(download(m.device, sum) == expected);
}

TEST_CASE("a recording that fails leaves the device usable") {
  Machine m;
  const Memory sum = zeros(m.device);
  CHECK_THROWS_AS(m.device.record([] { fail(ErrorKind::runtime, {"step", "one", "none", ""}); }), Error);
  m.device.fill_bytes(sum.data(), 0xff, 4);
  CHECK(std::isnan(download(m.device, sum)[0]));
}

TEST_CASE("everything that was made is given back") {
  Machine* m = new Machine;
  const std::shared_ptr<SimDriver> driver = m->driver;
  {
    const Memory memory = zeros(m->device);
    m->device.reserve_input(1000);
    m->device.reserve_input(100000);
    m->device.upload_input(memory.data(), Numbers(kCount).data(), kCount * 4);
    m->device.record([] {})->launch();
  }
  delete m;
  CHECK(driver->alive() == 0);
}

TEST_CASE("a session gives on the simulated GPU what it gives on the CPU") {
  Machine m;
  const auto cpu = make_device("cpu");
  const Numbers a{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, b{3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  std::vector<std::vector<double>> results;
  for (Device* device : {static_cast<Device*>(&m.device), cpu.get()}) {
    State state(*device);
    for (const bool wait : {false, true}) {
      Session s(make_plan(small_graph(), {.device = device->name()}), state,
                {.arena = nullptr, .poison = true, .wait_for_nodes = wait});
      s.set("a", a);
      s.set("b", b);
      s.run();
      s.run();
      CHECK_FALSE(s.run_checked());
      CHECK(s.run_timed().seconds.size() == s.plan().steps.size());
      results.push_back(s.get("y"));
    }
  }
  for (const auto& result : results) CHECK(result == results.front());
}

TEST_CASE("a plan that does not fit is refused before anything is allocated, with what it needs") {
  SimMachine small;
  small.gpu.memory_bytes = 1000;
  Machine m(small);
  State state(m.device);
  const Plan plan = make_plan(small_graph(), {.device = "cuda-sim"});
  const std::string message = message_of([&] { Session(plan, state); });
  CHECK_THAT(message, Catch::Matchers::Contains("MiB of free memory (activations") &&
                          Catch::Matchers::Contains("a smaller --batch"));
  CHECK(m.driver->calls("allocate") == 0);
  const MemoryNeed need = memory_need({&plan}, state);
  CHECK(need.arena == plan.arena_bytes);
  CHECK(need.inputs == 2 * kAlignment);
  CHECK(need.staging == 3 * kAlignment);
}

}  // namespace millrace
