#include "core/run_dir.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using millrace::test::TemporaryFolder;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;

namespace {

void fill(const fs::path& folder) {
  write_file_atomically(folder / kModelFile, "model");
  write_file_atomically(folder / kStateFile, "state");
}

RunDir new_run(const fs::path& path) {
  RunDir run = RunDir::create(path);
  run.write_config("a = 1\n");
  return run;
}

std::vector<int64_t> steps(const RunDir& run) {
  std::vector<int64_t> out;
  for (const Checkpoint& c : run.checkpoints()) out.push_back(c.step);
  return out;
}

std::string text_of(const fs::path& path) { return read_file(path, 1'000'000); }

void append_raw(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

int64_t count(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

// Runs `call` in a child process, which kills itself after it.
template <class F> void in_killed_process(F&& call) {
  const pid_t child = ::fork();
  if (child == 0) {
    call();
    ::kill(::getpid(), SIGKILL);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGKILL);
}

}  // namespace

TEST_CASE("a run is made once and opened again") {
  const TemporaryFolder folder;
  const fs::path path = folder / "runs/a";
  CHECK_THROWS_WITH(RunDir::open(path), Contains("nothing there"));
  { const RunDir run = new_run(path); }
  CHECK_THROWS_WITH(RunDir::create(path),
                    Contains(path.string()) && Contains("config.toml") && Contains("Resume"));
  { const RunDir run = RunDir::open(path); }
  CHECK_THROWS_WITH(RunDir::open(folder.path()), Contains("without config.toml"));
  // Killed before its configuration was written: nothing is lost by starting again.
  in_killed_process([&] { RunDir::create(folder / "b"); });
  CHECK_NOTHROW(RunDir::create(folder / "b"));
}

TEST_CASE("two writers of one run are refused, and the message says who writes") {
  const TemporaryFolder folder;
  {
    const RunDir run = new_run(folder / "run");
    const std::string pid = "process " + std::to_string(::getpid()) + " ";
    CHECK_THROWS_WITH(RunDir::open(folder / "run"), Contains(pid));
    CHECK_THROWS_WITH(RunDir::create(folder / "run"), Contains(pid));
  }
  in_killed_process([&] { RunDir::open(folder / "run"); });
  CHECK_NOTHROW(RunDir::open(folder / "run"));
}

TEST_CASE("metrics are one JSON object a line") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  run.append_metrics({.step = 1, .seconds = 0.5, .values = {{"loss", 0.1}, {"pixel2", NAN}}});
  run.append_metrics({.step = 2, .seconds = 0.25, .values = {{"lo\"ss", 1e300}}});
  CHECK(text_of(run.metrics_path()) ==
        "{\"step\":1,\"seconds\":0.5,\"loss\":0.1,\"pixel2\":null}\n"
        "{\"step\":2,\"seconds\":0.25,\"lo\\\"ss\":1e+300}\n");
}

TEST_CASE("trimming drops later steps and torn lines, wherever the last line was cut") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  CHECK(run.trim_metrics(5) == 0);
  for (int64_t step = 1; step <= 4; ++step) run.append_metrics({.step = step, .seconds = 1, .values = {}});
  const std::string all = text_of(run.metrics_path());
  const std::string two = "{\"step\":1,\"seconds\":1.0}\n{\"step\":2,\"seconds\":1.0}\n";
  CHECK(run.trim_metrics(2) == 2);
  CHECK(text_of(run.metrics_path()) == two);
  const std::string third = "{\"step\":3,\"seconds\":1.0}";
  run.append_metrics({.step = 3, .seconds = 1, .values = {}});
  CHECK(text_of(run.metrics_path()) == two + third + "\n");
  for (size_t n = 1; n <= third.size(); ++n) {
    write_file_atomically(run.metrics_path(), two + third.substr(0, n));
    const bool whole = n == third.size();
    CHECK(run.trim_metrics(3) == (whole ? 0 : 1));
    CHECK(text_of(run.metrics_path()) == two + (whole ? third + "\n" : ""));
  }
  CHECK(run.trim_metrics(-1) == 3);
  CHECK(text_of(run.metrics_path()).empty());
}

TEST_CASE("a line is never appended to a torn one") {
  const TemporaryFolder folder;
  { new_run(folder / "run").append_metrics({.step = 1, .seconds = 1, .values = {}}); }
  for (const char* torn : {"{\"step\":2", "{", ""}) {
    RunDir run = RunDir::open(folder / "run");
    append_raw(run.metrics_path(), torn);
    run.append_metrics({.step = 2, .seconds = 1, .values = {}});
    CHECK(run.trim_metrics(1) == 1);
  }
  write_file_atomically(folder / "run/metrics.jsonl", "torn at once");
  RunDir run = RunDir::open(folder / "run");
  run.append_metrics({.step = 1, .seconds = 1, .values = {}});
  CHECK(text_of(run.metrics_path()) == "{\"step\":1,\"seconds\":1.0}\n");
}

TEST_CASE("a checkpoint is whole, listed, and named by latest") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  CHECK_FALSE(run.latest().has_value());
  for (const int64_t step : {1'000'000, 7, 20}) {
    const Checkpoint saved = run.save_checkpoint(step, fill);
    CHECK(saved.step == step);
    CHECK(text_of(saved.path / kModelFile) == "model");
    CHECK(text_of(saved.path / "DONE") == "5 model.safetensors\n5 state.safetensors\n");
  }
  CHECK(steps(run) == std::vector<int64_t>{7, 20, 1'000'000});
  CHECK(text_of(run.checkpoints_path() / "latest") == "step_000020\n");
  CHECK(run.latest()->step == 20);
  CHECK(count(run.checkpoints_path()) == 4);
}

TEST_CASE("a checkpoint that cannot be filled changes nothing") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  run.save_checkpoint(1, fill);
  for (const int64_t step : {1, 2}) {
    CHECK_THROWS_AS(run.save_checkpoint(step,
                                        [](const fs::path& path) {
                                          write_file_atomically(path / kModelFile, "new");
                                          fail(ErrorKind::runtime, {"disk", "room", "none", {}});
                                        }),
                    Error);
    CHECK(steps(run) == std::vector<int64_t>{1});
    CHECK(text_of(run.latest()->path / kModelFile) == "model");
    CHECK(count(run.checkpoints_path()) == 2);
  }
}

TEST_CASE("a checkpoint of the same step is replaced") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  run.save_checkpoint(1, fill);
  run.save_checkpoint(1, [](const fs::path& path) { write_file_atomically(path / kModelFile, "newer"); });
  CHECK(steps(run) == std::vector<int64_t>{1});
  CHECK(text_of(run.latest()->path / kModelFile) == "newer");
  CHECK_FALSE(fs::exists(run.latest()->path / kStateFile));
  CHECK(count(run.checkpoints_path()) == 2);
}

TEST_CASE("latest falls back to the newest complete checkpoint") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  for (const int64_t step : {1, 2, 3}) run.save_checkpoint(step, fill);
  const fs::path latest = run.checkpoints_path() / "latest";
  write_file_atomically(latest, "step_000001\n");
  CHECK(run.latest()->step == 1);
  for (const char* text : {"", "step_000009\n", "step_1\n", "../checkpoints/step_000001", "step_",
                           "step_99999999999999999999"}) {
    write_file_atomically(latest, text);
    CHECK(run.latest()->step == 3);
  }
  fs::remove(latest);
  CHECK(run.latest()->step == 3);
  fs::remove(run.checkpoints_path() / "step_000003/DONE");
  CHECK(run.latest()->step == 2);
  append_raw(run.checkpoints_path() / "step_000002/state.safetensors", "x");
  CHECK(run.latest()->step == 1);
  fs::remove(run.checkpoints_path() / "step_000001/model.safetensors");
  CHECK_FALSE(run.latest().has_value());
}

TEST_CASE("a checkpoint with a file cut off at any byte is passed over for the one before") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "a");
  run.save_checkpoint(1, fill);
  const fs::path newest = run.save_checkpoint(2, fill).path;
  for (const char* file : {"model.safetensors", "state.safetensors", "DONE"}) {
    const std::string whole = text_of(newest / file);
    REQUIRE(run.latest()->step == 2);
    for (size_t n = 0; n < whole.size(); ++n) {
      INFO("first " << n << " bytes of " << file << ": " << whole.substr(0, n));
      write_file_atomically(newest / file, whole.substr(0, n));
      // What DONE no longer lists is there all the same when DONE ends behind a whole name.
      const bool ends_behind_a_name =
          file == std::string("DONE") && n > 0 && (whole[n - 1] == '\n' || whole[n] == '\n');
      CHECK(run.latest()->step == (ends_behind_a_name ? 2 : 1));
    }
    write_file_atomically(newest / file, whole);
  }
}

TEST_CASE("rotation keeps the newest, the best and the latest") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  for (int64_t step = 1; step <= 6; ++step) run.save_checkpoint(step, fill);
  run.keep(9, {});
  CHECK(steps(run).size() == 6);
  run.keep(3, 2);
  CHECK(steps(run) == std::vector<int64_t>{2, 4, 5, 6});
  run.keep(1, 6);
  CHECK(steps(run) == std::vector<int64_t>{6});
  // A run that went back to an earlier step: its new checkpoint has a smaller number than the old ones.
  run.save_checkpoint(7, fill);
  run.save_checkpoint(3, fill);
  run.keep(1, {});
  CHECK(steps(run) == std::vector<int64_t>{3, 7});
  run.remove_checkpoints_after(3);
  CHECK(steps(run) == std::vector<int64_t>{3});
  CHECK(count(run.checkpoints_path()) == 2);
  CHECK_THROWS_AS(run.keep(0, {}), Error);
}

TEST_CASE("what a killed process left is cleaned up, and nothing whole is lost") {
  const TemporaryFolder folder;
  const fs::path checkpoints = folder / "run/checkpoints";
  {
    RunDir run = new_run(folder / "run");
    for (const int64_t step : {1, 2, 3}) run.save_checkpoint(step, fill);
  }
  in_killed_process([&] {
    RunDir run = RunDir::open(folder / "run");
    run.save_checkpoint(4, [](const fs::path& path) {
      write_file_atomically(path / kModelFile, "half");
      ::kill(::getpid(), SIGKILL);
    });
  });
  CHECK(fs::exists(checkpoints / ".tmp_step_000004/model.safetensors"));
  CHECK(latest_checkpoint(folder / "run")->step == 3);
  // Killed between the two renames of a replacement, after them, and while removing.
  fs::rename(checkpoints / "step_000003", checkpoints / ".old_step_000003");
  fs::copy(checkpoints / "step_000002", checkpoints / ".old_step_000002");
  fs::rename(checkpoints / "step_000001", checkpoints / ".trash_step_000001");
  append_raw(folder / "run/config.toml.tmp.1.2", "half");
  const RunDir run = RunDir::open(folder / "run");
  CHECK(steps(run) == std::vector<int64_t>{2, 3});
  CHECK(run.latest()->step == 3);
  CHECK(count(checkpoints) == 3);
  CHECK_FALSE(fs::exists(folder / "run/config.toml.tmp.1.2"));
}

TEST_CASE("a run killed at random moments always has a whole latest checkpoint") {
  const TemporaryFolder folder;
  { new_run(folder / "run").save_checkpoint(0, fill); }
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      RunDir run = RunDir::open(folder / "run");
      for (int64_t step = run.latest()->step + 1;; ++step) {
        run.append_metrics({.step = step, .seconds = 1, .values = {{"loss", 1}}});
        run.save_checkpoint(step, fill);
        run.keep(1, 0);
      }
    }
    REQUIRE(child > 0);
    ::usleep(static_cast<useconds_t>(3000 + 1700 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    RunDir run = RunDir::open(folder / "run");
    const auto latest = run.latest();
    REQUIRE(latest.has_value());
    CHECK(text_of(latest->path / kModelFile) == "model");
    CHECK(text_of(latest->path / kStateFile) == "state");
    CHECK(run.checkpoints().front().step == 0);
    CHECK(run.trim_metrics(latest->step) <= 1);
    const std::string metrics = fs::exists(run.metrics_path()) ? text_of(run.metrics_path()) : "";
    CHECK(std::count(metrics.begin(), metrics.end(), '\n') == latest->step);
  }
}

TEST_CASE("weights are found from a file, a checkpoint or a run") {
  const TemporaryFolder folder;
  RunDir run = new_run(folder / "run");
  CHECK_THROWS_WITH(resolve_weights(folder / "run"), Contains("complete checkpoint, got none"));
  run.save_checkpoint(1, fill);
  run.save_checkpoint(2, fill);
  const fs::path model = folder / "run/checkpoints/step_000002/model.safetensors";
  CHECK(resolve_weights(model) == model);
  CHECK(resolve_weights(model.parent_path()) == model);
  CHECK(resolve_weights(folder / "run/checkpoints") == model);
  CHECK(resolve_weights(folder / "run") == model);
  CHECK_THROWS_WITH(resolve_weights(folder / "none"), Contains("none") && Contains("nothing there"));
  fs::create_directory(folder / "empty");
  CHECK_THROWS_WITH(resolve_weights(folder / "empty"), Contains("neither"));
  fs::remove(model.parent_path() / "DONE");
  CHECK_THROWS_WITH(resolve_weights(model.parent_path()),
                    Contains("complete checkpoint") && Contains("DONE"));
  run.save_checkpoint(3, [](const fs::path& path) { write_file_atomically(path / "other", ""); });
  CHECK_THROWS_WITH(resolve_weights(folder / "run"), Contains("without model.safetensors"));
}
