// What scripts rely on of millrace-data synth --actions.
#include <signal.h>
#include <stdlib.h>

#include <fstream>
#include <map>

#include "data/actions.h"
#include "data/lists.h"
#include "data/source.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

Result synth(const fs::path& out, const std::string& more) {
  return Process("millrace-data", join({"synth", "--out", out.string()}, words(more))).wait();
}

void require_synth(const fs::path& out, const std::string& more) {
  const Result result = synth(out, more);
  INFO(result.err);
  REQUIRE(result.code == 0);
}

// Every file below a folder with its bytes.
std::map<std::string, std::string> contents_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).string()] = bytes_of(entry.path());
  return files;
}

// avi where the build writes videos.
std::string default_format() { return video_built_in() ? "avi" : "png"; }

json json_of(const fs::path& file) { return json::parse(bytes_of(file)); }

}  // namespace

TEST_CASE("labelled clips as folders of frames: the source's pixels, and lists with their labels") {
  const TemporaryFolder folder;
  const fs::path out = folder / "set";
  require_synth(out, "--actions pair --classes 4 --train 6 --test 5 --size 32x48 --frames 3 --format ppm");
  CHECK(names_in(out) == std::vector<std::string>{"actions.json", "checks_down", "checks_up", "classInd.txt",
                                                  "dots_down", "dots_up", "testlist01.txt",
                                                  "trainlist01.txt"});
  CHECK(bytes_of(out / "classInd.txt") == "1 checks_down\n2 checks_up\n3 dots_down\n4 dots_up\n");
  CHECK(lines_of(bytes_of(out / "trainlist01.txt"))[5] == "checks_up/checks_up_train_00005 3 2");
  const ClassNames classes = read_class_names(out / "classInd.txt");
  for (const auto& [split, count] : {std::pair{std::string("train"), 6}, {std::string("test"), 5}}) {
    ActionOptions options{.kind = ActionKind::pair, .size = {32, 48}, .frames = 3, .classes = 4};
    options.count = count;
    options.split = split;
    const ActionSource source(options);
    VideoList list = read_list(out / (split + "list01.txt"));
    number_labels(list, {.classes = &classes});
    const SourcePtr files = open_source({.spec = (out / (split + "list01.txt")).string()});
    REQUIRE(files->size() == count);
    for (int64_t item = 0; item < count; ++item) {
      CHECK(list.entries[static_cast<size_t>(item)].label == source.label(item));
      const ClipRange whole{.item = item, .first = 0, .count = 3};
      const Clip clip = files->read(whole), expected = source.read(whole);
      for (size_t k = 0; k < 3; ++k) CHECK((clip.frames[k].pixels == expected.frames[k].pixels));
    }
  }
}

TEST_CASE("labelled clips as videos: UCF101's lists, whose labels are those of the clips") {
  if (!video_built_in()) {
    WARN("this build writes no videos");
    return;
  }
  const TemporaryFolder folder;
  const fs::path out = folder / "set";
  require_synth(out, "--actions motion --classes 3 --train 6 --test 4 --size 33x48 --frames 12");
  CHECK(lines_of(bytes_of(out / "trainlist01.txt"))[0] == "down/down_train_00000.avi 1");
  CHECK(lines_of(bytes_of(out / "testlist01.txt"))[2] == "up/up_test_00002.avi");
  const ClassNames classes = read_class_names(out / "classInd.txt");
  VideoList list = read_list(out / "testlist01.txt");
  number_labels(list, {.classes = &classes});
  ActionOptions options{.size = {33, 48}, .frames = 12, .classes = 3, .count = 4};
  options.split = "test";
  const ActionSource source(options);
  const SourcePtr files = open_source({.spec = (out / "testlist01.txt").string()});
  REQUIRE(files->size() == 4);
  for (int64_t item = 0; item < 4; ++item) {
    CHECK(list.entries[static_cast<size_t>(item)].label == source.label(item));
    REQUIRE(files->length(item) == 12);
    const Image image = files->read({item, 7, 1, false}).frames[0];
    const Image expected = source.read({item, 7, 1, false}).frames[0];
    double error = 0;
    for (int64_t i = 0; i < expected.height; ++i)
      for (int64_t j = 0; j < expected.width; ++j)
        error += std::abs(image.at(i, j)[1] - expected.at(i, j)[1]);
    CHECK(error / static_cast<double>(expected.height * expected.width) < 6);  // colours of half resolution
  }
}

TEST_CASE("the bytes of labelled clips depend on the seed, not on threads, stops or how many there are") {
  const TemporaryFolder folder;
  const std::string same = "--actions appearance --size 32x32 --frames 4 --test 4 ";
  require_synth(folder / "one", same + "--train 9 --threads 1");
  require_synth(folder / "two", same + "--train 9 --threads 2");
  const auto expected = contents_of(folder / "one");
  CHECK(expected.size() == 9 + 4 + 4);
  CHECK((contents_of(folder / "two") == expected));

  require_synth(folder / "more", same + "--train 5 --threads 2");
  const Result more = synth(folder / "more", same + "--train 9 --json");
  REQUIRE(more.code == 0);
  const json result = parse_only_line(more.out);
  CHECK(result["written"] == 4);
  CHECK(result["train"] == 9);
  CHECK(result["classes"].size() == 4);
  CHECK(result["images"] == default_format());
  CHECK(result["complete"] == true);
  CHECK((contents_of(folder / "more") == expected));

  require_failure(synth(folder / "more", same + "--train 5"), {2, {"train", "at least 9", "got 5"}});
  require_failure(synth(folder / "more", same + "--train 9 --seed 2"),
                  {2, {"seed", "1 as the set", "got 2"}});
  require_failure(synth(folder / "more", same + "--train 9 --format ppm"), {2, {"\"ppm\""}});
  require_failure(synth(folder / "more", same + "--train 9 --classes 3"), {2, {"classes"}});
  CHECK((contents_of(folder / "more") == expected));
  std::ofstream(folder / "more/actions.json") << R"({"format": "millrace action clips 1"})";
  require_failure(synth(folder / "more", same + "--train 9"), {3, {"actions.json", "\"train\""}});
  require_failure(synth(folder / "more", "--clips 3"), {2, {"new or empty"}});

  require_synth(folder / "seed", same + "--train 9 --seed 2");
  CHECK((contents_of(folder / "seed") != expected));
}

TEST_CASE("labelled clips: a full disk or a signal leaves whole clips, and the same command ends the set") {
  const TemporaryFolder folder;
  for (const std::string& format : {default_format(), std::string("ppm")}) {
    const std::string arguments =
        "--actions motion --classes 2 --train 2 --test 1 --size 32x32 --frames 2 --threads 1 --format " +
        format;
    require_synth(folder / "whole", arguments);
    const auto expected = contents_of(folder / "whole");
    bool failed = true;
    for (int change = 1; failed; change += 3) {
      INFO(format << ", change " << change << " of the disk");
      const fs::path out = folder / "set";
      ::setenv("MILLRACE_FAIL_WRITE", std::to_string(change).c_str(), 1);
      const Result result = synth(out, arguments);
      ::unsetenv("MILLRACE_FAIL_WRITE");
      failed = result.err.find("injected: ") != std::string::npos;
      REQUIRE(result.code == (failed ? 1 : 0));
      if (failed) REQUIRE_THAT(last_line(result.err), Contains("No space left on device"));
      if (fs::exists(out)) {
        for (const auto& [file, bytes] : contents_of(out))
          if (file != "actions.json") REQUIRE((expected.contains(file) && expected.at(file) == bytes));
      }
      require_synth(out, arguments);
      REQUIRE((contents_of(out) == expected));
      fs::remove_all(out);
    }
    fs::remove_all(folder / "whole");
  }
}

TEST_CASE("a kill in the middle of labelled clips leaves none in part under its name") {
  const TemporaryFolder folder;
  const fs::path out = folder / "set";
  const std::string arguments = "--actions motion --train 60 --test 4 --size 96x96 --frames 12 --threads 2";
  Process process("millrace-data", join({"synth", "--out", out.string()}, words(arguments)));
  while (process.running() && names_in(out / "down").size() < 3) {
  }
  process.kill(SIGKILL);
  process.wait();
  std::map<std::string, std::string> whole;
  for (const auto& [file, bytes] : contents_of(out))
    if (file.find(".tmp.") == std::string::npos && file.find(".partial/") == std::string::npos &&
        file != "actions.json")
      whole[file] = bytes;
  CHECK(whole.size() >= 2);
  CHECK_FALSE(fs::exists(out / "trainlist01.txt"));
  require_synth(out, arguments);
  const auto all = contents_of(out);
  const size_t files = video_built_in() ? 64 : 64 * 12;
  CHECK(all.size() == files + 4);
  for (const auto& [file, bytes] : whole) CHECK((all.at(file) == bytes));

  const fs::path other = folder / "signal";
  Process stopped("millrace-data", join({"synth", "--out", other.string()}, words(arguments)));
  while (stopped.running() && names_in(other / "down").size() < 3) {
  }
  stopped.kill(SIGTERM);
  const Result result = stopped.wait();
  CHECK(result.code == 75);
  CHECK_THAT(result.err, Contains("of 64 clips"));
  CHECK(json_of(other / "actions.json")["complete"] == false);
}

TEST_CASE("synth --actions: what cannot be meant") {
  const TemporaryFolder folder;
  const fs::path out = folder / "set";
  require_failure(synth(out, "--actions dance"), {2, {"--actions", "motion, appearance or pair", "'dance'"}});
  require_failure(synth(out, "--actions motion --classes 8"), {2, {"--classes", "2 to 7", "got 8"}});
  require_failure(synth(out, "--actions motion --classes 0"), {2, {"--classes", "got 0"}});
  require_failure(synth(out, "--actions pair --classes 8"), {2, {"--classes", "4, 9, 16"}});
  require_failure(synth(out, "--actions motion --train 0"), {2, {"--train", "got 0"}});
  require_failure(synth(out, "--actions motion --test -1"), {2, {"--test", "-1"}});
  require_failure(synth(out, "--actions motion --size 16x16"), {2, {"--size", "32"}});
  require_failure(synth(out, "--actions motion --size big"), {2, {"--size", "128x192"}});
  require_failure(synth(out, "--actions motion --frames 1"), {2, {"--frames", "got 1"}});
  require_failure(synth(out, "--actions motion --format gif"), {2, {"--format", "avi", "'gif'"}});
  require_failure(synth(out, "--actions motion --clips 4"), {2, {"--clips", "--train"}});
  require_failure(synth(out, "--actions motion --split val"), {2, {"--split"}});
  require_failure(synth(out, "--actions motion --options layers=2"), {2, {"--options"}});
  require_failure(synth(out, "--train 4"), {2, {"--train", "--actions"}});
  require_failure(synth(out, "--format avi"), {2, {"--format", "png, ppm or jpg", "'avi'"}});
  CHECK_FALSE(fs::exists(out));
  require_failure(synth(out, "--actions motion --train 1000000000 --size 4096x4096 --format ppm"),
                  {1, {"free"}});
}
