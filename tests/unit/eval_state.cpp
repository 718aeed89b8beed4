// The journal of an evaluation: what is finished survives any stop, and never mixes with something else.
#include "apps/actions/eval_state.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

VideoScore score(const std::string& video, float logit) {
  return {.split = 1,
          .video = video,
          .bytes = 77,
          .streams = {{.logits = {logit, -1.f / 3}, .identical_clips = 24, .is_short = true},
                      {.logits = {1e-30f, 16777217.f}}}};
}

const json kMadeWith{{"clips", 25}, {"data", "/a/list.txt"}};

void add(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::app | std::ios::binary) << text;
}

}  // namespace

TEST_CASE("a line of the journal gives back every float, and any name") {
  for (const char* name : {"a/b", "with \"quotes\", commas\\", "ünïcode", ""}) {
    const VideoScore written = score(name, .1f);
    const std::string line = journal_line(written);
    CHECK(line.back() == '\n');
    CHECK(line.find('\n') == line.size() - 1);
    REQUIRE(parse_journal_line(line));
    CHECK(*parse_journal_line(line) == written);
  }
}

TEST_CASE("what is no line of the journal is refused") {
  const std::string line = journal_line(score("a", 1));
  for (size_t length = 0; length + 2 < line.size(); ++length)
    CHECK_FALSE(parse_journal_line(line.substr(0, length)));
  for (const char* text :
       {"{}", "[]", "7", R"({"split":0,"video":"a","bytes":1,"streams":[{}]})",
        R"({"split":0,"video":1,"bytes":1,"streams":[]})",
        R"({"split":0,"video":"a","bytes":1,"streams":[{"logits":["x"],"identical":0,"short":false}]})"})
    CHECK_FALSE(parse_journal_line(text));
}

TEST_CASE("finished videos are found again, a torn last line is not one of them") {
  const TemporaryFolder folder;
  {
    EvalState state(folder / "out", kMadeWith, false);
    state.append(score("a", 1));
    state.append(score("b", 2));
  }
  const std::string torn = journal_line(score("c", 3));
  add(folder / "out/journal.jsonl", torn.substr(0, torn.size() / 2));
  {
    EvalState state(folder / "out", kMadeWith, false);
    REQUIRE(state.finished(1, "a", 77));
    CHECK(*state.finished(1, "a", 77) == score("a", 1));
    CHECK(state.finished(1, "b", 77));
    CHECK_FALSE(state.finished(1, "c", 77));
    CHECK_FALSE(state.finished(0, "a", 77));  // another split
    CHECK_FALSE(state.finished(1, "a", 78));  // another file of that name
    state.append(score("c", 3));
  }
  EvalState state(folder / "out", kMadeWith, false);
  CHECK(state.finished(1, "c", 77));
}

TEST_CASE("an evaluation of something else is refused by what differs, and --overwrite begins anew") {
  const TemporaryFolder folder;
  {
    EvalState state(folder / "out", kMadeWith, false);
    state.append(score("a", 1));
  }
  json other = kMadeWith;
  other["clips"] = 5;
  const std::string message = message_of([&] { EvalState(folder / "out", other, false); });
  CHECK_THAT(message, Contains("clips 5") && Contains("clips 25") && Contains("--overwrite"));
  other = kMadeWith;
  other["share_flow"] = true;
  CHECK_THAT(message_of([&] { EvalState::check(folder / "out", other); }), Contains("share_flow"));
  {
    EvalState state(folder / "out", other, true);
    CHECK_FALSE(state.finished(1, "a", 77));
  }
  CHECK_THAT(message_of([&] { EvalState(folder / "out", kMadeWith, false); }), Contains("share_flow"));
}

TEST_CASE("a folder with results of nobody knows what is not touched") {
  const TemporaryFolder folder;
  add(folder / "scores.csv", "video,label,a\n");
  CHECK_THAT(message_of([&] { EvalState(folder.path(), kMadeWith, false); }), Contains("scores.csv"));
  CHECK(fs::exists(folder / "scores.csv"));
  add(folder / "evaluation.json", "{}");
  CHECK_THAT(message_of([&] { EvalState(folder.path(), kMadeWith, false); }), Contains("evaluation.json"));
}

TEST_CASE("two processes do not work at one evaluation") {
  const TemporaryFolder folder;
  const EvalState state(folder / "out", kMadeWith, false);
  CHECK_THAT(message_of([&] { EvalState(folder / "out", kMadeWith, false); }),
             Contains("another twostream-eval"));
}
