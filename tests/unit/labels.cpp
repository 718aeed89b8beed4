// Labels of what open_source opens, and what training and test data must have in common.
#include "data/labels.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "data/loader.h"
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

using Names = std::vector<std::string>;

fs::path real_data() {
  const char* folder = std::getenv("MILLRACE_TEST_DATA");
  if (folder == nullptr) WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
  return folder == nullptr ? fs::path() : fs::path(folder);
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

void write_frames(const fs::path& folder, int64_t frames = 3) {
  for (int64_t k = 1; k <= frames; ++k)
    write(folder / fmt::format("img_{:05}.ppm", k), "P6 4 4 255\n" + std::string(48, 'x'));
}

struct Opened {
  SourcePtr source;
  Names warnings;
};
Opened open(SourceOptions options) {
  Opened opened;
  options.labelled = true;
  options.warn = [&](const std::string& text) { opened.warnings.push_back(text); };
  opened.source = open_source(options);
  opened.source->size();
  return opened;
}
std::string failure(const SourceOptions& options) {
  return message_of([&] { open(options); });
}

// "class/name" of every item.
Names labelled_names(const ClipSource& source) {
  Names found;
  for (int64_t k = 0; k < source.size(); ++k) {
    const auto label = static_cast<size_t>(source.label(k).value());
    found.push_back(source.classes().at(label) + ":" + source.name(k));
  }
  return found;
}

}  // namespace

TEST_CASE("the folders below a folder are its classes, in the alphabet's order") {
  const TemporaryFolder folder;
  write_frames(folder / "set/run/b");
  write_frames(folder / "set/bow/one/a");  // deeper: the first folder is the class
  write_frames(folder / "set/bow/c");
  const Opened opened = open({.spec = folder / "set"});
  CHECK(opened.source->classes() == Names{"bow", "run"});
  CHECK(labelled_names(*opened.source) == Names{"bow:bow/c", "bow:bow/one/a", "run:run/b"});
  CHECK(opened.warnings.empty());
  // Without being asked for, labels are not looked for.
  const SourcePtr plain = open_source({.spec = folder / "set"});
  CHECK_FALSE(plain->label(0));
  CHECK(plain->classes().empty());
  // By the names of a training, which may write them in another way; or by those of a file.
  const Opened named = open({.spec = folder / "set", .class_names = {"walk", "Run", "BOW"}});
  CHECK(labelled_names(*named.source) == Names{"BOW:bow/c", "BOW:bow/one/a", "Run:run/b"});
  CHECK(named.source->label(2) == 1);
  write(folder / "names.txt", "run\nbow\n");
  CHECK(open({.spec = folder / "set", .classes_file = folder / "names.txt"}).source->label(2) == 0);
  CHECK_THAT(failure({.spec = folder / "set", .class_names = {"bow", "walk"}}),
             Contains("set/run/b] expected one of the 2 given classes (bow, walk), got class \"run\""));
}

TEST_CASE("a folder without class folders says what to give") {
  const TemporaryFolder folder;
  write_frames(folder / "set/bow/a");
  CHECK_THAT(failure({.spec = folder / "set/bow/a"}), Contains("a folder for each class"));
  CHECK_THAT(failure({.spec = folder / "set/bow"}),
             Contains("expected a folder for each class, with its videos in it") && Contains("in none"));
  const Opened one = open({.spec = folder / "set"});
  REQUIRE(one.warnings.size() == 1);
  CHECK_THAT(one.warnings[0], Contains("all videos are of one class, \"bow\"; the folder given should hold"));
  CHECK_THAT(failure({.spec = "synthetic:"}), Contains("expected videos with labels, got none"));
}

TEST_CASE("items that are left out take their labels with them") {
  const TemporaryFolder folder;
  write_frames(folder / "set/a/1", 1);
  write_frames(folder / "set/b/1", 5);
  write_frames(folder / "set/c/1", 4);
  const Opened opened = open({.spec = folder / "set", .min_frames = 2});
  CHECK(labelled_names(*opened.source) == Names{"b:b/1", "c:c/1"});
  CHECK(opened.source->classes() == Names{"a", "b", "c"});
  CHECK(short_items(*opened.source, 5) == 1);
  CHECK(short_items(*opened.source, 6) == 2);
  const SourcePtr part = take_items(opened.source, {1});
  CHECK(part->label(0) == 2);
  CHECK(part->classes() == opened.source->classes());
  CHECK(without_last_frames(opened.source, 1)->label(1) == 2);
}

TEST_CASE("a list's classes have names from a file, from beside it, from its folders, or are numbers") {
  const TemporaryFolder folder;
  for (const char* video : {"Run/1", "Bow/2", "HandstandPushups/v_HandStandPushups_1"})
    write_frames(folder / "data" / video);
  const std::string data = folder / "data", train = folder / "train.txt";
  const auto labels = [&](const SourceOptions& options) { return labelled_names(*open(options).source); };
  write(train, "Run/1.avi 3\nBow/2.avi 1\nHandStandPushups/v_HandStandPushups_1.avi 2\n");
  const Names by_name = {"Run:Run/1", "Bow:Bow/2", "HandstandPushups:HandStandPushups/v_HandStandPushups_1"};
  CHECK(open({.spec = train, .data_root = data}).source->classes() ==
        Names{"Bow", "HandStandPushups", "Run"});
  write(folder / "classInd.txt", "1 Bow\r\n2 HandstandPushups\r\n3 Run\r\n4 Walk\r\n");
  CHECK(labels({.spec = train, .data_root = data}) == by_name);
  CHECK(open({.spec = train, .data_root = data}).source->classes().size() == 4);
  // A test list without labels takes them from its folders, one from 0 has the same.
  write(train, "Run/1.avi\nBow/2.avi\nHandStandPushups/v_HandStandPushups_1.avi\n");
  CHECK(labels({.spec = train, .data_root = data}) == by_name);
  write(train, "Run/1.avi 2\nBow/2.avi 0\nHandStandPushups/v_HandStandPushups_1.avi 1\n");
  CHECK(labels({.spec = train, .data_root = data}) == by_name);
  // A training's names number what the list's names say.
  const Opened other =
      open({.spec = train, .data_root = data, .class_names = {"Walk", "Run", "HandstandPushups", "Bow"}});
  CHECK(labelled_names(*other.source) == by_name);
  CHECK(other.source->label(1) == 3);
  CHECK_THAT(failure({.spec = train, .data_root = data, .class_names = {"Walk", "Run"}}),
             Contains("train.txt:2] expected one of the 2 given classes (Walk, Run), got class \"Bow\""));
  fs::remove(folder / "classInd.txt");
  write(train, "Run/1 0\nBow/2 2\n");  // a number is left out
  CHECK(labels({.spec = train, .data_root = data}) == Names{"0:Run/1", "2:Bow/2"});
  write(train, "Run/1 1\nBow/2 3\n");
  CHECK_THAT(failure({.spec = train, .data_root = data}), Contains("--label-base 0 or 1"));
  CHECK(labels({.spec = train, .data_root = data, .label_base = LabelBase::one}) ==
        Names{"0:Run/1", "2:Bow/2"});
  write(train, "Run/1 0\nBow/2 2147483647\n");
  CHECK_THAT(failure({.spec = train, .data_root = data}), Contains("where classes have no names"));
  write(train, "../data/Run/1\n");
  CHECK(labels({.spec = train, .data_root = data}) == Names{"Run:1"});
  write(folder / "data/flat.txt", "loose.avi\n");
  write_frames(folder / "data/loose");
  CHECK_THAT(failure({.spec = folder / "data/flat.txt"}),
             Contains("flat.txt:1] expected a label, or a path whose folder is a class"));
}

TEST_CASE("HMDB51's lists label their clips") {
  const TemporaryFolder folder;
  write(folder / "lists/wave_test_split1.txt", "a.avi 1 \nb.avi 2 \n");
  write(folder / "lists/brush_hair_test_split1.txt", "c.avi 1 \n");
  for (const char* video : {"wave/a", "wave/b", "brush_hair/c"}) write_frames(folder / "data" / video);
  SourceOptions options{.spec = "hmdb51:" + (folder / "lists").string() + ",split=1,part=train",
                        .data_root = folder / "data"};
  CHECK(labelled_names(*open(options).source) == Names{"brush_hair:brush_hair/c", "wave:wave/a"});
  options.class_names = {"wave", "brush hair"};
  CHECK(labelled_names(*open(options).source) == Names{"brush hair:brush_hair/c", "wave:wave/a"});
  write(folder / "names.txt", "wave\n");
  options.class_names.clear();
  options.classes_file = folder / "names.txt";
  CHECK_THAT(failure(options), Contains("one of the 1 given classes (wave), got class \"brush_hair\""));
}

TEST_CASE("a batch has the labels of its samples") {
  const TemporaryFolder folder;
  for (int k = 0; k < 5; ++k) write_frames(folder / fmt::format("set/{}/v", "abcde"[k]));
  const Opened opened = open({.spec = folder / "set"});
  LoaderOptions options{.batch = 2,
                        .frames = 2,
                        .geometry = {.network = {4, 4}, .crop = Crop::none},
                        .threads = 3,
                        .want_labels = true,
                        .shuffle = false,
                        .end = 5};
  Loader loader(opened.source, options);
  for (int32_t first = 0; first < 5; first += 2) {
    const Batch batch = loader.next();
    REQUIRE(batch.labels != nullptr);
    CHECK(batch.labels[0] == first);
    CHECK(batch.labels[1] == (first + 1 < 5 ? first + 1 : 0));  // zero behind the last
  }
  options.shuffle = true;
  options.end = 0;
  Loader shuffled(opened.source, options), again(opened.source, options);
  std::vector<int64_t> counts(5);
  for (int k = 0; k < 5; ++k) {
    const Batch batch = shuffled.next();
    for (int n = 0; n < 2; ++n) ++counts[static_cast<size_t>(batch.labels[n])];
  }
  CHECK(counts == std::vector<int64_t>(5, 2));  // two epochs
  options.want_labels = false;
  CHECK(Loader(opened.source, options).next().labels == nullptr);
  options.want_labels = true;
  Loader unlabelled(open_source({.spec = folder / "set"}), options);
  CHECK_THAT(message_of([&] { unlabelled.next(); }), Contains("expected a label, got none"));
}

TEST_CASE("classes that differ are told by the first that does") {
  const Names a = {"bow", "run", "walk"}, other = {"bow", "walk", "run"}, fewer = {"bow", "run"};
  check_same_classes({"train", a}, {"test", a});
  const auto message = [](const Names& one, const Names& two) {
    return message_of([&] { check_same_classes({"split 1", one}, {"split 2", two}); });
  };
  CHECK_THAT(message(a, other),
             StartsWith("[split 2] expected class 1 to be \"run\" as in split 1, got \"walk\""));
  CHECK_THAT(message(a, fewer), Contains("the 3 classes of split 1, got 2; \"walk\" is only in split 1"));
  CHECK_THAT(message(fewer, a), Contains("the 2 classes of split 1, got 3; \"walk\" is only in split 2"));
}

TEST_CASE("test videos that training has too are counted and named") {
  const TemporaryFolder folder;
  for (const char* video :
       {"train/bow/1", "train/bow/2", "train/run/1", "test/bow/2", "test/run/7", "test/walk/1"})
    write_frames(folder / video);
  const Opened train = open({.spec = folder / "train"}), tested = open({.spec = folder / "test"});
  // bow/2 is the same name in the same class; walk/1 is called like bow/1 but of another.
  const SharedVideos shared = shared_videos(*train.source, *tested.source);
  CHECK(shared.count == 1);
  CHECK(shared.first == Names{"bow/2"});
  CHECK(shared_videos_warning(*train.source, *tested.source) ==
        "1 of 3 test videos are training videos too: bow/2; what they show is no test");
  CHECK(shared_videos(*train.source, *train.source).count == 3);
  CHECK(shared_videos_warning(*train.source, *take_items(tested.source, {1})).empty());
  // The same place under another name.
  fs::create_directory_symlink(folder / "train/run/1", folder / "test/walk/9");
  CHECK(shared_videos(*train.source, *open({.spec = folder / "test"}).source).count == 2);
}

TEST_CASE("real clips of fights, by their lists") {
  const fs::path data = real_data();
  if (data.empty()) return;
  const fs::path fights = data / "fights320";
  const Opened train = open({.spec = fights / "splits/trainlist01.txt", .data_root = fights});
  const Opened tested = open({.spec = fights / "splits/testlist01.txt",
                              .data_root = fights,
                              .class_names = train.source->classes()});
  CHECK(train.source->size() == 210);
  CHECK(tested.source->size() == 90);
  check_same_classes({"train", train.source->classes()}, {"test", tested.source->classes()});
  CHECK(train.source->classes() == Names{"fight", "noFight"});
  int64_t fighting = 0;
  for (int64_t k = 0; k < 90; ++k) {
    fighting += tested.source->label(k) == 0;
    const auto name = tested.source->name(k);
    REQUIRE(name.starts_with(tested.source->label(k) == 0 ? "fight/" : "noFight/"));
  }
  CHECK(fighting == 45);
  CHECK(shared_videos(*train.source, *tested.source).count == 0);
  CHECK(short_items(*tested.source, 11) == 0);
  // The folder without its lists has the same classes.
  CHECK(open({.spec = fights}).source->classes() == train.source->classes());
}

TEST_CASE("real clips of UCF101 and HMDB51, by the official lists") {
  const fs::path data = real_data();
  if (data.empty()) return;
  int64_t found = 0;
  for (const char* list : {"trainlist01.txt", "testlist01.txt"}) {
    const Opened opened =
        open({.spec = data / "splits/ucf101" / list, .data_root = data / "ucf101", .skip_missing = true});
    CHECK(opened.source->classes().size() == 101);
    found += opened.source->size();
    for (const std::string& name : labelled_names(*opened.source)) {
      const std::string of_class = name.substr(0, name.find(':'));
      CHECK(name.find("v_" + of_class + "_g") != std::string::npos);
    }
  }
  CHECK(found == 4);
  const Opened waves =
      open({.spec = fmt::format("hmdb51:{},split=1,part=train", (data / "splits/hmdb51").string()),
            .data_root = data / "hmdb51",
            .skip_missing = true});
  CHECK(waves.source->classes().size() == 51);
  for (const std::string& name : labelled_names(*waves.source)) CHECK(name.starts_with("wave:wave/"));
}
