// A run that was stopped in any way and goes on ends as one that was never disturbed, to the last bit.
#include <signal.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "core/events.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

using Arguments = std::vector<std::string>;

Arguments with_out(const Arguments& run, const fs::path& out) { return join(run, {"--out", out.string()}); }
// Bare: all options come from the run, but for the number of threads, which the machine would choose.
Arguments resumed(const fs::path& out) { return {"--resume", "--out", out.string()}; }

struct Scalars {
  int64_t step = 0;
  std::vector<std::pair<std::string, float>> values;
  std::vector<std::string> pictures;
  bool operator==(const Scalars&) const = default;
};

std::vector<Scalars> events_of(const fs::path& run) {
  EventReader reader(run / "events.out.tfevents.millrace");
  std::vector<Scalars> result;
  while (const auto event = reader.next()) {
    Scalars scalars{event->step, event->scalars, {}};
    for (const EventImage& image : event->images) scalars.pictures.push_back(image.png);
    result.push_back(scalars);
  }
  CHECK_FALSE(reader.torn());
  return result;
}

std::vector<json> metrics_but_times(const fs::path& run) {
  std::vector<json> lines = metrics_of(run);
  for (json& line : lines) {
    CHECK(line.at("seconds").get<double>() > 0);
    line.erase("seconds");
  }
  return lines;
}

void require_no_leftovers(const fs::path& run) {
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    INFO(entry.path());
    CHECK(name.find("tmp") == std::string::npos);
    CHECK(name.rfind(".", 0) != 0);
  }
}

void require_equal_runs(const fs::path& a, const fs::path& b) {
  CHECK(latest_of(a).filename() == latest_of(b).filename());
  for (const char* file : {"model.safetensors", "state.safetensors"}) {
    INFO(file);
    CHECK((bytes_of(latest_of(a) / file) == bytes_of(latest_of(b) / file)));
  }
  CHECK((metrics_but_times(a) == metrics_but_times(b)));
  CHECK((events_of(a) == events_of(b)));
  CHECK(names_in(a) == names_in(b));
  REQUIRE(names_in(a / "pictures") == names_in(b / "pictures"));
  for (const std::string& name : names_in(a / "pictures")) {
    CHECK((bytes_of(a / "pictures" / name) == bytes_of(b / "pictures" / name)));
  }
  json results[] = {json::parse(bytes_of(a / "result.json")), json::parse(bytes_of(b / "result.json"))};
  for (json& result : results) {
    result.erase("seconds");
    result.erase("checkpoint");
  }
  CHECK(results[0] == results[1]);
  require_no_leftovers(b);
}

// Starts or goes on; a kill can have come before there was a run.
Arguments next_start(const Arguments& run, const fs::path& out) {
  return fs::exists(out / "config.toml") ? resumed(out) : with_out(run, out);
}

void finish(const Arguments& run, const fs::path& out) {
  const Result result = train(next_start(run, out));
  INFO(result.err);
  REQUIRE(result.code == 0);
}

// The run of the options, undisturbed in "a".
fs::path undisturbed(const TemporaryFolder& folder, const Arguments& run) {
  const Result result = train(with_out(run, folder / "a"));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return folder / "a";
}

void stop_and_compare(const std::string& options) {
  const TemporaryFolder folder;
  const Arguments run = join(join({"--data", "synthetic:"}, tiny()), words(options));
  const fs::path a = undisturbed(folder, run), b = folder / "b";
  size_t lines = 5;
  int stopped = 0;
  for (const int signal : {SIGINT, SIGTERM, SIGTERM}) {
    Process process("motionnet-train", next_start(run, b));
    wait_for_lines(process, b, lines);
    process.kill(signal);
    const Result result = process.wait();
    INFO(result.err);
    REQUIRE(result.signal == 0);
    if (result.code == 0 && stopped > 0) break;  // it was through before the signal came
    REQUIRE(result.code == 75);
    ++stopped;
    CHECK(result.out.empty());
    CHECK_THAT(last_line(result.err), Contains("--resume --out " + b.string()));
    // Nothing is lost: the checkpoint is of the last step.
    const auto metrics = metrics_of(b);
    char name[32];
    std::snprintf(name, sizeof name, "step_%06d", metrics.back().at("step").get<int>());
    CHECK(latest_of(b).filename().string() == name);
    require_no_leftovers(b);
    lines = metrics.size() + 7;
  }
  finish(run, b);
  require_equal_runs(a, b);
}

constexpr const char* kSteps =
    " --iterations 120 --checkpoint-every 10 --validate-every 15 --pictures-every 20";

}  // namespace

TEST_CASE("a run stopped by SIGINT and SIGTERM ends as an undisturbed one: Adam") {
  stop_and_compare(kSteps);
}

TEST_CASE("a run stopped by SIGINT and SIGTERM ends as an undisturbed one: SGD and steps of the rate") {
  stop_and_compare(std::string("--optimizer sgd --learning-rate 1e-4 --lr-steps 8,20 --warmup 5") + kSteps);
}

TEST_CASE("a run stopped by SIGINT and SIGTERM ends as an undisturbed one: accumulated gradients, clipped") {
  stop_and_compare(std::string("--accumulate 2 --clip 1 --weight-decay 1e-3") + kSteps);
}

TEST_CASE("a run killed at random moments ends as an undisturbed one") {
  const TemporaryFolder folder;
  write_frames(folder / "data/one", {0, 12}, {80, 100});
  write_frames(folder / "data/two", {40, 9}, {64, 64});
  write_frames(folder / "data/three", {90, 7}, {70, 90});
  const Arguments run = join(
      join({"--data", (folder / "data").string()}, tiny()),
      words("--threads 2 --hold-out 3 --crop multi_scale --resize-height 80 --resize-width 96 --iterations "
            "56 --checkpoint-every 7 --validate-every 14 --pictures-every 28"));
  const auto start = std::chrono::steady_clock::now();
  const fs::path a = undisturbed(folder, run), b = folder / "b";
  const auto whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::mt19937 random(std::random_device{}());
  std::uniform_real_distribution<double> moment(.05, .6);
  int killed = 0;
  for (int k = 0; k < 7; ++k) {
    Process process("motionnet-train", next_start(run, b));
    const double seconds = whole * moment(random);
    CAPTURE(seconds);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    process.kill(SIGKILL);
    const Result result = process.wait();
    INFO(result.err);
    REQUIRE((result.signal == SIGKILL || result.code == 0));
    killed += result.signal == SIGKILL;
  }
  REQUIRE(killed > 0);
  finish(run, b);
  require_equal_runs(a, b);
  CHECK(names_in(a / "checkpoints") == names_in(b / "checkpoints"));
}

TEST_CASE("a run killed while it writes checkpoints ends as an undisturbed one") {
  const TemporaryFolder folder;
  const Arguments run = join(
      join({"--data", "synthetic:"}, tiny()),
      words("--accumulate 2 --iterations 24 --checkpoint-every 1 --keep-checkpoints 2 --validate-every 4"));
  const fs::path a = undisturbed(folder, run), b = folder / "b";
  std::mt19937 random(std::random_device{}());
  int killed_in_writing = 0;
  for (int k = 0; k < 8; ++k) {
    Process process("motionnet-train", next_start(run, b));
    size_t checkpoints = 1 + random() % 3;
    bool writing = false;
    while (process.running() && checkpoints > 0) {
      bool now = false;
      for (const std::string& name : names_in(b / "checkpoints")) now |= name.rfind(".", 0) == 0;
      checkpoints -= now && !writing;
      writing = now;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    process.kill(SIGKILL);
    process.wait();
    for (const std::string& name : names_in(b / "checkpoints")) killed_in_writing += name.rfind(".", 0) == 0;
  }
  std::cout << "killed " << killed_in_writing << " of 8 times in the middle of a checkpoint\n";
  finish(run, b);
  require_equal_runs(a, b);
  CHECK(names_in(a / "checkpoints") == names_in(b / "checkpoints"));
  CHECK(names_in(b / "checkpoints").size() <= 4);  // 2, the best, and "latest"
}

TEST_CASE("metrics and events are cut back to the checkpoint") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 6 --checkpoint-every 4");
  fs::remove_all(run / "checkpoints/step_000006");
  fs::remove(run / "result.json");
  std::ofstream(run / "metrics.jsonl", std::ios::app) << "{\"step\":7,\"los";
  std::ofstream(run / "events.out.tfevents.millrace", std::ios::app) << "torn";
  const Result result = train(join(resumed(run), {"--iterations", "4"}));
  INFO(result.err);
  REQUIRE(result.code == 0);
  const auto lines = metrics_of(run);
  REQUIRE(lines.size() == 4);
  CHECK(lines.back().at("step") == 4);
  for (const Scalars& event : events_of(run)) CHECK(event.step <= 4);
  CHECK(json::parse(bytes_of(run / "result.json")).at("steps") == 4);
}

TEST_CASE("a checkpoint that lost a file is passed over") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 6 --checkpoint-every 2");
  const std::string whole = bytes_of(run / "checkpoints/step_000006/model.safetensors");
  fs::resize_file(run / "checkpoints/step_000006/model.safetensors", 1000);
  const Result result = train(resumed(run));
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.err, Contains("from step 4"));
  CHECK((bytes_of(latest_of(run) / "model.safetensors") == whole));
  require_no_leftovers(run);
}

TEST_CASE("a checkpoint cut off at any place is passed over, one that lies about its data is bad data") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 4 --checkpoint-every 2");
  const fs::path newest = run / "checkpoints/step_000004", copy = folder / "copy";
  for (const char* name : {"model.safetensors", "state.safetensors"}) {
    const std::string whole = bytes_of(newest / name);
    const size_t header = 8 + header_of(newest / name).dump().size();
    for (const size_t keep :
         {size_t{0}, size_t{7}, size_t{8}, size_t{200}, header, whole.size() / 2, whole.size() - 1}) {
      INFO(keep << " bytes of " << name);
      fs::remove_all(copy);
      fs::copy(run, copy, fs::copy_options::recursive);
      fs::resize_file(copy / "checkpoints/step_000004" / name, keep);
      const Result result = train(resumed(copy));
      INFO(result.err);
      REQUIRE(result.code == 0);
      CHECK_THAT(result.err, Contains("from step 2"));
      CHECK((bytes_of(latest_of(copy) / name) == whole));
    }
    // Of the right size, so that DONE agrees.
    const auto refused = [&](const std::string& what, const std::string& instead) {
      INFO(what << " becomes " << instead);
      REQUIRE(what.size() == instead.size());
      std::string broken = whole;
      const size_t at = broken.find(what);
      REQUIRE(at < header);
      broken.replace(at, what.size(), instead);
      fs::remove_all(copy);
      fs::copy(run, copy, fs::copy_options::recursive);
      std::ofstream(copy / "checkpoints/step_000004" / name, std::ios::binary) << broken;
      require_failure(train(join(resumed(copy), {"--iterations", "6"})), {3, {name}});
      CHECK(fs::exists(copy / "checkpoints/step_000002/DONE"));
    };
    refused("\"data_offsets\":[0,", "\"data_offsets\":[9,");
    refused("\"dtype\":\"F32\"", "\"dtype\":\"F64\"");
    refused("\"shape\":[", "\"shape\":{");
    refused("{\"", "[\"");
  }
}

TEST_CASE("a complete run says so, and goes on with more iterations") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 4");
  const std::string model = bytes_of(latest_of(run) / "model.safetensors");
  const Result again = train(join(resumed(run), {"--json"}));
  CHECK(again.code == 0);
  CHECK_THAT(again.err, Contains("complete"));
  CHECK(parse_only_line(again.out).at("steps") == 4);
  CHECK((bytes_of(latest_of(run) / "model.safetensors") == model));

  const Result more = train(join(resumed(run), {"--iterations", "9"}));
  INFO(more.err);
  REQUIRE(more.code == 0);
  const fs::path straight = small_run(folder, "straight", "--iterations 9");
  CHECK((bytes_of(latest_of(run) / "model.safetensors") ==
         bytes_of(latest_of(straight) / "model.safetensors")));
  const auto lines = metrics_of(run), others = metrics_of(straight);  // the first has one validation more
  REQUIRE(lines.size() == 9);
  for (size_t k = 0; k < 9; ++k) CHECK(lines[k].at("loss") == others.at(k).at("loss"));
}

TEST_CASE("a run goes on with its own options only") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 4");
  require_failure(train(join(resumed(run), {"--learning-rate", "0.5", "--iterations", "8"})),
                  {2, {"learning_rate", "0.001", "0.5"}});
  require_failure(train(join(resumed(run), {"--threads", "2", "--iterations", "8"})),
                  {2, {"threads", "1", "2", "--allow-drift"}});
  std::ofstream(folder / "other.toml") << "batch = 3\n";
  require_failure(
      train(join(resumed(run), {"--config", (folder / "other.toml").string(), "--iterations", "8"})),
      {2, {"batch", "2", "3"}});
  CHECK(metrics_of(run).size() == 4);
  // The command of the start with --resume behind it is fine.
  CHECK(train(join(join({"--data", "synthetic:", "--out", run.string(), "--iterations", "4"}, tiny()),
                   {"--resume"}))
            .code == 0);
}

TEST_CASE("a run that is there is not written over, and has one writer") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 2");
  const std::string metrics = bytes_of(run / "metrics.jsonl");
  const Arguments start = join({"--data", "synthetic:", "--out", run.string()}, tiny());
  require_failure(train(start), {2, {run.string(), "a folder for a new run"}});
  CHECK(bytes_of(run / "metrics.jsonl") == metrics);
  require_failure(train({"--resume", "--out", (folder / "none").string()}), {2, {"none", "config.toml"}});
  require_failure(train({"--resume"}), {2, {"--out"}});
  CHECK_FALSE(fs::exists(folder / "none"));

  Process first("motionnet-train", join(resumed(run), {"--iterations", "1000000"}));
  wait_for_lines(first, run, 5);
  require_failure(train(join(resumed(run), {"--iterations", "1000000"})), {2, {run.string(), "process"}});
  first.kill(SIGTERM);
  CHECK(first.wait().code == 75);
}

TEST_CASE("two runs with one seed are equal, with another they are not") {
  const TemporaryFolder folder;
  const fs::path a = small_run(folder, "a", "--iterations 5 --loader-threads 1 --seed 7"),
                 b = small_run(folder, "b", "--iterations 5 --loader-threads 3 --seed 7"),
                 c = small_run(folder, "c", "--iterations 5 --seed 8");
  require_equal_runs(a, b);
  CHECK_FALSE((bytes_of(latest_of(a) / "model.safetensors") == bytes_of(latest_of(c) / "model.safetensors")));
}
