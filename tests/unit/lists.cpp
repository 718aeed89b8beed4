#include "data/lists.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <set>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

VideoList parse(const std::string& text) { return parse_list(text, "some.txt"); }
std::string failure(const std::string& text) {
  return message_of([&] { parse(text); });
}

ListEntry entry(const VideoList& list, size_t k) { return list.entries.at(k); }

// Empty, with the reason printed, where the real lists are not.
fs::path real_data() {
  const char* folder = std::getenv("MILLRACE_TEST_DATA");
  if (folder == nullptr) WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
  return folder == nullptr ? fs::path() : fs::path(folder);
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

}  // namespace

TEST_CASE("a list's columns show in its lines") {
  const VideoList train = parse("Bow/v_Bow_g01_c01.avi 1\nRun/v_Run_g01_c01.avi 2\n");
  CHECK(train.columns == ListColumns::path_label);
  REQUIRE(train.entries.size() == 2);
  CHECK(entry(train, 1) == ListEntry{"Run/v_Run_g01_c01.avi", {}, 2, 2});

  const VideoList tested = parse("Bow/v_Bow_g01_c01.avi");  // no line end either
  CHECK(tested.columns == ListColumns::path);
  CHECK(entry(tested, 0) == ListEntry{"Bow/v_Bow_g01_c01.avi", {}, {}, 1});

  const VideoList frames = parse("v_Bow_g01_c01 124 0\nv_Run_g01_c01 2147483647 2147483647\n");
  CHECK(frames.columns == ListColumns::path_frames_label);
  CHECK(entry(frames, 0) == ListEntry{"v_Bow_g01_c01", 124, 0, 1});
  CHECK(entry(frames, 1).label == 2147483647);

  CHECK(parse("a\nb\n").columns == ListColumns::path);
  CHECK(parse("/data/a.MP4 3 4\n").entries[0] == ListEntry{"/data/a.MP4", 3, 4, 1});
}

TEST_CASE("line ends, blank lines, blanks at ends and a byte order mark are no part of a list") {
  const VideoList plain = parse("a.avi 1\nb.avi 2\n");
  for (const std::string text :
       {"a.avi 1\r\nb.avi 2\r\n", "a.avi 1 \nb.avi 2\t \r\n\r\n", "a.avi\t1\nb.avi   2",
        "\xEF\xBB\xBF"
        "a.avi 1\nb.avi 2\n\n\n"}) {
    CHECK(parse(text).entries == plain.entries);
  }
  const VideoList gap = parse("\r\n\n  a.avi 1\n \t \nb.avi 2");
  CHECK(entry(gap, 0).line == 3);
  CHECK(entry(gap, 1).line == 5);
}

TEST_CASE("names may hold blanks and numbers") {
  CHECK(entry(parse("air drumming/my clip 7.avi 3\n"), 0).path == "air drumming/my clip 7.avi");
  CHECK(entry(parse("clip 12 7.avi\n"), 0) == ListEntry{"clip 12 7.avi", {}, {}, 1});
  CHECK(entry(parse("two.avi words.mp4 5\n"), 0).path == "two.avi words.mp4");
  CHECK(entry(parse("air drumming/x 20 3\n"), 0) == ListEntry{"air drumming/x", 20, 3, 1});
  CHECK(entry(parse("BASE_JUMPING!!!!_dive.avi 1 \n"), 0).path == "BASE_JUMPING!!!!_dive.avi");
  CHECK(entry(parse("7\n"), 0) == ListEntry{"7", {}, {}, 1});
  CHECK(entry(parse("7 8\n"), 0) == ListEntry{"7", {}, 8, 1});
  // All lines are alike, so the second number of one is none where another line has but one.
  CHECK(parse("Run/clip 2 7\nRun/other 7\n").entries[0] == ListEntry{"Run/clip 2", {}, 7, 1});
  CHECK(parse("take 2\ntake two\n").entries[0] == ListEntry{"take 2", {}, {}, 1});
  CHECK(parse("take 2\ntake two\n").columns_line == 2);
  // The caller who knows better says so.
  CHECK(parse_list("take 2\ntake 3\n", "x", ListColumns::path).entries[1].path == "take 3");
  CHECK(parse_list("take 2 5\n", "x", ListColumns::path_label).entries[0] == ListEntry{"take 2", {}, 5, 1});
  CHECK_THAT(message_of([] { parse_list("take two\n", "x", ListColumns::path_label); }),
             StartsWith("[x:1] expected \"path label\", got \"take two\""));
}

TEST_CASE("what is no list says where and why") {
  CHECK_THAT(failure(""), StartsWith("[some.txt] expected a list with at least one video, got no line"));
  CHECK_THAT(failure("\r\n \n"), Contains("no line with text"));
  CHECK_THAT(failure("a.avi 1\nb.avi\n"),
             StartsWith("[some.txt:1] expected \"path\" as in line 2, got \"a.avi 1\""));
  CHECK_THAT(failure("a.avi 1\nb.avi 2\nc.avi\nd.avi 1\n"),
             StartsWith("[some.txt:3] expected \"path label\" as in line 1, got \"c.avi\""));
  CHECK_THAT(failure("a.avi 3 1\nb 1\n"), StartsWith("[some.txt:1] expected \"path label\" as in line 2"));
  CHECK_THAT(failure("a.avi -1\n"),
             StartsWith("[some.txt:1] expected a label from 0 to 2147483647, got \"-1\""));
  CHECK_THAT(failure("a.avi 1\nb.avi 99999999999999999999999\n"), Contains("some.txt:2"));
  CHECK_THAT(failure("a.avi 2147483648\n"), Contains("2147483647"));
  CHECK_THAT(failure("a 0 1\n"), Contains("a number of frames from 1"));
  CHECK_THAT(failure("a -5 1\n"), Contains("a number of frames from 1"));
  CHECK_THAT(failure("a.avi one\n"), Contains("behind \"a.avi\", got \"one\""));
  CHECK_THAT(failure("a.avi 1.5\n"), Contains("got \"1.5\""));
  CHECK_THAT(failure("a.avi 1 2 3\n"), Contains("got \"1 2 3\""));
  CHECK_THAT(failure("a.avi 1\n" + std::string(1 << 20, 'x') + "\n"),
             StartsWith("[some.txt:2] expected lines of at most 8192 bytes, got 1048576"));
  CHECK_THAT(failure(std::string("a.avi 1\nb\0.avi 2\n", 17)),
             StartsWith("[some.txt:2] expected lines of text, got the byte 0x00"));
  CHECK_THAT(failure("\x89PNG\r\n\x1a\n"), Contains("0x1a"));
  CHECK_THAT(failure("a.avi 1\rb.avi 2\r"), Contains("0x0d"));
  CHECK_THAT(message_of([] { parse_list("a.avi 1\n", "splits/wave_test_split2.txt"); }),
             Contains("HMDB51") && Contains("split=2"));
}

TEST_CASE("a repeated line counts once, a contradiction is an error") {
  const VideoList list = parse("a.avi 1\nb.avi 2\na.avi 1\na.avi 1\n");
  CHECK(list.entries.size() == 2);
  CHECK(list.repeated == 2);
  CHECK_THAT(failure("a.avi 1\nb.avi 2\na.avi 3\n"),
             StartsWith("[some.txt:3] expected label 1 for \"a.avi\" as in line 1, got 3"));
  CHECK_THAT(failure("a 10 1\na 11 1\n"), Contains("expected frames 10 for \"a\" as in line 1, got 11"));
}

TEST_CASE("random bytes and cut lists either parse or fail as data") {
  std::mt19937 random(7);
  const std::string seed = "Bow/v_Bow_g01_c01.avi 12 1\r\nRun fast/v 2 3\n-4 \t0\n";
  int64_t parsed = 0, failed = 0;
  for (int k = 0; k < 3000; ++k) {
    std::string text = seed.substr(0, random() % (seed.size() + 1));
    for (unsigned n = random() % 4; n > 0 && !text.empty(); --n)
      text[random() % text.size()] = k % 2 ? static_cast<char>(random()) : " \n9a.-"[random() % 6];
    try {
      parsed += static_cast<int64_t>(parse(text).entries.size());
    } catch (const Error& e) {
      REQUIRE(e.kind() == ErrorKind::data);
      ++failed;
    }
  }
  CHECK(parsed > 0);
  CHECK(failed > 0);
}

TEST_CASE("class names come with numbers or without") {
  const ClassNames ucf = parse_class_names("1 ApplyEyeMakeup\r\n2 Archery\r\n", "c");
  CHECK(ucf.first == 1);
  CHECK(ucf.names == std::vector<std::string>{"ApplyEyeMakeup", "Archery"});
  const ClassNames zero = parse_class_names("1 air drumming\n0 abseiling\n", "c");
  CHECK(zero.first == 0);
  CHECK(zero.names == std::vector<std::string>{"abseiling", "air drumming"});
  const ClassNames plain = parse_class_names("air drumming\n3 point shot\n", "c");
  CHECK(plain.first == 0);
  CHECK(plain.names[1] == "3 point shot");
  const auto message = [](const std::string& text) {
    return message_of([&] { parse_class_names(text, "c"); });
  };
  CHECK_THAT(message("1 a\n3 b\n"), Contains("[c:2]") && Contains("got \"3\""));
  CHECK_THAT(message("1 a\n1 b\n"), Contains("[c:2]") && Contains("the number of \"a\" again"));
  CHECK_THAT(message("a\nb\na\n"), Contains("[c:3]") && Contains("as in line 1"));
  CHECK_THAT(message("\n"), Contains("no line with text"));
}

TEST_CASE("labels count from 0 afterwards, by a rule that never guesses") {
  const ClassNames classes = parse_class_names("1 Bow\n2 HandstandPushups\n3 Run\n", "c");
  const auto labels = [](const std::string& text, const LabelOptions& options) {
    VideoList list = parse(text);
    number_labels(list, options);
    std::vector<int64_t> found;
    for (const ListEntry& e : list.entries) found.push_back(e.label.value());
    return found;
  };
  const auto message = [&](const std::string& text, const LabelOptions& options) {
    return message_of([&] { labels(text, options); });
  };
  using Labels = std::vector<int64_t>;
  // By the classes of folders, whichever base the list has.
  CHECK(labels("Bow/a.avi 1\nRun/b.avi 3\n", {.classes = &classes}) == Labels{0, 2});
  CHECK(labels("Bow/a.avi 0\nRun/b.avi 2\n", {.classes = &classes}) == Labels{0, 2});
  CHECK(labels("HandStandPushups/a.avi 2\n", {.classes = &classes}) == Labels{1});
  CHECK(labels("Run/a.avi\nhandstandpushups/b.avi\n", {.classes = &classes}) == Labels{2, 1});
  CHECK_THAT(
      message("Bow/a.avi 1\nRun/b.avi 3\nRun/c.avi 1\n", {.classes = &classes}),
      StartsWith("[some.txt:3] expected label 3 of its folder's class \"Run\" (labels count from 1), got 1"));
  CHECK_THAT(message("Walk/a.avi\n", {.classes = &classes}),
             Contains("[some.txt:1]") && Contains("Walk/a.avi"));
  CHECK_THAT(message("Bow/a.avi\n", {}), Contains("a label, or a path whose folder is a class"));
  // Without folders, by a 0 or by the highest number there can be.
  CHECK(labels("a.avi 0\nb.avi 2\n", {}) == Labels{0, 2});
  CHECK(labels("a.avi 1\nb.avi 3\n", {.classes = &classes}) == Labels{0, 2});
  CHECK_THAT(message("a.avi 1\nb.avi 2\n", {}), Contains("from 1 to 2, which both may be"));
  CHECK_THAT(message("a.avi 1\nb.avi 2\n", {.classes = &classes}), Contains("which both may be"));
  // The caller's word.
  CHECK(labels("a.avi 1\nb.avi 2\n", {.base = LabelBase::zero}) == Labels{1, 2});
  CHECK(labels("a.avi 1\nb.avi 2\n", {.base = LabelBase::one}) == Labels{0, 1});
  CHECK_THAT(message("a.avi 0\n", {.base = LabelBase::one}), Contains("at least 1, got 0"));
  CHECK_THAT(message("a.avi 0\nb.avi 3\n", {.classes = &classes}),
             StartsWith("[some.txt:2] expected a label from 0 to 2, got 3"));
}

TEST_CASE("the lists of HMDB51 are one file a class") {
  CHECK(hmdb51_name("x/brush_hair_test_split3.txt")->class_name == "brush_hair");
  CHECK(hmdb51_name("x/brush_hair_test_split3.txt")->split == 3);
  for (const char* other :
       {"trainlist01.txt", "_test_split1.txt", "a_test_split.txt", "a_test_split12.txt", "a_test_split1.csv"})
    CHECK_FALSE(hmdb51_name(other));

  const TemporaryFolder folder;
  write(folder / "wave_test_split1.txt", "a b.avi 1 \nc.avi 2 \nd.avi 0 \n");
  write(folder / "brush_hair_test_split1.txt", "e.avi 1 \r\nf.avi 1 \r\n");
  write(folder / "wave_test_split2.txt", "c.avi 1\n");
  const VideoList train = read_hmdb51({.folder = folder.path(), .split = 1, .part = Hmdb51Part::train});
  CHECK(train.classes == std::vector<std::string>{"brush_hair", "wave"});
  REQUIRE(train.entries.size() == 3);
  CHECK(train.entries[0].path == "brush_hair/e.avi");
  CHECK(train.entries[2].path == "wave/a b.avi");
  CHECK(train.entries[2].label == 1);
  const VideoList tested = read_hmdb51({.folder = folder.path(), .split = 1, .part = Hmdb51Part::test});
  CHECK(tested.entries.size() == 1);
  const ClassNames names = parse_class_names("wave\nbrush_hair\n", "c"),
                   fewer = parse_class_names("wave\n", "c");
  CHECK(read_hmdb51({.folder = folder.path(), .classes = &names}).entries[0].label == 1);
  CHECK_THAT(message_of([&] { read_hmdb51({.folder = folder.path(), .classes = &fewer}); }),
             Contains("brush_hair_test_split1.txt] expected a class that the names of classes have"));
  const auto message = [&](int64_t split, Hmdb51Part part) {
    return message_of([&] { read_hmdb51({.folder = folder.path(), .split = split, .part = part}); });
  };
  CHECK_THAT(message(3, Hmdb51Part::train), Contains("<class>_test_split3.txt, got one without"));
  CHECK_THAT(message(2, Hmdb51Part::test), Contains("clips marked 2, got none"));
  write(folder / "wave_test_split2.txt", "c.avi 3\n");
  CHECK_THAT(message(2, Hmdb51Part::test), Contains("wave_test_split2.txt:1] expected 0 (unused)"));
  write(folder / "wave_test_split2.txt", "c.avi\n");
  CHECK_THAT(message(2, Hmdb51Part::test), Contains("wave_test_split2.txt:1]"));
  CHECK_THAT(message_of([] { read_hmdb51({.folder = "no/such/folder"}); }), Contains("no/such/folder"));
}

TEST_CASE("the official lists of UCF101") {
  const fs::path data = real_data();
  if (data.empty()) return;
  const ClassNames classes = read_class_names(data / "splits/ucf101/classInd.txt");
  REQUIRE(classes.names.size() == 101);
  CHECK(classes.first == 1);
  CHECK(classes.names[36] == "HandstandPushups");
  const size_t counts[3][2] = {{9537, 3783}, {9586, 3734}, {9624, 3696}};
  for (int split = 1; split <= 3; ++split) {
    const fs::path folder = data / "splits/ucf101";
    VideoList train = read_list(folder / fmt::format("trainlist0{}.txt", split));
    VideoList tested = read_list(folder / fmt::format("testlist0{}.txt", split));
    CHECK(train.columns == ListColumns::path_label);
    CHECK(tested.columns == ListColumns::path);
    CHECK(train.entries.size() == counts[split - 1][0]);
    CHECK(tested.entries.size() == counts[split - 1][1]);
    CHECK(train.repeated + tested.repeated == 0);
    number_labels(train, {.classes = &classes});
    number_labels(tested, {.classes = &classes});
    std::set<int64_t> seen;
    for (const ListEntry& e : tested.entries) seen.insert(e.label.value());
    CHECK(seen.size() == 101);
    CHECK(train.entries.front().label == 0);
    CHECK(train.entries.back().label == 100);
  }
}

TEST_CASE("the official lists of HMDB51, and names of Kinetics") {
  const fs::path data = real_data();
  if (data.empty()) return;
  for (int split = 1; split <= 3; ++split) {
    Hmdb51Options options{.folder = data / "splits/hmdb51", .split = split, .part = Hmdb51Part::train};
    const VideoList train = read_hmdb51(options);
    CHECK(train.entries.size() == 3570);
    CHECK(train.classes.size() == 51);
    CHECK(train.classes[20] == "kick");
    CHECK(train.entries.front().label == 0);
    options.part = Hmdb51Part::test;
    CHECK(read_hmdb51(options).entries.size() == 1530);
    const ClassNames published = read_class_names(data / "splits/hmdb51/class_list.txt");
    options.classes = &published;
    const VideoList named = read_hmdb51(options);
    CHECK(named.classes[20] == "kick_ball");
    for (const ListEntry& e : named.entries)
      CHECK(e.path.starts_with(published.names.at(static_cast<size_t>(e.label.value())) + "/"));
  }
  CHECK(read_class_names(data / "splits/kinetics400_label_map.txt").names[1] == "air drumming");
}
