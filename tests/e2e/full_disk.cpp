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

namespace {

using Arguments = std::vector<std::string>;

// The sanitizers make a run ten times slower; there one change of so many is tried.
#ifdef __SANITIZE_ADDRESS__
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
  REQUIRE_THAT(said, Contains("[") && Contains("expected") && Contains("motionnet-"));
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

TEST_CASE(
    "flow on a disk that is full from the n-th change on says so, and is made whole by the same command") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "weights"), whole = folder / "whole", out = folder / "out";
  write_frames(folder / "data/a", {0, 3}, {64, 64});
  write_frames(folder / "data/b", {3, 2}, {64, 64});
  const auto make = [&](const fs::path& to) {
    return flow({"--weights", weights.string(), "--data", (folder / "data").string(), "--out", to.string(),
                 "--format", "flo,png"});
  };
  REQUIRE(make(whole).code == 0);
  std::set<std::string> kinds;
  int n = 1;
  for (; fails_at(
           {.first = n}, [&] { return make(out); }, kinds);
       n += kStride) {
    INFO("change " << n << " of the disk failed");
    // What is there under its own name is whole.
    if (fs::exists(out)) {
      for (const auto& entry : fs::recursive_directory_iterator(out)) {
        const fs::path file = entry.path().lexically_relative(out);
        INFO(file);
        if (entry.is_regular_file() && (file.extension() == ".flo" || file.extension() == ".png"))
          REQUIRE((bytes_of(entry.path()) == bytes_of(whole / file)));
      }
    }
    const Result again = make(out);
    INFO(again.err);
    REQUIRE(again.code == 0);
    for (const char* item : {"a", "b"}) {
      REQUIRE(names_in(out / item) == names_in(whole / item));
      for (const std::string& name : names_in(whole / item))
        REQUIRE((bytes_of(out / item / name) == bytes_of(whole / item / name)));
    }
    fs::remove_all(out);
  }
  std::cout << "each of " << n - 1 << " changes of the disk\n";
  if (kStride > 1) return;
  require_kinds(kinds, {"a", "b", "flow_.flo", "flow_.png"});
}
