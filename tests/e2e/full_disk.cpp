// A disk that is full, or a folder that cannot be written, from the n-th change of the disk on, for every n:
// core/files.h lets it fail. One line says which file and why, and nothing that was there before is lost.
#include <stdlib.h>

#include <cerrno>
#include <functional>
#include <iostream>
#include <set>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

using Arguments = std::vector<std::string>;

// The sanitizers make a run ten times slower; there one change of so many is tried.
#ifdef MILLRACE_SANITIZED_PROGRAMS
constexpr int kStride = 7;
#else
constexpr int kStride = 1;
#endif

struct Fault {
  int first = 1;  // change of the disk, from 1
  int code = ENOSPC;
};

class WithFault {
 public:
  explicit WithFault(const Fault& f) {
    ::setenv("MILLRACE_FAIL_WRITE", (std::to_string(f.first) + ":" + std::to_string(f.code)).c_str(), 1);
  }
  WithFault(const WithFault&) = delete;
  WithFault& operator=(const WithFault&) = delete;
  ~WithFault() { ::unsetenv("MILLRACE_FAIL_WRITE"); }
};

// The path that was to change when the fault came, taken out of stderr; "" when there were fewer changes.
std::string take_injected(Result& result) {
  const std::string mark = "injected: ";
  std::string path, rest;
  for (const std::string& line : lines_of(result.err)) {
    if (line.rfind(mark, 0) == 0)
      path = line.substr(mark.size());
    else
      rest += line + "\n";
  }
  result.err = rest;
  return path;
}

// "state.safetensors", "step_.png" and the like: what kind of file it is.
std::string kind_of(const std::string& path) {
  std::string kind = fs::path(path).filename().string();
  std::erase_if(kind, [](char c) { return c >= '0' && c <= '9'; });
  return kind;
}

using Run = std::function<Result()>;

// Whether there was such a change of the disk; then the run fails, and says why in one line.
bool fails_at(const Fault& fault, const Run& run, std::set<std::string>& kinds) {
  INFO("change " << fault.first << " of the disk fails");
  Result result;
  {
    const WithFault with(fault);
    result = run();
  }
  const std::string path = take_injected(result);
  INFO(path << "\n" << result.err);
  if (path.empty()) {
    REQUIRE(result.code == 0);
    return false;
  }
  kinds.insert(kind_of(path));
  REQUIRE(result.signal == 0);
  if (result.code == 0) {  // only the log may fail without the run
    REQUIRE_THAT(result.err, Contains("no more is logged there"));
    return true;
  }
  REQUIRE(result.code == 1);
  const std::string said = last_line(result.err);
  REQUIRE_THAT(said, Contains(fault.code == ENOSPC ? "No space left on device" : "Permission denied"));
  REQUIRE_THAT(said, Contains("[") && Contains("expected") &&
                         (StartsWith("motionnet-") || StartsWith("millrace-data: ")));
  return true;
}

void require_kinds(const std::set<std::string>& kinds, const std::vector<std::string>& expected) {
  std::string all;
  for (const std::string& kind : kinds) all += kind + " ";
  INFO(all);
  for (const std::string& kind : expected) CHECK(kinds.count(kind) == 1);
}

Arguments training(const fs::path& out) {
  return join(join(tiny(), words("--data synthetic: --iterations 4 --checkpoint-every 2 --keep-checkpoints 1 "
                                 "--validate-every 2 --pictures-every 2 --out")),
              {out.string()});
}

// As after any stop: goes on with a run that began, else begins.
Result go_on(const fs::path& out) {
  return train(fs::exists(out / "config.toml") ? Arguments{"--resume", "--out", out.string()}
                                               : training(out));
}

void require_equal_runs(const fs::path& a, const fs::path& b) {
  for (const char* file : {"model.safetensors", "state.safetensors"})
    REQUIRE((bytes_of(latest_of(a) / file) == bytes_of(latest_of(b) / file)));
  const auto lines = metrics_of(a), others = metrics_of(b);
  REQUIRE(lines.size() == others.size());
  for (size_t k = 0; k < lines.size(); ++k) {
    REQUIRE(lines[k].at("step") == others[k].at("step"));
    REQUIRE(lines[k].at("loss") == others[k].at("loss"));
  }
  REQUIRE(names_in(a) == names_in(b));
  // Where the last change failed, the removal of an old checkpoint, the run was complete and the old one
  // stays.
  REQUIRE(names_in(b / "checkpoints").size() <= names_in(a / "checkpoints").size() + 1);
  REQUIRE(names_in(a / "pictures") == names_in(b / "pictures"));
  REQUIRE(bytes_of(a / "events.out.tfevents.millrace").size() ==
          bytes_of(b / "events.out.tfevents.millrace").size());
}

void require_goes_on(const fs::path& whole, const fs::path& out) {
  const Result result = go_on(out);
  INFO(result.err);
  REQUIRE(result.code == 0);
  require_equal_runs(whole, out);
}

std::set<fs::path> files_below(const fs::path& folder) {
  std::set<fs::path> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.insert(entry.path().lexically_relative(folder));
  }
  return files;
}

// No file is there in part: each is as in `whole`, under its own name. Not so files called `may_differ`.
void require_whole_files(const fs::path& whole, const fs::path& out, const std::string& may_differ = "") {
  for (const fs::path& file : files_below(out)) {
    INFO(file);
    REQUIRE(fs::exists(whole / file));
    if (file.filename() != may_differ) REQUIRE((bytes_of(whole / file) == bytes_of(out / file)));
  }
}

void require_equal_files(const fs::path& whole, const fs::path& out) {
  REQUIRE(files_below(whole) == files_below(out));
  require_whole_files(whole, out);
}

// A set of clips by millrace-data synth.
struct Synth {
  fs::path out;
  int clips = 1;
  std::string format = "png";

  Result operator()() const {
    return Process("millrace-data", join({"synth", "--out", out.string(), "--clips", std::to_string(clips)},
                                         words("--options size=16x16 --threads 1 --format " + format)))
        .wait();
  }
};

// Flow of folders of frames below `data`.
struct FlowRun {
  fs::path weights, data, out;
  std::string formats;
  std::string more = "";

  Result operator()() const {
    return flow(join({"--weights", weights.string(), "--data", data.string(), "--out", out.string()},
                     words("--threads 1 --format " + formats + " " + more)));
  }
  FlowRun to(const fs::path& folder) const {
    FlowRun other = *this;
    other.out = folder;
    return other;
  }
};

// From each `step`-th change of the disk on it is full; what is written is whole, and the same command makes
// the rest. Gives the number of changes.
int require_made_whole(const FlowRun& run, int step, std::set<std::string>& kinds) {
  const fs::path whole = run.out.string() + "-whole";
  const Result made = run.to(whole)();
  INFO(made.err);
  REQUIRE(made.code == 0);
  int n = 1;
  for (; fails_at({.first = n}, run, kinds); n += step) {
    INFO("change " << n << " of the disk failed");
    require_whole_files(whole, run.out);
    const Result again = run();
    INFO(again.err);
    REQUIRE(again.code == 0);
    require_equal_files(whole, run.out);
    fs::remove_all(run.out);
  }
  std::cout << run.formats << ": up to change " << n - 1 << " of the disk\n";
  return n - 1;
}

}  // namespace

TEST_CASE("training on a disk that is full from the n-th change on says so, and goes on to the same end") {
  const TemporaryFolder folder;
  const fs::path whole = folder / "whole", out = folder / "run";
  REQUIRE(train(training(whole)).code == 0);
  std::set<std::string> kinds;
  int n = 1;
  for (; fails_at(
           {.first = n}, [&] { return train(training(out)); }, kinds);
       n += kStride) {
    INFO("change " << n << " of the disk failed");
    require_goes_on(whole, out);
    fs::remove_all(out);
  }
  std::cout << "each of " << n - 1 << " changes of the disk\n";
  CHECK(n > 80);
  if (kStride > 1) return;
  require_kinds(kinds, {"run", "lock", "log.txt", "kernels.json", "env.json", "config.toml", "metrics.jsonl",
                        "events.out.tfevents.millrace", "pictures", "step__clip_.png", "model.safetensors",
                        "state.safetensors", "DONE", "step_", "latest", "result.json"});
}

TEST_CASE("a run that goes on without permission to write says so, and goes on to the same end later") {
  const TemporaryFolder folder;
  const fs::path whole = folder / "whole", half = folder / "half", out = folder / "run";
  REQUIRE(train(training(whole)).code == 0);
  std::set<std::string> kinds;
  REQUIRE(fails_at(
      {.first = 100}, [&] { return train(training(half)); }, kinds));
  REQUIRE(latest_of(half).filename() == "step_000002");
  int n = 1;
  const auto start = [&] {
    fs::remove_all(out);
    fs::copy(half, out, fs::copy_options::recursive);
    return go_on(out);
  };
  for (; fails_at({.first = n, .code = EACCES}, start, kinds); n += kStride) {
    INFO("change " << n << " of the disk failed");
    require_goes_on(whole, out);
  }
  std::cout << "each of " << n - 1 << " changes of the disk\n";
  CHECK(n > 40);
}

TEST_CASE("flow on a disk that is full from the n-th change on is made whole by the same command") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "weights");
  write_frames(folder / "data/a", {0, 3}, {64, 64});
  write_frames(folder / "data/b", {3, 2}, {64, 64});
  std::set<std::string> kinds;
  const FlowRun run{.weights = weights, .data = folder / "data", .out = folder / "out", .formats = "flo,png"};
  CHECK(require_made_whole(run, kStride, kinds) > 40);
  if (kStride == 1) require_kinds(kinds, {"a", "b", "flow_.flo", "flow_.png", "done.json"});
}

TEST_CASE("the same of JPEGs, their flow.json, KITTI's PNGs and videos") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "weights");
  write_frames(folder / "data/a", {0, 2}, {64, 64});
  const FlowRun run{
      .weights = weights, .data = folder / "data", .out = folder / "out", .formats = "jpg,kitti"};
  std::set<std::string> kinds;
  CHECK(require_made_whole(run, 2 * kStride, kinds) > 20);
  if (kStride == 1) require_kinds(kinds, {"flow_x_.jpg", "flow_y_.jpg", "kitti_.png", "flow.json"});
  if (!video_built_in()) return;
  for (const char* format : {"mp4", "mkv", "avi"}) {
    FlowRun video = run.to(folder / format);
    video.formats = format;
    CHECK(require_made_whole(video, kStride, kinds) > 8);
    if (kStride == 1) require_kinds(kinds, {kind_of(std::string("flow.") + format)});
  }
}

TEST_CASE("flow that is to replace flow leaves the old or the new whole, or says that neither is") {
  const TemporaryFolder folder;
  const fs::path old = folder / "old", whole = folder / "whole", out = folder / "out";
  const FlowRun run{.weights = small_run(folder, "weights"),
                    .data = folder / "data",
                    .out = out,
                    .formats = "png",
                    .more = "--overwrite --max-flow 5"};
  write_frames(folder / "data/a", {0, 3}, {64, 64});
  FlowRun before = run.to(old);
  before.more = "--max-flow 3";
  REQUIRE(before().code == 0);
  REQUIRE(run.to(whole)().code == 0);
  std::set<std::string> kinds;
  const auto start = [&] {
    fs::remove_all(out);
    fs::copy(old, out, fs::copy_options::recursive);
    return run();
  };
  int n = 1, neither = 0;
  for (; fails_at({.first = n}, start, kinds); n += kStride) {
    INFO("change " << n << " of the disk failed");
    const json done = json::parse(bytes_of(out / "a/done.json"));
    if (done.at("complete") != true)
      ++neither;
    else
      require_equal_files(done.at("made_with").at("max_flow") == 3 ? old : whole, out);
    const Result again = run();
    INFO(again.err);
    REQUIRE(again.code == 0);
    require_equal_files(whole, out);
  }
  std::cout << "up to change " << n - 1 << " of the disk, at " << neither << " neither is whole\n";
  CHECK(n > 15);
  CHECK(neither > 0);
}

TEST_CASE("synth on a disk that is full from the n-th change on says so, and goes on to the same set") {
  const TemporaryFolder folder;
  const Synth whole{.out = folder / "whole", .clips = 2}, set{.out = folder / "set", .clips = 2};
  REQUIRE(whole().code == 0);
  std::set<std::string> kinds;
  int n = 1;
  for (; fails_at({.first = n}, set, kinds); n += kStride) {
    INFO("change " << n << " of the disk failed");
    require_whole_files(whole.out, set.out, "synthetic.json");
    const Result again = set();
    INFO(again.err);
    REQUIRE(again.code == 0);
    require_equal_files(whole.out, set.out);
    fs::remove_all(set.out);
  }
  std::cout << "up to change " << n - 1 << " of the disk\n";
  CHECK(n > 50);
  if (kStride == 1)
    require_kinds(kinds, {"set", ".synthetic_train_.partial", "img_.png", "flow.flo", "synthetic_train_",
                          "clips.txt", "synthetic.json"});
}

TEST_CASE("synth that may no more write loses no clip of the set it adds to") {
  const TemporaryFolder folder;
  for (const char* format : {"ppm", "jpg"}) {
    INFO(format);
    const fs::path begun = folder / "begun", out = folder / "set", whole = folder / "whole";
    for (const fs::path& old : {begun, out, whole}) fs::remove_all(old);
    REQUIRE(Synth{.out = begun, .clips = 1, .format = format}().code == 0);
    REQUIRE(Synth{.out = whole, .clips = 2, .format = format}().code == 0);
    const Synth more{.out = out, .clips = 2, .format = format};
    std::set<std::string> kinds;
    const auto start = [&] {
      fs::remove_all(out);
      fs::copy(begun, out, fs::copy_options::recursive);
      return more();
    };
    int n = 1;
    for (; fails_at({.first = n, .code = EACCES}, start, kinds); n += 3 * kStride) {
      INFO("change " << n << " of the disk failed");
      for (const char* clip : {"synthetic_train_00000", "synthetic_train_00001"})
        if (fs::exists(out / clip)) require_equal_files(whole / clip, out / clip);
      REQUIRE(fs::exists(out / "synthetic_train_00000"));
      const json description = json::parse(bytes_of(out / "synthetic.json"));
      if (description.at("complete") == true)
        require_equal_files(description.at("clips") == 1 ? begun : whole, out);
      REQUIRE(more().code == 0);
      require_equal_files(whole, out);
    }
    CHECK(n > 25);
    if (kStride == 1) require_kinds(kinds, {std::string("img_.") + format});
  }
}
