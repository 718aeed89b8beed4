// motionnet-train --profile: the trace, and that a run is the same with it.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <set>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

constexpr int64_t kFirst = 7;  // the first traced step of a process: three to warm up, three timed as a whole

std::vector<std::string> arguments(const fs::path& out, const std::string& more) {
  return join(join({"--data", "synthetic:", "--out", out.string()}, tiny()), words(more));
}

Result require_run(const std::vector<std::string>& all) {
  Result result = train(all);
  INFO(result.err);
  REQUIRE(result.code == 0);
  return result;
}

struct Event {
  std::string name, category;
  int64_t begin = 0, end = 0;  // ns
  json args;
};

int64_t in_ns(const json& microseconds) {
  return static_cast<int64_t>(std::llround(microseconds.get<double>() * 1e3));
}

// Spans by the name of their track, in order of their begin, outer ones first.
std::map<std::string, std::vector<Event>> tracks_of(const json& trace) {
  std::map<int64_t, std::string> names;
  std::map<std::string, std::vector<Event>> tracks;
  for (const json& e : trace.at("traceEvents")) {
    if (e.at("name") == "thread_name") names[e.at("tid")] = e.at("args").at("name");
  }
  for (const json& e : trace.at("traceEvents")) {
    if (e.at("ph") != "X") continue;
    const int64_t begin = in_ns(e.at("ts"));
    tracks[names.at(e.at("tid"))].push_back(
        {e.at("name"), e.at("cat"), begin, begin + in_ns(e.at("dur")), e.at("args")});
  }
  for (auto& [name, events] : tracks) {
    std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
    });
  }
  return tracks;
}

void check_nesting(const std::vector<Event>& events) {
  std::vector<Event> open;
  for (const Event& e : events) {
    CHECK(e.begin <= e.end);
    while (!open.empty() && open.back().end <= e.begin) open.pop_back();
    INFO(e.name << " in " << (open.empty() ? "" : open.back().name));
    if (!open.empty()) CHECK(e.end <= open.back().end);
    open.push_back(e);
  }
}

struct Expectation {
  int64_t steps = 0;
  std::set<std::string> plans = {"step"};  // sessions of a step
  size_t runs_of_step = 1;
};

void check_trace(const fs::path& file, const Expectation& expected) {
  const json trace = json::parse(bytes_of(file));
  CHECK(trace["otherData"]["traced steps"] == expected.steps);
  CHECK(trace["otherData"]["device seconds of a traced step"].get<double>() > 0);
  CHECK(trace["otherData"]["device seconds of a whole step"].get<double>() > 0);
  auto tracks = tracks_of(trace);
  for (const auto& [name, events] : tracks) {
    INFO(name);
    check_nesting(events);
  }
  std::vector<Event> steps;
  for (const Event& e : tracks.at("host")) {
    if (e.category == "step") steps.push_back(e);
  }
  REQUIRE(steps.size() == static_cast<size_t>(expected.steps));
  for (const char* phase : {"upload", "read numbers"}) {
    INFO(phase);
    CHECK(std::any_of(tracks.at("host").begin(), tracks.at("host").end(),
                      [&](const Event& e) { return e.name == phase; }));
  }
  CHECK(tracks.at("loader").size() == static_cast<size_t>(expected.steps) *
                                          (expected.plans.count("update") ? expected.runs_of_step - 1 : 1));

  std::set<std::string> plans;
  size_t runs = 0;
  const std::vector<Event>& device = tracks.at("device");
  for (size_t k = 0; k < device.size();) {
    const Event& plan = device[k++];
    REQUIRE(plan.category == "plan");
    plans.insert(plan.name);
    ++runs;
    const auto step = std::find_if(steps.begin(), steps.end(),
                                   [&](const Event& e) { return e.args["step"] == plan.args["step"]; });
    REQUIRE(step != steps.end());
    CHECK(step->begin <= plan.begin);
    CHECK(plan.end <= step->end);
    double flop = 0, bytes = 0;
    int64_t at = plan.begin, nodes = 0;
    for (; k < device.size() && device[k].category != "plan"; ++k, ++nodes) {
      const Event& node = device[k];
      CHECK(node.begin == at);  // end to end
      at = node.end;
      flop += node.args["FLOP"].get<double>();
      bytes += node.args["bytes"].get<double>();
      for (const char* key : {"op", "kernel", "in", "out"}) CHECK(node.args[key].is_string());
    }
    CHECK(at == plan.end);
    CHECK(nodes == plan.args["nodes"]);
    CHECK(flop == Approx(plan.args["FLOP"].get<double>()));
    CHECK(bytes == Approx(plan.args["bytes"].get<double>()));
  }
  CHECK(plans == expected.plans);
  CHECK(runs == static_cast<size_t>(expected.steps) * expected.runs_of_step);
}

void check_same_checkpoints(const fs::path& a, const fs::path& b) {
  REQUIRE(names_in(a / "checkpoints") == names_in(b / "checkpoints"));
  for (const char* file : {"model.safetensors", "state.safetensors"})
    CHECK(bytes_of(latest_of(a) / file) == bytes_of(latest_of(b) / file));
}

bool leaves_no_temporary(const fs::path& run) {
  const std::vector<std::string> names = names_in(run);
  return std::none_of(names.begin(), names.end(),
                      [](const std::string& name) { return name.find(".tmp.") != std::string::npos; });
}

std::vector<std::string> devices() {
  const Result found = Process("millrace-data", {"inspect", "--device", "--json"}).wait();
  std::vector<std::string> names = {"cpu"};
  if (found.out.find("\"cuda-sim\"") != std::string::npos)
    names.push_back("cuda-sim");
  else
    std::cout << "skipped in part: cuda-sim is not in this build\n";
  return names;
}

}  // namespace

TEST_CASE("a traced run has a trace that adds up, and is otherwise the run without") {
  const TemporaryFolder folder;
  for (const std::string& device : devices()) {
    INFO(device);
    const std::string same =
        "--iterations 10 --checkpoint-every 8 --validate-every 9 --pictures-every 0 --device " + device;
    const fs::path with = folder / (device + "-with"), without = folder / (device + "-without");
    const Result result = require_run(arguments(with, same + " --profile 3"));
    require_run(arguments(without, same));
    check_same_checkpoints(with, without);
    check_trace(with / "profile.json", {.steps = 3});
    CHECK_THAT(result.err, Contains("steps 7 to 9 will be traced") &&
                               Contains((with / "profile.json").string() + ": 3 of 3 steps"));
    CHECK_FALSE(fs::exists(without / "profile.json"));
    CHECK(leaves_no_temporary(with));

    const json trace = json::parse(bytes_of(with / "profile.json"));
    CHECK(trace["otherData"]["whole steps recorded"] == (device == "cuda-sim"));
    const auto tracks = tracks_of(trace);
    std::set<std::string> phases;
    for (const Event& e : tracks.at("host")) phases.insert(e.name);
    CHECK(phases.count("checkpoint") == 1);
    CHECK(phases.count("validation") == 1);
  }
}

TEST_CASE("a step of several batches is traced with all its plans, and not behind a resume's warm-up") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run", whole = folder / "whole";
  require_run(arguments(run, "--iterations 2 --accumulate 3 --device cpu"));
  const Result result =
      require_run({"--resume", "--out", run.string(), "--iterations", "10", "--profile", "2"});
  CHECK_THAT(result.err, Contains("steps 9 to 10 will be traced"));
  check_trace(run / "profile.json", {.steps = 2, .plans = {"first", "next", "update"}, .runs_of_step = 4});
  require_run(arguments(whole, "--iterations 10 --accumulate 3 --device cpu"));
  CHECK(bytes_of(latest_of(run) / "model.safetensors") == bytes_of(latest_of(whole) / "model.safetensors"));
}

TEST_CASE("a run that ends before its last traced step keeps those that were, or says that there is none") {
  const TemporaryFolder folder;
  const fs::path some = folder / "some", none = folder / "none";
  CHECK_THAT(require_run(arguments(some, "--iterations 8 --profile 50 --device cpu")).err,
             Contains("2 of 50 steps"));
  check_trace(some / "profile.json", {.steps = 2});
  CHECK_THAT(require_run(arguments(none, "--iterations 4 --profile 2 --device cpu")).err,
             Contains("no step was traced"));
  CHECK_FALSE(fs::exists(none / "profile.json"));
}

TEST_CASE("a signal while steps are traced ends the run as ever, with the trace so far") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  Process process(
      "motionnet-train",
      arguments(run, "--iterations 100000 --profile 1000 --checkpoint-every 100000 --device cpu"));
  wait_for_lines(process, run, kFirst + 2);
  process.kill(SIGTERM);
  const Result result = process.wait();
  INFO(result.err);
  REQUIRE(result.code == 75);
  const json trace = json::parse(bytes_of(run / "profile.json"));
  check_trace(run / "profile.json", {.steps = trace["otherData"]["traced steps"].get<int64_t>()});
  const int64_t done = static_cast<int64_t>(metrics_of(run).size());
  require_run({"--resume", "--out", run.string(), "--iterations", std::to_string(done + 1)});
}

TEST_CASE("a trace is whole or not there when the program is killed while it writes") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  Process process("motionnet-train",
                  arguments(run, "--iterations 100000 --profile 60 --checkpoint-every 5 --device cpu"));
  const auto writes = [&] {
    const std::vector<std::string> names = fs::exists(run) ? names_in(run) : std::vector<std::string>();
    return std::any_of(names.begin(), names.end(),
                       [](const std::string& name) { return name.rfind("profile.json", 0) == 0; });
  };
  while (process.running() && !writes()) ::usleep(200);
  process.kill(SIGKILL);
  CHECK(process.wait().signal == SIGKILL);
  if (fs::exists(run / "profile.json")) CHECK(json::parse(bytes_of(run / "profile.json")).is_object());
  const int64_t done = static_cast<int64_t>(metrics_of(run).size());
  require_run({"--resume", "--out", run.string(), "--iterations", std::to_string(done + 1)});
  CHECK(leaves_no_temporary(run));
}

TEST_CASE("a trace that cannot be written is a warning, and the run goes on") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  require_run(arguments(run, "--iterations 1 --device cpu"));
  fs::create_directories(run / "profile.json/in the way");
  const Result result =
      require_run({"--resume", "--out", run.string(), "--iterations", "9", "--profile", "1"});
  CHECK_THAT(result.err, Contains("--profile: ") && Contains("profile.json"));
  CHECK(metrics_of(run).size() == 9);
  CHECK(leaves_no_temporary(run));
}

TEST_CASE("the option --profile takes a number of steps, of a training") {
  const TemporaryFolder folder;
  for (const char* wrong : {"--profile 0", "--profile -1", "--profile 1001"})
    require_failure(train(arguments(folder / "run", wrong)), {2, {"--profile"}});
  require_failure(train(arguments(folder / "run", "--profile 1 --plan")), {2, {"--profile"}});
  CHECK_FALSE(fs::exists(folder / "run"));
}
