// Training on the simulated GPU in recorded steps, several of them in flight: the same run as node by node,
// and what a signal, a number that is not finite and a failing device leave of it.
#include <signal.h>

#include <cstdlib>
#include <iostream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

bool simulator_built_in() {
  const Result result = Process("millrace-data", {"inspect", "--device", "--json"}).wait();
  const json all = parse_only_line(result.out);
  for (const json& found : all["backends"]) {
    if (found["name"] == "cuda-sim") return true;
  }
  std::cout << "skipped: cuda-sim is not in this build\n";
  return false;
}

// For the programs that are started while it lives.
struct InjectedFault {
  explicit InjectedFault(const std::string& fault) { ::setenv("MILLRACE_SIM_FAULT", fault.c_str(), 1); }
  ~InjectedFault() { ::unsetenv("MILLRACE_SIM_FAULT"); }
};

// The smallest net there is: simulated, a step of the tests' usual one takes a second, and ten under the
// sanitizers.
std::vector<std::string> arguments(const fs::path& out, const std::string& more) {
  return join(join({"--data", "synthetic:", "--out", out.string(), "--device", "cuda-sim"}, tiny()),
              words("--net tiny-motionnet --height 16 --width 16 " + more));
}

void require_done(const Result& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
}

// Checkpoints and metrics but for times.
void require_equal_runs(const fs::path& a, const fs::path& b) {
  CHECK(latest_of(a).filename() == latest_of(b).filename());
  for (const char* file : {"model.safetensors", "state.safetensors"})
    CHECK((bytes_of(latest_of(a) / file) == bytes_of(latest_of(b) / file)));
  const auto lines = [](const fs::path& run) {
    std::vector<json> all = metrics_of(run);
    for (json& line : all) line.erase("seconds");
    return all;
  };
  CHECK(lines(a) == lines(b));
}

void require_resumable(const fs::path& cut, const fs::path& whole) {
  require_done(train({"--resume", "--out", cut.string(), "--threads", "1"}));
  require_equal_runs(cut, whole);
}

}  // namespace

TEST_CASE("recorded steps and --no-capture make equal runs") {
  if (!simulator_built_in()) return;
  const std::string more =
      GENERATE("--precision bf16 --hold-out 0", "--accumulate 3 --clip 1 --weight-decay 1e-3 --hold-out 0",
               "--checkpoint-every 4 --validate-every 3 --pictures-every 4");
  INFO(more);
  const TemporaryFolder folder;
  require_done(train(arguments(folder / "recorded", "--iterations 5 " + more)));
  require_done(train(arguments(folder / "eager", "--iterations 5 --no-capture " + more)));
  CHECK(metrics_of(folder / "recorded").size() == 5);
  require_equal_runs(folder / "recorded", folder / "eager");
}

TEST_CASE("a signal while recorded steps are in flight loses none of them") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const fs::path whole = folder / "whole", cut = folder / "cut";
  const std::string more = "--iterations 48 --checkpoint-every 100 --validate-every 100 --hold-out 0";
  require_done(train(arguments(whole, more)));
  Process process("motionnet-train", arguments(cut, more));
  wait_for_lines(process, cut, 5);
  process.kill(SIGTERM);
  const Result result = process.wait();
  INFO(result.err);
  REQUIRE(result.code == 75);
  const auto metrics = metrics_of(cut);
  char name[32];
  std::snprintf(name, sizeof name, "step_%06d", metrics.back().at("step").get<int>());
  CHECK(latest_of(cut).filename().string() == name);
  CHECK(metrics.size() == static_cast<size_t>(metrics.back().at("step").get<int>()));
  require_resumable(cut, whole);
}

TEST_CASE(
    "a number that is not finite ends a run with its step and its node, whatever was queued behind it") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  // Step 7 moves the weights out of all bounds, so step 8 is the first that is not finite.
  const std::string more = "--iterations 30 --learning-rate 1e-5 --lr-steps 6 --lr-factor 1e35 --hold-out 0 ";
  std::vector<std::string> messages;
  for (const std::string way : {"--checkpoint-every 5", "--checkpoint-every 5 --no-capture",
                                "--checkpoint-every 5 --wait-for-nodes"}) {
    const fs::path run = folder / std::to_string(messages.size());
    const Result result = train(arguments(run, more + way));
    require_failure(result, {5, {"step 8", "first in ", "checkpoint, of step 5"}});
    CHECK(metrics_of(run).size() == 7);
    CHECK(latest_of(run).filename() == "step_000005");
    const std::string line = last_line(result.err);
    messages.push_back(line.substr(0, line.find(" may help")));
  }
  CHECK(messages[1] == messages[0]);
  CHECK(messages[2] == messages[0]);
}

TEST_CASE("the batches of a step of several are looked through for what is not finite") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const Result result = train(arguments(
      folder / "run", "--iterations 30 --learning-rate 1e-5 --lr-steps 3 --lr-factor 1e35 --accumulate 2"));
  require_failure(result, {5, {"step 5", "first in "}});
  CHECK(metrics_of(folder / "run").size() == 4);
}

TEST_CASE("a device that fails under recorded steps ends a run that goes on to the last bit") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const fs::path whole = folder / "whole";
  const std::string more = "--iterations 7 --checkpoint-every 3 --hold-out 0";
  require_done(train(arguments(whole, more)));
  struct Way {
    const char *fault, *said;
  };
  for (const Way& way : {Way{"replay:4:cudaErrorIllegalAddress", " nodes from "},
                         Way{"launch_graph:4:cudaErrorLaunchFailure", "a recorded step to start"},
                         Way{"copy_within:11:cudaErrorUnknown", "an input's copy"},
                         Way{"copy_out:30:cudaErrorECCUncorrectable", "cuda-sim:0"}}) {
    INFO(way.fault);
    const fs::path cut = folder / way.fault;
    {
      const InjectedFault fault(way.fault);
      const Result result = train(arguments(cut, more));
      require_failure(result, {4, {way.said, "--resume --out", "goes on from"}});
    }
    require_resumable(cut, whole);
  }
}

TEST_CASE("a step that cannot be recorded is told in one line, and the run is the same") {
  if (!simulator_built_in()) return;
  const TemporaryFolder folder;
  const std::string more = "--iterations 6 --validate-every 100 --hold-out 0";
  require_done(train(arguments(folder / "a", more)));
  const InjectedFault fault("end_capture:1:cudaErrorStreamCaptureInvalidated");
  const Result result = train(arguments(folder / "b", more));
  require_done(result);
  size_t told = 0;
  for (const std::string& line : lines_of(result.err))
    told += line.find("is not recorded") != std::string::npos;
  CHECK(told == 1);
  require_equal_runs(folder / "a", folder / "b");
}
