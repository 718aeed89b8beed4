#include "apps/actions/scores.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;

namespace {

Scores parse(const std::string& text) { return parse_scores(text, "a.csv"); }
std::string failure(const std::string& text) {
  return message_of([&] { parse(text); });
}
std::string unwritable(const Scores& scores) {
  return message_of([&] { scores_csv(scores); });
}

const std::string kPlain = "video,label,Archery,Bowling\nv1,Archery,1.5,-2\nv2,Bowling,0,3e2\n";

Scores plain() {
  return {.classes = {"Archery", "Bowling"},
          .rows = {{"v1", "Archery", {1.5, -2}}, {"v2", "Bowling", {0, 300}}}};
}

}  // namespace

TEST_CASE("scores.csv is read with either line end, with or without a byte order mark and a last line end") {
  CHECK(parse(kPlain) == plain());
  CHECK(parse(kPlain).name == "a.csv");
  CHECK(parse("\xEF\xBB\xBF" + kPlain) == plain());
  CHECK(parse(kPlain.substr(0, kPlain.size() - 1)) == plain());
  CHECK(parse("\n" + kPlain + "\r\n\n") == plain());
  std::string crlf;
  for (const char c : kPlain) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  CHECK(parse(crlf) == plain());
  CHECK(parse("\"video\",\"label\",\"Archery\",\"Bowling\"\n\"v1\",\"Archery\",\"1.5\", -2 "
              "\nv2,Bowling,+0,3E+2") == plain());
}

TEST_CASE("scores.csv is written as the contract has it") {
  CHECK(scores_csv(plain()) == "video,label,Archery,Bowling\nv1,Archery,1.5,-2\nv2,Bowling,0,300\n");
}

TEST_CASE("names with commas, quotes, line breaks and blanks come back") {
  const Scores scores{
      .classes = {"Clean, and Jerk", "5\" nails", "two\nlines", " blank ", "\xC3\xA9t\xC3\xA9", "<b>"},
      .rows = {{"a,b.avi", "5\" nails", {1, 2, 3, 4, 5, 6}},
               {"\"", "two\nlines", {1, 2, 3, 4, 5, 6}},
               {"cr\rlf\r\n", " blank ", {1, 2, 3, 4, 5, 6}}}};
  const std::string text = scores_csv(scores);
  CHECK_THAT(text, StartsWith("video,label,\"Clean, and Jerk\",\"5\"\" nails\",\"two\nlines\",\" blank \","));
  CHECK(parse(text) == scores);
}

TEST_CASE("every float comes back") {
  Scores scores{.classes = {"a"}, .rows = {}};
  std::mt19937 random(7);
  const auto add = [&](float v) { scores.rows.push_back({std::to_string(scores.rows.size()), "a", {v}}); };
  using Limits = std::numeric_limits<float>;
  for (const float v :
       {Limits::max(), Limits::lowest(), Limits::min(), Limits::denorm_min(), -0.f, .1f, 16777216.f})
    add(v);
  while (scores.rows.size() < 20000) {
    const auto bits = static_cast<uint32_t>(random());
    float v = 0;
    std::memcpy(&v, &bits, sizeof v);
    if (std::isfinite(v)) add(v);
  }
  const Scores again = parse(scores_csv(scores));
  REQUIRE(again.rows.size() == scores.rows.size());
  int64_t different = 0;
  for (size_t k = 0; k < again.rows.size(); ++k) {
    different += std::memcmp(again.rows[k].logits.data(), scores.rows[k].logits.data(), sizeof(float)) != 0;
  }
  CHECK(different == 0);
}

TEST_CASE("numbers of more digits than a float has are rounded and those below its range are 0") {
  const Scores scores = parse("video,label,a,b,c\nv,a,0.1000000014901161193847656,1e-60,-1e-60\n");
  CHECK(scores.rows[0].logits == std::vector<float>{.1f, 0, 0});
}

TEST_CASE("a file that is no scores.csv is refused with its place") {
  CHECK_THAT(failure(""), StartsWith("[a.csv:1:1]") && Contains("an empty file"));
  CHECK_THAT(failure("clip,label,a\n"), StartsWith("[a.csv:1:1]") && Contains("video,label,<class names>"));
  CHECK_THAT(failure("video,class,a\n"), StartsWith("[a.csv:1:7]") && Contains("\"class\""));
  CHECK_THAT(failure("video;label;a\nv;a;1\n"), Contains("separated by commas"));
  CHECK_THAT(failure("video,label\nv,a\n"), Contains("names of classes"));
  CHECK_THAT(failure("video,label,a,b,a\n"), StartsWith("[a.csv:1:17]") && Contains("which field 3 has"));
  CHECK_THAT(failure("video,label,a,\n"), StartsWith("[a.csv:1:15]"));
  CHECK_THAT(failure("video,label,a\n"), Contains("a header alone"));
}

TEST_CASE("a bad row is refused with its place") {
  const std::string head = "video,label,a,b\r\nv1,a,1,2\r\n";
  CHECK_THAT(failure(head + "v2,a,1\n"), StartsWith("[a.csv:3:6]") && Contains("cut off"));
  CHECK_THAT(failure(head + "v,2,a,1,2\n"),
             StartsWith("[a.csv:3:9]") && Contains("expected 4 fields") && Contains("comma"));
  CHECK_THAT(failure(head + ",a,1,2\n"), StartsWith("[a.csv:3:1]"));
  CHECK_THAT(failure(head + "v1,b,1,2\n"), StartsWith("[a.csv:3:1]") && Contains("which line 2 has"));
  CHECK_THAT(failure(head + "v2,c,1,2\n"), StartsWith("[a.csv:3:4]") && Contains("\"c\""));
  CHECK_THAT(failure(head + "v2,1,1,2\n"), Contains("a class of the header as label"));
  for (const std::string bad :
       {"nan", "inf", "-inf", "1e39", "1e999", "", " ", "1 2", "1,5", "x", "0x10", "++1", "+-1", "1e"}) {
    CAPTURE(bad);
    CHECK_THAT(failure(head + "v2,a,1,\"" + bad + "\"\n"),
               StartsWith("[a.csv:3:8]") && Contains("a finite number"));
  }
}

TEST_CASE("quotes that RFC 4180 does not allow are refused with their place") {
  const std::string head = "video,label,a\n";
  CHECK_THAT(failure(head + "v\"1,a,1\n"), StartsWith("[a.csv:2:2]"));
  CHECK_THAT(failure(head + "\"v\"1,a,1\n"), StartsWith("[a.csv:2:4]"));
  CHECK_THAT(failure(head + "\"v,a,1\n"), StartsWith("[a.csv:2:1]") && Contains("the end of the file"));
  CHECK_THAT(failure(head + "\"two\nlines\",a,x\n"), StartsWith("[a.csv:3:10]"));
  CHECK_THAT(failure("video,label,a\rv,a,1\r"), StartsWith("[a.csv:1:14]") && Contains("CR alone"));
  CHECK_THAT(failure(head + std::string("v\0,a,1\n", 7)), StartsWith("[a.csv:2:2]") && Contains("NUL"));
}

TEST_CASE("what a message cites is fit for a terminal") {
  const std::string message = failure("video,label,a\nv,\"\x1b[2J\n\",1\n");
  CHECK_THAT(message, Contains("\\x1b[2J\\x0a"));
  CHECK(message.find('\x1b') == std::string::npos);
  CHECK(failure("video,label,a\nv," + std::string(5000, 'x') + ",1\n").size() < 300);
}

TEST_CASE("what could not be read again is not written") {
  const auto with = [](auto change) {
    Scores scores = plain();
    change(scores);
    return unwritable(scores);
  };
  CHECK_THAT(with([](Scores& s) { s.classes[1] = "Archery"; }), Contains("different names"));
  CHECK_THAT(with([](Scores& s) { s.classes.clear(); }), Contains("classes"));
  CHECK_THAT(with([](Scores& s) { s.rows.clear(); }), Contains("a row for each video"));
  CHECK_THAT(with([](Scores& s) { s.rows[1].video = "v1"; }), Contains("videos of different names"));
  CHECK_THAT(with([](Scores& s) { s.rows[1].video = ""; }), Contains("videos of different names"));
  CHECK_THAT(with([](Scores& s) { s.rows[1].video = std::string("a\0b", 3); }), Contains("NUL"));
  CHECK_THAT(with([](Scores& s) { s.rows[1].label = "Run"; }), Contains("\"Run\""));
  CHECK_THAT(with([](Scores& s) { s.rows[1].logits.pop_back(); }), Contains("2 scores of \"v2\""));
  CHECK_THAT(with([](Scores& s) { s.rows[1].logits[0] = NAN; }), Contains("nan"));
}

TEST_CASE("a file that is not there is named") {
  const test::TemporaryFolder folder;
  CHECK_THAT(message_of([&] { read_scores(folder / "none.csv"); }), Contains("none.csv"));
  std::ofstream(folder / "some.csv") << kPlain;
  CHECK(read_scores(folder / "some.csv") == plain());
}
