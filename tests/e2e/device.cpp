// The programs on the simulated GPU, and what they say of a GPU that is not there or fails. cuda-sim runs the
// CUDA kernels; statuses are injected into its driver by MILLRACE_SIM_FAULT.
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "data/flow.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

json devices() {
  const Result result = Process("millrace-data", {"inspect", "--device", "--json"}).wait();
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

std::optional<json> backend(const std::string& name) {
  const json all = devices();
  for (const json& found : all["backends"]) {
    if (found["name"] == name) return found;
  }
  return std::nullopt;
}

bool simulator_built_in() {
  if (backend("cuda-sim")) return true;
  std::cout << "skipped: cuda-sim is not in this build\n";
  return false;
}

// For the programs that are started while it lives.
struct InjectedFault {
  explicit InjectedFault(const std::string& fault) { ::setenv("MILLRACE_SIM_FAULT", fault.c_str(), 1); }
  ~InjectedFault() { ::unsetenv("MILLRACE_SIM_FAULT"); }
};

std::vector<std::string> run_on(const std::string& device, const fs::path& out,
                                const std::string& more = "") {
  return join(join({"--data", "synthetic:", "--out", out.string(), "--device", device, "--checkpoint-every",
                    "1", "--iterations", "6"},
                   tiny()),
              words(more));
}

void require_done(const Result& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
}

}  // namespace

TEST_CASE("inspect --device lists the CPU and why there is no GPU or which") {
  const json found = devices();
  CHECK(found["kind"] == "devices");
  const auto cpu = backend("cpu");
  REQUIRE(cpu);
  CHECK((*cpu)["usable"] == true);
  CHECK((*cpu)["devices"][0]["name"] == "cpu");

  const Result text = Process("millrace-data", {"inspect", "--device"}).wait();
  CHECK_THAT(text.out, Contains("cpu  ") && Contains("cuda  ") && Contains("auto       takes "));
  const auto cuda = backend("cuda");
  if (!cuda || (*cuda)["usable"] == false) {
    CHECK(found["auto"] == "cpu");
    CHECK_THAT(text.out, cuda ? Contains((*cuda)["trouble"].get<std::string>()) : Contains("nvcc"));
  }
  require_failure(Process("millrace-data", {"inspect"}).wait(), {2, {"a path, or --device"}});
}

TEST_CASE("cuda where it cannot be used is an error that names a way out, and leaves no run") {
  const auto cuda = backend("cuda");
  if (cuda && (*cuda)["usable"] == true) {
    std::cout << "skipped: there is a GPU\n";
    return;
  }
  const TemporaryFolder folder;
  require_failure(train(run_on("cuda", folder / "run")),
                  {4, {cuda ? "--device cpu computes without it" : "nvcc"}});
  CHECK_FALSE(fs::exists(folder / "run"));
}

TEST_CASE("a run on the simulated GPU is one on the CPU but for the last digits, and goes on there") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const fs::path gpu = folder / "gpu", cpu = folder / "cpu";
  require_done(train(run_on("cuda-sim", gpu)));
  require_done(train(run_on("cpu", cpu)));
  const auto on_gpu = metrics_of(gpu), on_cpu = metrics_of(cpu);
  REQUIRE(on_gpu.size() == 6);
  for (size_t k = 0; k < on_gpu.size(); ++k) {
    const auto a = on_gpu[k]["loss"].get<double>(), b = on_cpu[k]["loss"].get<double>();
    INFO("step " << k + 1 << ": " << a << " and " << b);
    CHECK(std::abs(a - b) <= 1e-3 * b);
  }
  CHECK_THAT(json::parse(bytes_of(gpu / "env.json"))["device"].get<std::string>(),
             Contains("simulated GPU") && Contains("driver 13.0, runtime 13.0"));
  // Another device gives other last bits: that is told, and checkpoints fit all the same.
  const std::vector<std::string> go_on = {"--resume",     "--out", gpu.string(), "--device", "cpu",
                                          "--iterations", "7",     "--threads",  "1"};
  require_failure(train(go_on), {2, {"--resume: ", "--allow-drift"}});
  require_done(train(join(go_on, {"--allow-drift"})));
  CHECK(metrics_of(gpu).size() == 7);
}

TEST_CASE("flow on the simulated GPU is that of the CPU") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "run");
  write_frames(folder / "frames", {0, 2}, {64, 64});
  std::vector<Flow> flows;
  for (const std::string device : {"cuda-sim", "cpu"}) {
    require_done(flow({"--weights", weights.string(), "--data", (folder / "frames").string(), "--device",
                       device, "--out", (folder / device).string(), "--format", "flo", "--native"}));
    flows.push_back(read_flo((folder / device / "frames" / "flow_00001.flo").string()));
  }
  REQUIRE(flows[0].uv.size() == flows[1].uv.size());
  REQUIRE(!flows[0].uv.empty());
  size_t far = 0;
  for (size_t k = 0; k < flows[0].uv.size(); ++k)
    far += !(std::abs(flows[0].uv[k] - flows[1].uv[k]) <= 1e-4f);
  CHECK(far == 0);
}

TEST_CASE(
    "a launch that fails ends a run with code 4, its last checkpoint is whole, and the run goes on to the "
    "last bit") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const fs::path whole = folder / "whole", cut = folder / "cut";
  require_done(train(run_on("cuda-sim", whole)));
  {
    const InjectedFault fault("launch:250:cudaErrorLaunchFailure");  // of a step some way in
    const Result result = train(run_on("cuda-sim", cut));
    require_failure(result, {4, {"node ", "cudaErrorLaunchFailure", "--resume --out"}});
  }
  const fs::path saved = latest_of(cut);
  const std::string step = saved.filename().string();
  CHECK(step > "step_000000");
  CHECK(step < "step_000006");
  const Result inspected = Process("millrace-data", {"inspect", saved.string()}).wait();
  CHECK(inspected.code == 0);
  require_done(train({"--resume", "--out", cut.string(), "--threads", "1"}));
  for (const char* file : {"model.safetensors", "state.safetensors"})
    CHECK((bytes_of(latest_of(cut) / file) == bytes_of(latest_of(whole) / file)));
}

TEST_CASE("a fault that only shows when a step is waited for names the node with --wait-for-nodes") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const InjectedFault fault("kernel:250:cudaErrorIllegalAddress");
  require_failure(train(run_on("cuda-sim", folder / "a", "--wait-for-nodes")),
                  {4, {"node ", "cudaErrorIllegalAddress", "memory outside of its own", "goes on from"}});
}

TEST_CASE("a run that the device has no room for is refused from its plan") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  require_failure(train(run_on("cuda-sim", folder / "run", "--height 2048 --width 2048 --batch 512")),
                  {4, {"MiB of free memory (activations", "got 65536 MiB", "smaller --batch"}});
  CHECK_FALSE(fs::exists(folder / "run"));
}

TEST_CASE("no memory on the device: said before anything is computed, and the folder can be used again") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const InjectedFault fault("allocate:2:cudaErrorMemoryAllocation");
  require_failure(train(run_on("cuda-sim", folder / "run")),
                  {4, {"MiB of memory, of which", "no memory left on it"}});
  CHECK_FALSE(fs::exists(folder / "run"));
}

TEST_CASE("a batch that is not finite ends a run on the simulated GPU with code 5 and the node") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const Result result = train(run_on("cuda-sim", folder / "run", "--learning-rate 1e30"));
  require_failure(result, {5, {"step ", "first in "}});
}

TEST_CASE("a wrong MILLRACE_SIM_FAULT is refused") {
  if (!simulator_built_in()) return;
  for (const char* wrong : {"launch", "launch:x:cudaErrorUnknown", "launch:0:cudaErrorUnknown", ":"}) {
    const InjectedFault fault(wrong);
    require_failure(Process("millrace-data", {"inspect", "--device"}).wait(), {2, {"MILLRACE_SIM_FAULT"}});
  }
}
