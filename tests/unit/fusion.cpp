#include "apps/actions/fusion.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>

#include "apps/actions/accuracy.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;

namespace {

bool near(double a, double b) { return !(std::fabs(a - b) > 2e-6); }
bool near(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) { return near(x, y); });
}

Scores spatial() {
  return {.classes = {"a", "b", "c"},
          .rows = {{"1", "a", {3, 1, -2}}, {"2", "b", {-1, -2, -3}}, {"3", "c", {0, 4, 4}}},
          .name = "spatial.csv"};
}
Scores temporal() {
  return {.classes = {"a", "b", "c"},
          .rows = {{"1", "a", {-1, 2, 2}}, {"2", "b", {1, 3, 0}}, {"3", "c", {-5, -6, 2}}},
          .name = "temporal.csv"};
}

std::vector<float> fused_row(size_t row, const FusionRule& rule) {
  return fuse({spatial(), temporal()}, rule).scores.rows[row].logits;
}

}  // namespace

TEST_CASE("relu-l1 of known rows") {
  const FusionRule rule{.fusion = LateFusion::relu_l1, .weights = {1, 1.5}};
  CHECK(near(fused_row(0, rule), {.75, .25 + .75, .75}));
  CHECK(near(fused_row(1, rule), {1.5 / 4, 4.5 / 4, 0}));  // the first stream has nothing to say
  CHECK(near(fused_row(2, rule), {0, .5, .5 + 1.5}));
  CHECK(fuse({spatial(), temporal()}, rule).without_positive == std::vector<int64_t>{1, 0});
}

TEST_CASE("logits and softmax of known rows") {
  CHECK(near(fused_row(0, {.fusion = LateFusion::logits, .weights = {1, 1.5}}), {1.5, 4, 1}));
  const double sum = std::exp(3.) + std::exp(1.) + std::exp(-2.);
  const double other = std::exp(-1.) + 2 * std::exp(2.);
  const std::vector<float> expected = {static_cast<float>(std::exp(3.) / sum + 2 * std::exp(-1.) / other),
                                       static_cast<float>(std::exp(1.) / sum + 2 * std::exp(2.) / other),
                                       static_cast<float>(std::exp(-2.) / sum + 2 * std::exp(2.) / other)};
  CHECK(near(fused_row(0, {.fusion = LateFusion::softmax, .weights = {1, 2}}), expected));
  CHECK(fuse({spatial(), temporal()}, {.fusion = LateFusion::softmax, .weights = {1, 1}}).without_positive ==
        std::vector<int64_t>{0, 0});
}

TEST_CASE("softmax of logits that exp cannot hold") {
  const std::vector<std::vector<float>> rows = {{1000, 999, -3e38F}, {-1000, -1001, -3e38F}};
  const double p = 1 / (1 + std::exp(-1.));
  CHECK(near(fuse_rows(rows, {.fusion = LateFusion::softmax, .weights = {1, 1}}),
             {static_cast<float>(2 * p), static_cast<float>(2 * (1 - p)), 0}));
}

TEST_CASE("files are joined by the names of videos and classes") {
  Scores other = temporal();
  std::swap(other.rows[0], other.rows[2]);
  other.classes = {"c", "a", "b"};
  for (Scores::Row& row : other.rows) {
    std::rotate(row.logits.begin(), row.logits.end() - 1, row.logits.end());
  }
  const FusionRule rule{.fusion = LateFusion::relu_l1, .weights = {1, 1.5}};
  CHECK(fuse({spatial(), other}, rule).scores == fuse({spatial(), temporal()}, rule).scores);
  const Scores back = fuse({other, spatial()}, {.fusion = LateFusion::relu_l1, .weights = {1.5, 1}}).scores;
  CHECK(back.classes == other.classes);
  CHECK(aligned_to(back, spatial()) == fuse({spatial(), temporal()}, rule).scores);
}

TEST_CASE("three files and one alone") {
  const FusionRule rule{.fusion = LateFusion::logits, .weights = {1, 1, 2}};
  const Fused fused = fuse({spatial(), spatial(), temporal()}, rule);
  CHECK(near(fused.scores.rows[0].logits, {4, 6, 0}));
  CHECK(fuse({spatial()}, {.fusion = LateFusion::logits, .weights = {1}}).scores == spatial());
}

TEST_CASE("files of other videos, classes or labels are refused with the first that differ") {
  const FusionRule rule{.fusion = LateFusion::logits, .weights = {1, 1}};
  const auto failure = [&](auto change) {
    Scores other = temporal();
    change(other);
    return message_of([&] { fuse({spatial(), other}, rule); });
  };
  CHECK_THAT(failure([](Scores& s) { s.rows.resize(1); }),
             StartsWith("[temporal.csv]") && Contains("the videos of spatial.csv") &&
                 Contains("2 of its 3 videos missing: \"2\", \"3\""));
  CHECK_THAT(failure([](Scores& s) { s.rows[1].video = "x"; }),
             Contains("1 of its 3 videos missing: \"2\"; 1 video that it has not: \"x\""));
  CHECK_THAT(failure([](Scores& s) { s.classes[2] = "z"; }),
             Contains("1 of its 3 classes missing: \"c\"; 1 class that it has not: \"z\""));
  CHECK_THAT(failure([](Scores& s) {
               s.rows[1].label = "a";
               s.rows[2].label = "a";
             }),
             Contains("label \"b\" of \"2\" as spatial.csv has it") &&
                 Contains("\"a\", and 2 different labels in all"));
}

TEST_CASE("long differences are cut") {
  Scores many{.classes = {"a", "b"}, .rows = {}, .name = "many.csv"}, one = many;
  for (int k = 0; k < 50; ++k) many.rows.push_back({"v" + std::to_string(k), "a", {1, 2}});
  one.rows = {many.rows[0]};
  CHECK_THAT(message_of([&] {
               fuse({many, one}, {.fusion = LateFusion::logits, .weights = {1, 1}});
             }),
             Contains("49 of its 50 videos missing: \"v1\", \"v2\", \"v3\", ..."));
}

TEST_CASE("weights and names of fusions as the command line has them") {
  CHECK(parse_weights("1:1.5", 2) == std::vector<double>{1, 1.5});
  CHECK(parse_weights("0:2:.5", 3) == std::vector<double>{0, 2, .5});
  CHECK(default_weights(2) == std::vector<double>{1, 1.5});
  CHECK(default_weights(3) == std::vector<double>{1, 1, 1});
  CHECK(weights_text({1, 1.5}) == "1:1.5");
  for (const char* bad :
       {"", "1", "1:", ":1", "1:2:3", "1:-1", "0:0", "1:nan", "1:inf", "1,2", "1:x", "1: 2"}) {
    CAPTURE(bad);
    CHECK_THAT(message_of([&] { parse_weights(bad, 2); }), StartsWith("[--weights]") && Contains("1:1.5"));
  }
  for (const LateFusion f : {LateFusion::relu_l1, LateFusion::logits, LateFusion::softmax})
    CHECK(parse_fusion(fusion_name(f)) == f);
  CHECK_THAT(message_of([] { parse_fusion("relu_l1"); }), Contains("relu-l1, logits or softmax"));
}

TEST_CASE("the fusion of two classes is softmax unless asked for") {
  CHECK(choose_fusion({}, 3) == LateFusion::relu_l1);
  CHECK(choose_fusion({}, 2) == LateFusion::softmax);
  CHECK(choose_fusion(LateFusion::relu_l1, 2) == LateFusion::relu_l1);
  CHECK(choose_fusion(LateFusion::logits, 101) == LateFusion::logits);
}

// Reference section 7: with two classes and logits of opposite signs the fused answer is the heavier
// stream's, always.
TEST_CASE("relu-l1 of two classes answers as the heavier stream does, softmax does not") {
  std::mt19937 random(5);
  const auto normal = [&] {  // a sum of uniforms: no library's own distribution
    double sum = -6;
    for (int k = 0; k < 12; ++k) sum += static_cast<double>(random()) / 4294967296.;
    return static_cast<float>(sum);
  };
  int64_t as_heavier = 0, as_heavier_softmax = 0, better = 0;
  constexpr int64_t kRows = 5000;
  for (int64_t k = 0; k < kRows; ++k) {
    const float a = 2 * normal() + 1,
                b = normal() + .3F;  // the truth is class 0; the lighter stream is surer
    const std::vector<std::vector<float>> rows = {{a, -a}, {b, -b}};
    const auto answer = [&](LateFusion f) {
      return best_class(fuse_rows(rows, {.fusion = f, .weights = {1, 1.5}}));
    };
    as_heavier += answer(LateFusion::relu_l1) == best_class(rows[1]);
    as_heavier_softmax += answer(LateFusion::softmax) == best_class(rows[1]);
    better += (answer(LateFusion::softmax) == 0) - (best_class(rows[1]) == 0);
  }
  CHECK(as_heavier == kRows);
  CHECK(as_heavier_softmax < kRows * 95 / 100);
  CHECK(better > 0);
}

namespace {

// The same numbers as fusion_expected.py makes.
Scores pseudo_random(uint64_t seed, float skill) {
  constexpr int64_t kClasses = 101, kVideos = 500;
  uint64_t state = seed;
  const auto next = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<float>(state >> 42U) / 4194304.F;
  };
  Scores scores;
  for (int64_t c = 0; c < kClasses; ++c) scores.classes.push_back("class " + std::to_string(c));
  for (int64_t v = 0; v < kVideos; ++v) {
    const auto label = static_cast<size_t>(v * v / 7 % (kClasses - 1));
    Scores::Row row{.video = "video " + std::to_string(v), .label = scores.classes[label], .logits = {}};
    for (int64_t c = 0; c < kClasses; ++c) row.logits.push_back(next() * 8 - 4);
    row.logits[label] += skill;
    if (v % 50 == 7) {
      for (float& x : row.logits) x -= 16;
    }
    scores.rows.push_back(row);
  }
  return scores;
}

struct Known {
  int64_t correct, correct5;
  double mean_class, low, high;
};
void check(const Scores& scores, const Known& known) {
  const Accuracy a = accuracy(scores);
  CHECK(a.videos == 500);
  CHECK(a.correct == known.correct);
  CHECK(a.correct5 == known.correct5);
  CHECK(near(a.mean_class, known.mean_class));
  CHECK(near(a.interval.low, known.low));
  CHECK(near(a.interval.high, known.high));
  CHECK(a.empty_classes >= 1);
}

}  // namespace

// Through files, as --fuse has it. The numbers are fusion_expected.py's.
TEST_CASE("101 classes and 500 videos have the accuracies that were computed elsewhere") {
  const Scores a = parse_scores(scores_csv(pseudo_random(1, 6)), "a.csv");
  const Scores b = parse_scores(scores_csv(pseudo_random(2, 6.5)), "b.csv");
  const auto fused = [&](LateFusion f) { return fuse({a, b}, {.fusion = f, .weights = {1, 1.5}}); };
  check(a, {.correct = 376, .correct5 = 393, .mean_class = 75.245465, .low = 71.232154, .high = 78.783579});
  check(b, {.correct = 409, .correct5 = 429, .mean_class = 82.550490, .low = 78.179736, .high = 84.935355});
  check(fused(LateFusion::relu_l1).scores,
        {.correct = 469, .correct5 = 485, .mean_class = 93.268274, .low = 91.334029, .high = 95.598079});
  check(fused(LateFusion::logits).scores,
        {.correct = 480, .correct5 = 496, .mean_class = 96.164652, .low = 93.902640, .high = 97.395920});
  check(fused(LateFusion::softmax).scores,
        {.correct = 485, .correct5 = 489, .mean_class = 97.458160, .low = 95.109633, .high = 98.173679});
  CHECK(fused(LateFusion::relu_l1).without_positive == std::vector<int64_t>{10, 10});
}
