// Training and flow from lists of videos or frame folders.
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

void write_text(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

// Three moving scenes as folders of frames, below data/Class.
void write_scenes(const TemporaryFolder& folder) {
  int64_t first = 0;
  for (const char* name : {"Bow/v_Bow_1", "Run/v Run 2", "Run/v_Run_3"})
    write_frames(folder / "data" / name, {.first = first += 5, .count = 6}, {64, 96});
}

Result train_on(const TemporaryFolder& folder, const std::string& list, const std::string& run,
                const std::vector<std::string>& more = {}) {
  return train(join(join(tiny(), {"--iterations", "2", "--data", (folder / list).string(), "--data-root",
                                  (folder / "data").string(), "--out", (folder / run).string()}),
                    more));
}

}  // namespace

TEST_CASE("lists of every kind train, whatever their line ends, to the same bits") {
  const TemporaryFolder folder;
  write_scenes(folder);
  write_text(folder / "plain.txt", "Run/v Run 2.avi\nBow/v_Bow_1.avi\n");
  write_text(folder / "labels.txt", "Run/v Run 2.avi 1\r\nBow/v_Bow_1.avi 0\r\n\r\n");
  write_text(folder / "counts.list", "Run/v Run 2 6 1 \nBow/v_Bow_1 6 0 ");
  std::string expected;
  for (const std::string list : {"plain.txt", "labels.txt", "counts.list"}) {
    const std::string run = "run-" + list;
    const Result result = train_on(folder, list, run, {"--no-shuffle", "--hold-out", "0"});
    INFO(list << "\n" << result.err);
    REQUIRE(result.code == 0);
    CHECK_THAT(result.err, Contains("2 videos for training"));
    const std::string model = bytes_of(latest_of(folder / run) / "model.safetensors");
    if (expected.empty()) expected = model;
    CHECK(model == expected);
  }
}

TEST_CASE("a list of its own for validation, and the run remembers where its data is") {
  const TemporaryFolder folder;
  write_scenes(folder);
  write_text(folder / "train.txt", "Run/v Run 2 6 1\nBow/v_Bow_1 6 0\n");
  write_text(folder / "val.txt", "Run/v_Run_3.avi\n");
  const Result first = train_on(folder, "train.txt", "run", {"--validation", (folder / "val.txt").string()});
  INFO(first.err);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.err, Contains("2 videos for training"));
  const Result more = train({"--resume", "--out", (folder / "run").string(), "--iterations", "3"});
  INFO(more.err);
  CHECK(more.code == 0);
}

TEST_CASE("what is missing from a list's data stops a run before it begins, unless skipped") {
  const TemporaryFolder folder;
  write_scenes(folder);
  write_text(folder / "l.txt", "Run/v Run 2 1\nBow/v_Bow_1 0\nBow/gone 0\n");
  require_failure(train_on(folder, "l.txt", "no-run"),
                  {3, {"l.txt] expected its 3 videos", "1 missing: line 3, \"Bow/gone\"", "--data-root"}});
  const Result skipped = train_on(folder, "l.txt", "run", {"--skip-missing"});
  INFO(skipped.err);
  REQUIRE(skipped.code == 0);
  CHECK_THAT(skipped.err, Contains("warning: [") && Contains("1 missing") && Contains("left out"));
  write_text(folder / "l.txt", "Run/v Run 2 7 1\nBow/v_Bow_1 6 0\n");
  require_failure(train_on(folder, "l.txt", "no-run"), {3, {"line 1, \"Run/v Run 2\": 6 instead of 7"}});
  CHECK_FALSE(fs::exists(folder / "no-run"));
}

TEST_CASE("mistakes in lists and with them") {
  const TemporaryFolder folder;
  write_scenes(folder);
  const auto refused = [&](const std::string& text, const Expected& expected) {
    write_text(folder / "l.txt", text);
    require_failure(train_on(folder, "l.txt", "no-run"), expected);
  };
  refused("", {3, {"l.txt] expected a list with at least one video"}});
  refused("Run/v_Run_3.avi 1\nBow/v_Bow_1.avi -1\n", {3, {"l.txt:2]", "\"-1\""}});
  refused("Run/v_Run_3.avi 1\nBow/v_Bow_1.avi\n", {3, {"l.txt:1]", "as in line 2"}});
  refused("Run/v_Run_3.avi 99999999999999999999\n", {3, {"l.txt:1]", "2147483647"}});
  refused(std::string("\x7f"
                      "ELF\0\1",
                      6),
          {3, {"l.txt:1]", "0x00"}});
  refused(std::string(1 << 20, 'a'), {3, {"l.txt:1]", "at most 8192 bytes"}});
  require_failure(train_on(folder, "no-list.txt", "no-run"), {3, {"no-list.txt"}});
  require_failure(train_on(folder, "data", "no-run"), {2, {"--data-root", "a list"}});
  require_failure(
      train(join(tiny(), {"--data", "synthetic:", "--skip-missing", "--out", (folder / "no-run").string()})),
      {2, {"--skip-missing", "a list"}});
  require_failure(train_on(folder, "data", "no-run", {"--data", "hmdb51:lists,split=5,part=train"}),
                  {2, {"hmdb51:FOLDER,split=1,part=train"}});
  CHECK_FALSE(fs::exists(folder / "no-run"));
}

TEST_CASE("flow of what a list names, each in a folder of its own") {
  const TemporaryFolder folder;
  write_scenes(folder);
  const fs::path run = small_run(folder, "run");
  write_text(folder / "data/l.txt", "Run/v Run 2 1\r\nBow/v_Bow_1 0\r\n");
  const std::vector<std::string> arguments = {"--weights", run.string(),
                                              "--data",    (folder / "data/l.txt").string(),
                                              "--out",     (folder / "flow").string(),
                                              "--threads", "1"};
  const Result result = flow(arguments);
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(flow_names_in(folder / "flow/Run/v Run 2").size() == 5);
  CHECK(flow_names_in(folder / "flow/Bow/v_Bow_1").size() == 5);
  write_text(folder / "data/l.txt", "Run/v Run 2 1\nBow/no 0\n");
  require_failure(flow(arguments), {3, {"1 missing", "Bow/no", "--skip-missing"}});
  CHECK(flow(join(arguments, {"--skip-missing"})).code == 0);
}

TEST_CASE("a real data set by its list") {
  const auto lists = test_data("fights320/splits/trainlist01.txt");
  if (!lists || !video_built_in()) return;
  const TemporaryFolder folder;
  const Result result =
      train(join(tiny(), {"--iterations", "2", "--hold-out", "50", "--data", lists->string(), "--data-root",
                          lists->parent_path().parent_path().string(), "--out", (folder / "run").string()}));
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.err, Contains("206 videos for training"));
}
