// Rankings as text and pictures.
#include "apps/actions/strip.h"

#include <numeric>

#include "apps/actions/picture_text.h"
#include "apps/actions/predict_result.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.); }

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    all.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return all;
}

const std::vector<RankedClass> kRanked = {{.name = "Cliff diving", .share = .75},
                                          {.name = "Höhe springen und dann sehr weit laufen", .share = .2},
                                          {.name = "run", .share = .05}};

int64_t dark_pixels(const Image& image) {
  int64_t count = 0;
  for (const uint8_t v : image.pixels) count += v < 128;
  return count / 3;
}

}  // namespace

TEST_CASE("shares of one stream are the softmax of its logits") {
  const std::vector<std::vector<float>> rows = {{0, std::log(3.f), 0}};
  const Verdict verdict = verdict_of(rows, {});
  CHECK(verdict.scores == rows[0]);
  CHECK(verdict.shares[1] == Approx(.6));
  CHECK(sum(verdict.shares) == Approx(1));
  CHECK(sum(verdict_of(std::vector<std::vector<float>>{{1e30f, -1e30f}}, {}).shares) == Approx(1));
}

TEST_CASE("scores of two streams are those of late fusion, and shares sum to 1") {
  const std::vector<std::vector<float>> rows = {{2, -1, 2}, {-3, 4, 1}};
  for (const LateFusion fusion : {LateFusion::relu_l1, LateFusion::logits, LateFusion::softmax}) {
    const FusionRule rule{.fusion = fusion, .weights = {1, 1.5}};
    const Verdict verdict = verdict_of(rows, rule);
    CHECK(verdict.scores == fuse_rows(rows, rule));
    CHECK(sum(verdict.shares) == Approx(1));
    CHECK(ranked(verdict.scores).front() == 1);
  }
  // relu-l1: (.5, 0, .5) + 1.5 (0, .8, .2), of 2.5.
  CHECK(verdict_of(rows, {.weights = {1, 1.5}}).shares[1] == Approx(1.2 / 2.5));
}

TEST_CASE("without a positive logit in any stream relu-l1 gives no class a share") {
  const std::vector<std::vector<float>> rows = {{-2, -1}, {-3, -4}};
  CHECK(verdict_of(rows, {.weights = {1, 1.5}}).shares == std::vector<double>{0, 0});
}

TEST_CASE("classes are ranked by score, the first of equals first, no more than there are") {
  CHECK(ranked({1, 3, 3, 2}) == std::vector<size_t>{1, 2, 3, 0});
  const Verdict verdict{.scores = {1, 3}, .shares = {.1, .9}};
  const auto top = top_classes(verdict, {"a", "b"}, 5);
  REQUIRE(top.size() == 2);
  CHECK(top[0].name == "b");
  CHECK(top[0].label == 1);
  CHECK(top_classes(verdict, {"a", "b"}, 1).size() == 1);
}

TEST_CASE("bars are as long as their share, to an eighth of a block, or of plain letters") {
  CHECK(bar_text(1, 3, true) == "███");
  CHECK(bar_text(.5, 3, true) == "█▌");
  CHECK(bar_text(1. / 24, 3, true) == "▏");
  CHECK(bar_text(0, 3, true).empty());
  CHECK(bar_text(2, 3, true) == "███");
  CHECK(bar_text(.5, 4, false) == "##");
}

TEST_CASE("lines of a ranking fit the terminal: names are shortened, then bars go") {
  for (const int64_t columns : {200, 80, 60, 40, 30, 24}) {
    INFO(columns);
    const auto all = lines(ranking_text(kRanked, {.columns = columns}));
    REQUIRE(all.size() == 3);
    for (const std::string& line : all) CHECK(letter_count(line) <= columns);
    CHECK_THAT(all[0], Contains("75.0 %"));
    CHECK((all[0].find("█") != std::string::npos) == (columns >= 30));
  }
  CHECK_THAT(ranking_text(kRanked, {.columns = 200}), Contains("sehr weit laufen"));
  CHECK_THAT(ranking_text(kRanked, {.columns = 40}), Contains(".."));
  const std::string plain = ranking_text(kRanked, {});
  CHECK(plain.find('\033') == std::string::npos);
  CHECK(ranking_text(kRanked, {.colour = true}).find('\033') != std::string::npos);
  CHECK(ranking_text(kRanked, {.unicode = false}).find("█") == std::string::npos);
}

TEST_CASE("control characters in names reach no terminal") {
  Prediction p;
  p.name = "evil\033[2Jvideo";
  p.frames = 3;
  p.verdict = {.scores = {1, 2}, .shares = {.3, .7}};
  p.notes = {"a\rnote"};
  PredictionRules rules;
  rules.classes = {"a", "b\033]0;title\a"};
  rules.streams = {"spatial"};
  const std::string text = prediction_text(p, rules, {});
  for (const char c : text) CHECK((static_cast<uint8_t>(c) >= ' ' || c == '\n'));
  CHECK_THAT(text, StartsWith("evil?[2Jvideo: 3 frames; spatial stream"));
}

TEST_CASE("text is drawn letter by letter, cut at the picture's edges, and shortened by letters") {
  Image picture = blank_picture({20, 60});
  CHECK(dark_pixels(picture) == 0);
  draw_text(picture, {2, 2}, "I", {.scale = 1});
  const int64_t one = dark_pixels(picture);
  CHECK(one == 11);  // a stroke of 7 and four dots of its ends
  draw_text(picture, {2, 20}, "I", {.scale = 2});
  CHECK(dark_pixels(picture) == one + 4 * one);
  draw_text(picture, {-5, -5}, "outside", {});
  draw_text(picture, {18, 55}, "outside", {});
  CHECK(text_width("Höhe", 2) == 4 * 12);
  CHECK(letter_count("Höhe\xff") == 5);
  CHECK(shortened("Höhe", 4) == "Höhe");
  CHECK(shortened("Höhen", 4) == "Hö..");
  CHECK(shortened("abc", 1) == ".");
  CHECK(shortened("abc", 0).empty());
  Image plain = blank_picture({8, 12}), accented = plain;
  draw_text(plain, {0, 0}, "o");
  draw_text(accented, {0, 0}, "ö");
  CHECK(plain.pixels == accented.pixels);
}

TEST_CASE("a strip shows frames, their flow below, and a bar per class") {
  Strip strip{.title = "video", .cells = {}, .classes = kRanked};
  CHECK_THAT(message_of([&] { strip_picture(strip); }), Contains("at least one frame"));
  Image frame = blank_picture({40, 60}, {10, 20, 200});
  strip.cells.assign(3, {.when = "0:01.0", .frame = frame, .flow = {}});
  const Image without = strip_picture(strip);
  CHECK(std::equal(frame.pixels.begin(), frame.pixels.begin() + 3, without.at(100, 100)));
  Flow flow;
  flow.reshape({20, 30});
  for (size_t p = 0; p < flow.uv.size(); p += 2) flow.uv[p] = 3;
  strip.cells[1].flow = flow;
  const Image with = strip_picture(strip);
  CHECK(with.width == without.width);
  CHECK(with.height >= without.height + 160);
  // To the right is red (Baker et al.): below the second frame, and nothing below the first.
  const uint8_t* red = with.at(290, 12 + 240 + 6 + 60);
  CHECK(red[2] > 200);
  CHECK(red[0] < 60);
  CHECK(*with.at(290, 60) == 255);
  // One tall frame and no class still make a picture.
  strip.cells.assign(1, {.when = "frame 1", .frame = blank_picture({3000, 2}), .flow = {}});
  strip.classes.clear();
  CHECK(strip_picture(strip).width == 480);
}
