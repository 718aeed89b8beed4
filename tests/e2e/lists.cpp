// Training on lists of videos or frame folders, their flow, and what millrace-data check says of them.
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
  write_text(folder / "from-one.txt", "Run/v Run 2.avi 2\nBow/v_Bow_1.avi 1\nRun/v Run 2.avi 2\n");
  write_text(folder / "up.txt", "../data/Run/v Run 2\n" + (folder / "data/Bow/v_Bow_1").string() + "\n");
  std::string expected;
  for (const std::string list : {"plain.txt", "labels.txt", "counts.list", "from-one.txt", "up.txt"}) {
    const std::string run = "run-" + list;
    const Result result = train_on(folder, list, run, {"--no-shuffle", "--hold-out", "0"});
    INFO(list << "\n" << result.err);
    REQUIRE(result.code == 0);
    CHECK_THAT(result.err, Contains("2 videos for training"));
    CHECK((result.err.find("lines repeated: 1; each counts once") != std::string::npos) ==
          (list == "from-one.txt"));
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
  refused("Run/v_Run_3 1\nBow/v_Bow_1 0\nRun/v_Run_3 0\n",
          {3, {"l.txt:3] expected label 1 for \"Run/v_Run_3\" as in line 1, got 0"}});
  refused("Run/v_Run_3 6 1\nRun/v_Run_3 5 1\n", {3, {"l.txt:2] expected frames 6", "got 5"}});
  refused("Run/v_Run_3 0 1\n", {3, {"l.txt:1]", "a number of frames from 1"}});
  refused("Run/v_Run_3 1\nRun/v_Run_3.avi 1\n", {3, {"l.txt:2] expected a video of its own"}});
  refused("Run/v_Run_3\n../l.txt\n", {3, {"l.txt:2] expected a video or a folder of frames, got a list"}});
  refused("Run/v_Run_3\nBow/\ngone/\n",
          {3, {"2 missing: line 2, \"Bow/\" (a folder without frames); line 3, \"gone/\""}});
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

TEST_CASE("flow of a list with mistakes is refused before anything is written") {
  const TemporaryFolder folder;
  write_scenes(folder);
  const fs::path list = folder / "data/l.txt", out = folder / "flow";
  const std::vector<std::string> arguments = {"--weights", small_run(folder, "run").string(),
                                              "--data",    list.string(),
                                              "--out",     out.string(),
                                              "--threads", "1"};
  const std::vector<std::pair<std::string, Expected>> mistakes = {
      {"", {3, {"l.txt] expected a list with at least one video"}}},
      {"Run/v_Run_3 -1\n", {3, {"l.txt:1]", "a label from 0", "\"-1\""}}},
      {"Run/v_Run_3 4294967296\n", {3, {"l.txt:1]", "2147483647", "\"4294967296\""}}},
      {"Run/v_Run_3 1\nRun/v_Run_3 2\n", {3, {"l.txt:2] expected label 1"}}},
      {"Run/v_Run_3 7 0\r\n", {3, {"line 1, \"Run/v_Run_3\": 6 instead of 7", "--skip-missing"}}},
      {"Run/v_Run_3\nl.txt\n", {3, {"l.txt:2]", "got a list"}}},
      {"Run\n", {3, {"1 missing: line 1, \"Run\" (a folder without frames)"}}},
      {"../gone\n", {3, {"1 missing: line 1, \"../gone\""}}},
      {"Run/v_Run_3\n/\n", {3, {"1 missing: line 2, \"/\""}}}};
  for (const auto& [text, expected] : mistakes) {
    write_text(list, text);
    require_failure(flow(arguments), expected);
    CHECK_FALSE(fs::exists(out));
  }
  fs::remove(list);
  require_failure(flow(arguments), {3, {"l.txt", "no such file"}});
}

TEST_CASE("flow of what a list names outside its folder lies inside --out") {
  const TemporaryFolder folder, elsewhere;
  write_scenes(folder);
  write_frames(folder / "data", {0, 2}, {64, 64});
  write_frames(elsewhere / "far", {0, 2}, {64, 64});
  write_text(folder / "data/Bow/l.txt",
             "../Run/v_Run_3\r\n" + (elsewhere / "far").string() + "\r\n..\r\nv_Bow_1\r\n");
  const fs::path run = small_run(folder, "run"), out = folder / "flow";
  const Result result = flow({"--weights", run.string(), "--data", (folder / "data/Bow/l.txt").string(),
                              "--out", out.string(), "--threads", "1"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(names_in(out) == std::vector<std::string>{"data", "far", "v_Bow_1", "v_Run_3"});
  CHECK(flow_names_in(out / "data").size() == 1);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"data", "flow", "run"});
  CHECK(names_in(elsewhere / "far").size() == 2);
}

TEST_CASE("check says of each line of a list what is wrong with it") {
  const TemporaryFolder folder;
  write_scenes(folder);
  fs::create_directories(folder / "data/Run/v_Run_9.avi");
  const fs::path list = folder / "data/l.txt";
  // The path and the reason of each problem.
  const auto problems = [&](const std::string& text, const std::vector<std::string>& more = {}) {
    write_text(list, text);
    const Result result =
        Process("millrace-data", join({"check", list.string(), "--json", "--threads", "1"}, more)).wait();
    INFO(result.err);
    std::vector<std::string> found;
    const json report = parse_only_line(result.out);
    for (const auto& p : report["problems"])
      found.push_back(p["path"].get<std::string>() + ": " + p["reason"].get<std::string>());
    REQUIRE(result.code == (found.empty() ? 0 : 3));
    return found;
  };
  CHECK(problems("Run/v_Run_3 6 2\r\n../data/Bow/v_Bow_1 6 1\r\n" + (folder / "data/Run/v Run 2").string() +
                 " 6 2\r\nRun/v_Run_3 6 2\r\n")
            .empty());
  const auto found =
      problems("Run/v_Run_3\nRun/../Run/v_Run_3\nl.txt\nRun/v_Run_9.avi\ngone/\n../gone.avi\n");
  REQUIRE(found.size() == 5);
  CHECK_THAT(found[0], Contains("l.txt:2: ") && Contains("is that of line 1 too"));
  CHECK_THAT(found[1], Contains("l.txt:3: \"l.txt\" is a list, no video"));
  CHECK_THAT(found[2], Contains("l.txt:4: ") && Contains("v_Run_9.avi has no frames"));
  CHECK_THAT(found[3], Contains("l.txt:5: \"gone/\" is not below"));
  CHECK_THAT(found[4], Contains("l.txt:6: \"../gone.avi\" is not below"));
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"", "a list with at least one video"},
           {"Run/v_Run_3 -1\n", "l.txt:1: expected a label from 0"},
           {"Run/v_Run_3 4294967296\n", "l.txt:1: expected a label from 0 to 2147483647"},
           {"Run/v_Run_3 0 1\n", "l.txt:1: expected a number of frames from 1"},
           {"Run/v_Run_3 1\nBow/v_Bow_1 1\nRun/v_Run_3 2\n", "l.txt:3: expected label 1"}}) {
    INFO(text);
    const auto only = problems(text);
    REQUIRE(only.size() == 1);
    CHECK_THAT(only[0], Contains(expected));
  }
  const auto check = [&](const fs::path& data) {
    return Process("millrace-data", {"check", data.string(), "--data-root", (folder / "data").string()})
        .wait();
  };
  require_failure(check(folder / "data"), {2, {"--data-root", "a list"}});
  const Result gone = check(folder / "gone.txt");
  CHECK(gone.code == 3);
  CHECK_THAT(gone.out, Contains("gone.txt: expected a readable file, got no such file"));
  fs::create_directories(folder / "sets.txt");
  fs::rename(folder / "data/Run", folder / "sets.txt/Run");
  CHECK(Process("millrace-data", {"check", (folder / "sets.txt").string()}).wait().code == 0);
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
