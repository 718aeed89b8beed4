// Each way in which a GPU can be missing or fail: what is said, and what is done instead. The statuses are
// injected behind the device layer's thin lower side.
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "core/add.h"
#include "core/log.h"
#include "core/session.h"
#include "cuda/device.h"
#include "cuda/register.h"
#include "cuda/sim/driver_sim.h"
#include "layers/scale.h"
#include "layers/sub.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

namespace millrace {
namespace {

using Catch::Matchers::Contains;
using sim::SimDriver;
using sim::SimFault;
using sim::SimMachine;
using test::message_of;

std::shared_ptr<SimDriver> driver_of(const SimMachine& machine, const std::vector<SimFault>& faults) {
  static const bool registered = [] {
    cuda_sim::register_kernels(Registry::mutable_registry());
    return true;
  }();
  (void)registered;
  auto driver = std::make_shared<SimDriver>(machine);
  for (const SimFault& fault : faults) driver->inject(fault);
  return driver;
}

// From here on it is the GPU that "auto" and "cuda" find.
std::shared_ptr<SimDriver> install(const SimMachine& machine, const std::vector<SimFault>& faults) {
  auto driver = driver_of(machine, faults);
  add_cuda_backend(Registry::mutable_registry(), {.name = "cuda", .automatic = true, .driver = driver});
  return driver;
}

std::vector<std::string> log_lines_of(const std::function<void()>& f) {
  const test::TemporaryFolder folder;
  log().set_file(folder / "log");
  f();
  std::ifstream file(folder / "log");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

struct Missing {
  const char* what;
  SimMachine machine = {};
  std::vector<SimFault> faults = {};
  std::vector<std::string> said = {};
};

SimMachine with_driver(int version) {
  SimMachine machine;
  machine.driver_version = version;
  return machine;
}
SimMachine with_gpus(int gpus) {
  SimMachine machine;
  machine.gpus = gpus;
  return machine;
}
SimMachine compiled_for(const char* architectures) {
  SimMachine machine;
  machine.architectures = architectures;
  return machine;
}

std::vector<Missing> ways_to_miss() {
  return {
      {.what = "no driver",
       .machine = with_driver(0),
       .faults = {{"device_count", 1, "cudaErrorInsufficientDriver"}},
       .said = {"no NVIDIA driver", "cudaErrorInsufficientDriver", "libcuda.so.1"}},
      {.what = "driver too old",
       .machine = with_driver(12040),
       .faults = {{"device_count", 1, "cudaErrorInsufficientDriver"}},
       .said = {"a driver for CUDA 12.4, older than this program's 13.0", "newer driver"}},
      {.what = "stub",
       .faults = {{"device_count", 1, "cudaErrorStubLibrary"}},
       .said = {"stub", "LD_LIBRARY_PATH"}},
      {.what = "no device",
       .faults = {{"device_count", 1, "cudaErrorNoDevice"}},
       .said = {"got none", "CUDA_VISIBLE_DEVICES"}},
      {.what = "none counted", .machine = with_gpus(0), .said = {"got none", "cudaErrorNoDevice"}},
      {.what = "busy",
       .faults = {{"use_device", 1, "cudaErrorDevicesUnavailable"}},
       .said = {"another process has for itself", "simulated GPU", "nvidia-smi"}},
      {.what = "no memory for a context",
       .faults = {{"use_device", 1, "cudaErrorMemoryAllocation"}},
       .said = {"no memory left on it", "nvidia-smi"}},
      {.what = "architecture",
       .machine = compiled_for("80-real"),
       .said = {"compute capability 9.0", "kernels for 80-real", "-DCMAKE_CUDA_ARCHITECTURES=90"}},
      {.what = "not ready",
       .faults = {{"use_device", 1, "cudaErrorSystemNotReady"}},
       .said = {"Try again later"}},
      {.what = "mismatch",
       .faults = {{"device_count", 1, "cudaErrorSystemDriverMismatch"}},
       .said = {"reboot"}},
      {.what = "another", .faults = {{"properties", 1, "cudaErrorUnknown"}}, .said = {"cudaErrorUnknown"}},
      {.what = "a stream is refused",
       .faults = {{"create_stream", 2, "cudaErrorMemoryAllocation"}},
       .said = {"a stream", "no memory left on it"}},
  };
}

struct Run {
  std::shared_ptr<SimDriver> driver;
  std::unique_ptr<CudaDevice> device;
  std::unique_ptr<State> state;
  std::unique_ptr<Session> session;
};

// y = (a + b) - 3 a in three nodes.
Run small_run(const std::vector<SimFault>& faults, bool wait_for_nodes = false) {
  Run run;
  run.driver = driver_of({}, {});
  run.device = std::make_unique<CudaDevice>(run.driver, "cuda-sim", 0);
  run.state = std::make_unique<State>(*run.device);
  Graph g;
  const Value a = g.input("a", {2, 5}), b = g.input("b", {2, 5});
  g.output("y", sub(g, add(g, a, b), scale(g, a, 3)));
  run.session = std::make_unique<Session>(
      make_plan(g, {.device = "cuda-sim"}), *run.state,
      SessionOptions{.arena = nullptr, .poison = false, .wait_for_nodes = wait_for_nodes});
  for (const SimFault& fault : faults) run.driver->inject(fault);
  return run;
}

}  // namespace

TEST_CASE("auto takes the CPU where no GPU can be used, and one line says why") {
  for (const Missing& missing : ways_to_miss()) {
    INFO(missing.what);
    install(missing.machine, missing.faults);
    std::string name;
    const auto lines = log_lines_of([&] { name = make_device("auto")->name(); });
    CHECK(name == "cpu");
    REQUIRE(lines.size() == 1);
    CHECK_THAT(lines[0], Contains("no GPU is used, the CPU is"));
    for (const std::string& part : missing.said) CHECK_THAT(lines[0], Contains(part));
  }
}

TEST_CASE("cuda by name is then an error in the same words, which names a way out") {
  for (const Missing& missing : ways_to_miss()) {
    INFO(missing.what);
    install(missing.machine, missing.faults);
    try {
      make_device("cuda");
      FAIL("a device was made");
    } catch (const Error& e) {
      CHECK(e.exit_code() == 4);
      for (const std::string& part : missing.said) CHECK_THAT(e.what(), Contains(part));
      CHECK_THAT(e.what(), Contains("--device cpu"));
    }
  }
}

TEST_CASE("what cannot be used is listed with the reason") {
  const auto find = [](const SimMachine& machine, const std::vector<SimFault>& faults) {
    return find_cuda_devices(*driver_of(machine, faults), "cuda");
  };
  const FoundDevices none = find(with_driver(0), {{"device_count", 1, "cudaErrorInsufficientDriver"}});
  CHECK(none.devices.empty());
  CHECK_THAT(none.trouble, Contains("no NVIDIA driver"));
  CHECK(none.driver.empty());
  CHECK(none.runtime == "13.0");

  const FoundDevices two = find(with_gpus(2), {{"use_device", 1, "cudaErrorDevicesUnavailable"}});
  REQUIRE(two.devices.size() == 2);
  CHECK_THAT(two.devices[0].trouble, Contains("another process"));
  CHECK(two.devices[1].trouble.empty());
  CHECK(two.devices[1].name == "cuda:1");
  CHECK(two.devices[1].capability == "9.0");
  CHECK(two.devices[1].free_bytes == int64_t{64} << 30);
  CHECK(two.trouble.empty());
  CHECK(two.driver == "13.0");
}

TEST_CASE("of several GPUs the first that can be used is taken, and then that one again") {
  const auto driver = install(with_gpus(2), {{"use_device", 1, "cudaErrorDevicesUnavailable"}});
  CHECK(make_device("auto")->name() == "cuda");
  const int64_t tried = driver->calls("properties");
  CHECK(make_device("cuda")->name() == "cuda");
  CHECK(driver->calls("properties") == tried + 2);  // GPU 0 is not tried again
  CHECK_THAT(message_of([] { make_device("cuda:7"); }), Contains("none of this number"));
}

TEST_CASE("names that are no device are refused with those that are") {
  install({}, {});
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cpu:0", ""}) {
    INFO(name);
    CHECK_THAT(message_of([&] { make_device(name); }), Contains("auto, cpu, cuda or cuda:<number>"));
  }
}

TEST_CASE("which GPUs code was compiled for") {
  const std::string usual = "80-real;90-real;90-virtual";
  CHECK_FALSE(has_code_for(usual, 7, 5));
  CHECK(has_code_for(usual, 8, 0));
  CHECK(has_code_for(usual, 8, 9));
  CHECK(has_code_for(usual, 9, 0));
  CHECK(has_code_for(usual, 10, 0));
  CHECK(has_code_for(usual, 12, 1));
  CHECK_FALSE(has_code_for("86-real", 8, 0));
  CHECK_FALSE(has_code_for("80-real", 9, 0));
  CHECK(has_code_for("80", 9, 0));
  CHECK(has_code_for("90a-real", 9, 0));
  CHECK_FALSE(has_code_for("90a-real", 10, 0));
  CHECK(has_code_for("native", 8, 6));
}

TEST_CASE("a launch that fails names the node, the kernel and the status") {
  Run run = small_run({{"launch", 2, "cudaErrorLaunchOutOfResources"}});
  const std::string name = run.session->plan().steps[1].name;
  const std::string message = message_of([&] { run.session->run(); });
  CHECK_THAT(message,
             Contains("node " + name) && Contains("cudaErrorLaunchOutOfResources") && Contains("cuda/"));
}

TEST_CASE("a fault that shows when the step is waited for says between which nodes") {
  Run run = small_run({{"kernel", 3, "cudaErrorIllegalAddress"}});
  run.session->run();
  const std::string message = message_of([&] { run.session->wait(); });
  CHECK_THAT(message, Contains("one of 3 nodes from") && Contains("--wait-for-nodes") &&
                          Contains("cudaErrorIllegalAddress") && Contains("memory outside of its own") &&
                          Contains("cannot use the GPU any more"));
  // Nothing goes on behind it, and nothing throws when it is cleared away.
  CHECK_THAT(message_of([&] { run.session->run(); }), Contains("cudaErrorIllegalAddress"));
  CHECK_THAT(message_of([&] { run.session->get("y"); }), Contains("cudaErrorIllegalAddress"));
}

TEST_CASE("a session that waits for its nodes names the one") {
  Run run = small_run({{"kernel", 2, "cudaErrorIllegalAddress"}}, true);
  const std::string name = run.session->plan().steps[1].name;
  CHECK_THAT(message_of([&] { run.session->run(); }),
             Contains("node " + name) && Contains("cudaErrorIllegalAddress"));
}

TEST_CASE("whatever is refused while a device is made or used, nothing is leaked") {
  for (const char* call :
       {"versions", "properties", "use_device", "create_stream", "create_event", "allocate",
        "allocate_pinned", "copy_in", "copy_out", "copy_within", "fill", "record_event", "wait_event",
        "synchronize_event", "begin_capture", "end_capture", "launch_graph"}) {
    for (int64_t nth = 1; nth <= 3; ++nth) {
      INFO(call << " " << nth);
      const auto driver = driver_of({}, {{call, nth, "cudaErrorUnknown"}});
      const std::string message = message_of([&] {
        CudaDevice device(driver, "cuda-sim", 0);
        const Memory memory(device, 1000), other(device, 1000);
        device.reserve_input(100);
        std::vector<char> host(100);
        for (int k = 0; k < 4; ++k) {
          device.fill_bytes(memory.data(), 0, 100);
          device.upload_input(memory.data(), host.data(), 100);
          device.upload(memory.data(), host.data(), 100);
          device.download(host.data(), memory.data(), 100);
          device.record([&] { device.fill_bytes(memory.data(), 1, 100); })->launch();
        }
      });
      if (driver->calls(call) >= nth) CHECK_THAT(message, Contains("cudaErrorUnknown"));
      CHECK(driver->alive() == 0);
    }
  }
}

TEST_CASE("no memory on the device: what was wanted and what is free") {
  SimMachine small;
  small.gpu.memory_bytes = 3 << 20;
  const auto driver = driver_of(small, {});
  CudaDevice device(driver, "cuda-sim", 0);
  const Memory most(device, 2 << 20);
  CHECK_THAT(message_of([&] { Memory(device, 2 << 20); }),
             Contains("2.0 MiB of memory, of which 1.0 are free") && Contains("no memory left on it"));
}

TEST_CASE("a value that is not finite is found in its node") {
  Run run = small_run({});
  std::vector<float> a(10, 1), b(10, 1);
  b[4] = std::numeric_limits<float>::quiet_NaN();
  run.session->set("a", a);
  run.session->set("b", b);
  run.session->run();  // the device does not mind
  const std::optional<BadNode> bad = run.session->run_checked();
  REQUIRE(bad);
  CHECK(bad->element == 4);
  CHECK_THAT(bad->node, Contains("add"));
}

}  // namespace millrace
