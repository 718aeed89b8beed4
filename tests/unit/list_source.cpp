// What open_source makes of a list.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "data/lists.h"
#include "data/source.h"
#include "data/video.h"
#include "tests/catch.h"
#include "tests/unit/avi.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

Image gray(int64_t value) {
  Image image;
  image.reshape({8, 16}, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(value));
  return image;
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// Frames that are all `value`, as numbered images or as a video.
struct Content {
  int64_t frames = 4;
  int64_t value = 0;
};
void write_folder(const fs::path& folder, const Content& content) {
  fs::create_directories(folder);
  for (int64_t k = 0; k < content.frames; ++k)
    write_png((folder / fmt::format("img_{:05}.png", k + 1)).string(), gray(content.value));
}
void write_video(const fs::path& path, const Content& content) {
  write(path, test::make_avi(std::vector<Image>(static_cast<size_t>(content.frames), gray(content.value)),
                             content.frames));
}

struct Opened {
  SourcePtr source;
  std::vector<std::string> warnings;
};
struct How {
  std::string root = {};
  bool skip_missing = false;
  int64_t min_frames = 2;
};
Opened open(const std::string& spec, const How& how = {}) {
  Opened opened;
  opened.source = open_source({.spec = spec,
                               .data_root = how.root,
                               .skip_missing = how.skip_missing,
                               .min_frames = how.min_frames,
                               .warn = [&](const std::string& text) { opened.warnings.push_back(text); }});
  return opened;
}
std::string failure(const std::string& spec, const How& how = {}) {
  return message_of([&] { open(spec, how); });
}
std::vector<std::string> names(const Opened& opened) {
  std::vector<std::string> found;
  for (int64_t k = 0; k < opened.source->size(); ++k) found.push_back(opened.source->name(k));
  return found;
}
int64_t value_of(const Opened& opened, int64_t item) {
  return opened.source->read({.item = item, .first = 0, .count = 1}).frames[0].pixels[0];
}
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a list gives its folders of frames in its order") {
  const TemporaryFolder folder;
  write_folder(folder / "data/Run/v_Run_1", {.frames = 4, .value = 1});
  write_folder(folder / "data/Bow/v Bow 2", {.frames = 5, .value = 2});
  write_folder(folder / "data/Bow/unlisted", {.frames = 5, .value = 3});
  write(folder / "lists/train.txt", "Run/v_Run_1 4 0\r\n\r\nBow/v Bow 2 5 1\r\n");
  const Opened opened = open(folder / "lists/train.txt", {.root = folder / "data"});
  CHECK(opened.warnings.empty());
  REQUIRE(names(opened) == Names{"Run/v_Run_1", "Bow/v Bow 2"});
  CHECK(opened.source->length(1) == 5);
  CHECK(value_of(opened, 0) == 1);
  CHECK(value_of(opened, 1) == 2);
  // Beside its data a list needs no root.
  write(folder / "data/train.txt", "Run/v_Run_1\n");
  CHECK(names(open(folder / "data/train.txt")) == Names{"Run/v_Run_1"});
  // A folder of that name is a folder.
  write_folder(folder / "odd.txt", {});
  CHECK(open(folder / "odd.txt").source->size() == 1);
}

TEST_CASE("a video of a list may be the folder of its frames, with or without its class") {
  const TemporaryFolder folder;
  write_folder(folder / "Run/v_Run_1", {.frames = 4, .value = 1});
  write_folder(folder / "v_Bow_1", {.frames = 4, .value = 2});
  write_folder(folder / "HandstandPushups/v_HandstandPushups_1", {.frames = 4, .value = 3});
  write(folder / "list.txt",
        "Run/v_Run_1.avi 1\nBow/v_Bow_1.avi 2\nHandstandPushups/v_HandStandPushups_1.avi 3\n");
  const Opened opened = open(folder / "list.txt");
  REQUIRE(names(opened) == Names{"Run/v_Run_1", "Bow/v_Bow_1", "HandstandPushups/v_HandStandPushups_1"});
  for (int64_t k = 0; k < 3; ++k) CHECK(value_of(opened, k) == k + 1);
  REQUIRE(opened.warnings.size() == 1);
  CHECK_THAT(opened.warnings[0], Contains("other upper and lower case: 1; taken"));
  // Two that differ only so cannot be told apart.
  write_folder(folder / "Handstandpushups/v_Handstandpushups_1", {});
  CHECK_THAT(failure(folder / "list.txt"), Contains("1 missing: line 3"));
}

TEST_CASE("names of items stay inside a folder of results, each its own") {
  const TemporaryFolder folder;
  for (const char* name : {"in/a", "out/a", "out/b", "in/c.1"}) write_folder(folder / name, {});
  write(folder / "in/list.txt",
        fmt::format("a\n../out/a\n{}\nc.1/\n./../in/../out\n", (folder / "out/b").string()));
  write_folder(folder / "out", {});
  CHECK(names(open(folder / "in/list.txt")) == Names{"a", "a_line2", "b", "c.1", "out"});
}

TEST_CASE("an item is called by a name of its own where its path has none, or another's") {
  const TemporaryFolder folder;
  for (const char* name : {"top", "top/in", "a", "a_line2"}) write_folder(folder / name, {});
  write(folder / "top/in/list.txt", "..\n.\n../../top/in/../../a\n");
  CHECK(names(open(folder / "top/in/list.txt")) == Names{"top", "in", "a"});
  write(folder / "top/list.txt", "../a\n" + (folder / "top/../top/in").string() + "\n../a_line2\n");
  CHECK(names(open(folder / "top/list.txt")) == Names{"a", "in", "a_line2"});
  write_folder(folder / "top/a", {});
  write(folder / "top/list.txt", "a\n../a\n../a_line2\n");
  CHECK(names(open(folder / "top/list.txt")) == Names{"a", "a_line2", "a_line2_line3"});
}

TEST_CASE("what is not there is not taken for the folder around it") {
  const TemporaryFolder folder;
  for (const char* name : {"", "in", "in/a"}) write_folder(folder / name, {});
  for (const std::string line : {"gone/", "gone/.", "gone/..", "a.avi/"}) {
    write(folder / "in/list.txt", line + "\na\n");
    CHECK_THAT(failure(folder / "in/list.txt"), Contains("1 missing: line 1, \"" + line + "\""));
  }
}

TEST_CASE("a list is no video, though libavformat would make one of its text") {
  const TemporaryFolder folder;
  write_folder(folder / "a", {});
  write_folder(folder / "odd.txt", {});
  std::string text = "a 1\nlist.txt 1\n";
  for (int k = 0; k < 3000; ++k) text += fmt::format("gone{}.avi 1\n", k);
  write(folder / "list.txt", text);
  for (const bool skip_missing : {false, true}) {
    CHECK_THAT(failure(folder / "list.txt", {.skip_missing = skip_missing}),
               Contains("list.txt:2] expected a video or a folder of frames, got a list, \"list.txt\""));
  }
  write(folder / "list.txt", "a 1\nodd.txt 1\n");  // a folder, whatever its name
  CHECK(names(open(folder / "list.txt")) == Names{"a", "odd.txt"});
}

TEST_CASE("missing files of a list are an error that counts them, unless they may be skipped") {
  const TemporaryFolder folder;
  write_folder(folder / "a", {});
  fs::create_directories(folder / "empty");
  write(folder / "list.txt", "a 0\nb 0\nc 1\nempty 1\ne 1\nf 1\n");
  const std::string message = failure(folder / "list.txt");
  CHECK_THAT(message, Contains("list.txt] expected its 6 videos or folders of frames below ") &&
                          Contains("\"path label\"") &&
                          Contains("5 missing: line 2, \"b\"; line 3, \"c\"; line 4, \"empty\" (a folder "
                                   "without frames); and 2 more") &&
                          Contains("--data-root") && Contains("--skip-missing"));
  const Opened opened = open(folder / "list.txt", {.skip_missing = true});
  CHECK(names(opened) == Names{"a"});
  REQUIRE(opened.warnings.size() == 1);
  CHECK_THAT(opened.warnings[0], Contains("5 missing") && Contains("left out"));
  write(folder / "list.txt", "b\nc\n");
  CHECK_THAT(failure(folder / "list.txt", {.skip_missing = true}), Contains("2 missing"));
  CHECK_THAT(failure(folder / "list.txt", {.root = folder / "nowhere"}),
             Contains("--data-root") && Contains("nowhere"));
  CHECK_THAT(failure(folder / "no.txt"), Contains("no.txt"));
}

TEST_CASE("folders must have as many frames as the list says") {
  const TemporaryFolder folder;
  write_folder(folder / "a", {.frames = 4});
  write_folder(folder / "b", {.frames = 4});
  write(folder / "list.txt", "a 4 0\nb 5 0\n");
  CHECK_THAT(failure(folder / "list.txt"), Contains("1 with other numbers: line 2, \"b\": 4 instead of 5"));
  CHECK(names(open(folder / "list.txt", {.skip_missing = true})) == Names{"a"});
}

TEST_CASE("broken, short and repeated entries of a list") {
  const TemporaryFolder folder;
  for (const char* name : {"good", "gap"}) write_folder(folder / name, {});
  write_folder(folder / "short", {.frames = 1});
  fs::remove(folder / "gap/img_00002.png");
  write(folder / "list.txt", "gap 0\nshort 0\ngood 0\ngood 0\n");
  const Opened opened = open(folder / "list.txt");
  CHECK(names(opened) == Names{"good"});
  REQUIRE(opened.warnings.size() == 3);
  CHECK_THAT(opened.warnings[0], Contains("gap") && Contains("left out"));
  CHECK_THAT(opened.warnings[1], Contains("lines repeated: 1"));
  CHECK_THAT(opened.warnings[2], Contains("[short] has 1 frame, 2 are needed"));
  write(folder / "list.txt", "gap\n");
  CHECK_THAT(failure(folder / "list.txt"), Contains("img_00003.png"));
  // One file for two lines: the list was made for another layout.
  write(folder / "list.txt", "x/good 0\ny/good 1\n");
  CHECK_THAT(failure(folder / "list.txt"),
             Contains("list.txt:2] expected a video of its own") && Contains("x/good"));
  for (const std::string same : {"./good", "good/", "gap/../good"}) {
    write(folder / "list.txt", "good 0\n" + same + " 0\n");
    CHECK_THAT(failure(folder / "list.txt"), Contains("list.txt:2] expected a video of its own"));
  }
  write(folder / "list.txt", "good 0\ngood 1\n");
  CHECK_THAT(failure(folder / "list.txt"), Contains("list.txt:2]"));
}

TEST_CASE("videos of a list, whose numbers of frames are only hints") {
  if (!have_video()) {
    WARN("skipped: built without video");
    return;
  }
  const TemporaryFolder folder;
  write_video(folder / "Run/v_1.avi", {.frames = 6, .value = 1});
  write_video(folder / "Bow/v_1.avi", {.frames = 3, .value = 2});
  write(folder / "Bow/v_2.avi", "no video");
  write(folder / "list.txt", "Run/v_1.avi 99 1\nBow/v_2.avi 4 0\nBow/v_1.avi 3 0\n");
  const Opened opened = open(folder / "list.txt");
  REQUIRE(names(opened) == Names{"Run/v_1", "Bow/v_1"});
  CHECK(opened.source->length(0) == 6);
  REQUIRE(opened.warnings.size() == 1);
  CHECK_THAT(opened.warnings[0], Contains("v_2.avi") && Contains("left out"));
}

TEST_CASE("hmdb51: takes a part of a split") {
  const TemporaryFolder folder;
  for (const char* name : {"data/wave/a", "data/wave/b", "data/sit/c"}) write_folder(folder / name, {});
  write(folder / "a,b/wave_test_split1.txt", "a.avi 1 \nb.avi 2 \n");
  write(folder / "a,b/sit_test_split1.txt", "c.avi 1 \n");
  const std::string lists = "hmdb51:" + (folder / "a,b").string();
  const How how{.root = folder / "data"};
  CHECK(names(open(lists + ",split=1,part=train", how)) == Names{"sit/c", "wave/a"});
  CHECK(names(open(lists + ",part=test,split=1", how)) == Names{"wave/b"});
  CHECK_THAT(failure(lists + ",split=2,part=test", how), Contains("_test_split2.txt"));
  for (const char* wrong : {"", ",split=1", ",part=test", ",split=4,part=test", ",split=1,part=all",
                            ",split=1,split=2,part=test"})
    CHECK_THAT(failure(lists + wrong, how),
               StartsWith("[hmdb51:] expected hmdb51:FOLDER,split=1,part=train"));
  CHECK_THAT(failure("hmdb51:,split=1,part=test"), StartsWith("[hmdb51:]"));
  CHECK_THAT(failure((folder / "a,b/wave_test_split1.txt").string(), how), Contains("hmdb51:FOLDER,split=1"));
}

TEST_CASE("real clips by their official lists") {
  const char* data = std::getenv("MILLRACE_TEST_DATA");
  if (data == nullptr || !have_video()) {
    WARN("skipped: " << (data ? "built without video" : "MILLRACE_TEST_DATA names no folder of real data"));
    return;
  }
  const fs::path root(data);
  const Opened fights = open((root / "fights320/splits/testlist01.txt").string(),
                             {.root = root / "fights320", .min_frames = 11});
  CHECK(fights.source->size() == 90);
  CHECK(fights.source->name(0) == "fight/fi106");
  // Four clips of UCF101 lie there without the folders of their classes; ApplyEyeMakeup_g01_c01 is for tests
  // in split 1.
  const How some{.root = root / "ucf101", .skip_missing = true};
  const Opened tested = open((root / "splits/ucf101/testlist01.txt").string(), some);
  CHECK(names(tested) == Names{"ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01", "Biking/v_Biking_g05_c02"});
  CHECK_THAT(tested.warnings.at(0), Contains("3781 missing"));
  const Opened train = open((root / "splits/ucf101/trainlist01.txt").string(), some);
  CHECK(names(train) ==
        Names{"SoccerJuggling/v_SoccerJuggling_g23_c01", "SoccerJuggling/v_SoccerJuggling_g24_c01"});
  CHECK_THAT(failure((root / "splits/ucf101/trainlist01.txt").string(), {.root = root / "ucf101"}),
             Contains("9535 missing: line 1, \"ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\""));
  const Opened hmdb51 = open("hmdb51:" + (root / "splits/hmdb51").string() + ",split=1,part=train",
                             {.root = root / "hmdb51", .skip_missing = true});
  CHECK(hmdb51.source->size() >= 1);
}
