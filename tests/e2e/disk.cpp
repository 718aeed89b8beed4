// Folders that cannot be written, or hold something else, and disks that are full.
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

using Arguments = std::vector<std::string>;

const Arguments kSynthetic = {"--data", "synthetic:"};

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("what else is in the folder of a run stays") {
  const TemporaryFolder folder;
  const fs::path out = folder / "mine";
  fs::create_directories(out / "checkpoints/.tmp_mine");
  write_text(out / "log.txt", "my log\n");
  write_text(out / "notes.txt", "my notes\n");
  const auto start = [&] {
    return train(join(join({"--data", (folder / "none").string(), "--out", out.string()}, tiny()),
                      {"--iterations", "1"}));
  };
  require_failure(start(), {2, {"mine", "checkpoints/.tmp_mine"}});
  CHECK(fs::exists(out / "checkpoints/.tmp_mine"));
  fs::remove_all(out / "checkpoints");
  require_failure(start(), {3, {"none"}});
  CHECK(names_in(out) == std::vector<std::string>{"log.txt", "notes.txt"});
  CHECK(lines_of(bytes_of(out / "log.txt")).front() == "my log");
}

TEST_CASE("folders that cannot be written") {
  const TemporaryFolder folder;
  const fs::path w = small_run(folder, "weights");
  write_text(folder / "file", "a file");
  write_frames(folder / "clip", {0, 2}, {64, 64});
  const auto start = [&](const std::string& out) {
    return train(join(join(kSynthetic, tiny()), {"--out", out}));
  };
  require_failure(start((folder / "file").string()), {1, {"file"}});
  require_failure(start((folder / "file/run").string()), {1, {"file"}});
  const auto write_flow = [&](const fs::path& out) {
    return flow({"--weights", w.string(), "--data", (folder / "clip").string(), "--out", out.string()});
  };
  require_failure(write_flow(folder / "file"), {1, {"file"}});
  if (::geteuid() == 0) {
    std::cout << "skipped: a folder without permission to write, root may write everywhere\n";
    return;
  }
  fs::create_directories(folder / "locked");
  fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  require_failure(start((folder / "locked/run").string()), {1, {"locked"}});
  require_failure(write_flow(folder / "locked/flow"), {1, {"locked"}});
  fs::permissions(folder / "locked", fs::perms::owner_all);
}

namespace {

// A file system of its own, as small as wanted; needs root.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& path) : path_(path) {
    fs::create_directories(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=8m") == 0;
    if (!mounted_)
      std::cout << "skipped: no small file system can be mounted: " << std::strerror(errno) << "\n";
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path path_;
  bool mounted_;
};

// Takes all but `left` bytes.
void fill_disk(const fs::path& folder, int64_t left) {
  std::ofstream file(folder / "ballast", std::ios::binary);
  const std::string page(4096, 'x');
  while (static_cast<int64_t>(fs::space(folder).available) > left && file.write(page.data(), 4096).flush()) {
  }
}

}  // namespace

TEST_CASE("a full disk: said before the start, and in the middle the last checkpoint stays") {
  const TemporaryFolder folder;
  const SmallDisk disk(folder / "disk");
  if (!disk.mounted()) return;
  const fs::path run = folder / "disk/run";
  const Arguments start = join(join(kSynthetic, tiny()), {"--out", run.string(), "--iterations", "4"});
  require_failure(train(join(start, {"--keep-checkpoints", "9"})), {1, {run.string(), "free disk space"}});
  CHECK_FALSE(fs::exists(run));

  REQUIRE(train(start).code == 0);
  const std::string kept = bytes_of(latest_of(run) / "model.safetensors");
  fill_disk(folder / "disk", 200000);
  const Arguments more = {"--resume", "--out", run.string(), "--iterations", "40", "--checkpoint-every", "1"};
  require_failure(train(more), {1, {run.string(), "free disk space"}});
  CHECK(latest_of(run).filename() == "step_000004");

  // It fills while the run goes.
  fs::remove(folder / "disk/ballast");
  Process process("motionnet-train", join(more, {"--iterations", "1000000"}));
  wait_for_lines(process, run, 10);
  fill_disk(folder / "disk", 0);
  const Result result = process.wait();
  INFO(result.err);
  CHECK(result.code == 1);
  CHECK_THAT(last_line(result.err), Contains(run.string()) && Contains("space"));
  fs::remove(folder / "disk/ballast");
  const fs::path latest = latest_of(run);
  const int step = std::stoi(latest.filename().string().substr(5));
  CHECK(step >= 4);
  const Result resumed = train({"--resume", "--out", run.string(), "--iterations", std::to_string(step + 2)});
  INFO(resumed.err);
  CHECK(resumed.code == 0);
  CHECK(metrics_of(run).size() == static_cast<size_t>(step + 2));
  for (const std::string& name : names_in(run / "checkpoints")) CHECK(name[0] != '.');
}
