#include "apps/actions/accuracy.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using Catch::Matchers::Contains;

namespace {

bool near(double a, double b) { return !(std::fabs(a - b) > 1e-5); }

// Six classes, one of them without a video: a a a b c d e, of which a a b c are right.
Scores small() {
  return {.classes = {"a", "b", "c", "d", "e", "f"},
          .rows = {{"1", "a", {9, 1, 1, 1, 1, 1}},
                   {"2", "a", {8, 7, 1, 1, 1, 1}},
                   {"3", "a", {1, 2, 3, 4, 5, 6}},  // f; a is the last of all
                   {"4", "b", {-9, -1, -2, -3, -4, -5}},
                   {"5", "c", {0, 0, 1, 0, 0, 0}},
                   {"6", "d", {3, 0, 0, 3, 0, 0}},  // a tie: a, the first
                   {"7", "e", {0, 1, 2, 3, 2.5, 0}}}};
}

}  // namespace

TEST_CASE("accuracies of a few rows are those counted by hand") {
  const Accuracy a = accuracy(small());
  CHECK(a.videos == 7);
  CHECK(a.correct == 4);
  CHECK(near(a.top1, 400. / 7));
  CHECK(a.correct5 == 6);
  REQUIRE(a.top5);
  CHECK(near(*a.top5, 600. / 7));
  CHECK(a.empty_classes == 1);
  CHECK(near(a.mean_class, 100 * (2. / 3 + 1 + 1 + 0 + 0) / 5));
  CHECK(a.ties == 1);
  CHECK(a.per_class[0].videos == 3);
  CHECK(a.per_class[0].correct == 2);
  CHECK(near(a.per_class[0].percent(), 200. / 3));
  CHECK(a.per_class[5].videos == 0);
  const std::vector<int64_t> confusion = {2, 0, 0, 0, 0, 1,  //
                                          0, 1, 0, 0, 0, 0,  //
                                          0, 0, 1, 0, 0, 0,  //
                                          1, 0, 0, 0, 0, 0,  //
                                          0, 0, 0, 1, 0, 0,  //
                                          0, 0, 0, 0, 0, 0};
  CHECK(a.confusion == confusion);
}

TEST_CASE("among equal scores the first class counts, for the answer and for top-5") {
  const std::vector<float> equal(7, 0);
  CHECK(best_class(equal) == 0);
  CHECK(ranking(equal) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6});
  CHECK(ranking(std::vector<float>{1, 3, 2, 3}) == std::vector<int64_t>{1, 3, 2, 0});
  Scores scores{.classes = {"a", "b", "c", "d", "e", "f", "g"}, .rows = {}};
  for (const std::string& c : scores.classes) scores.rows.push_back({c, c, equal});
  const Accuracy a = accuracy(scores);
  CHECK(a.correct == 1);
  CHECK(a.correct5 == 5);
  CHECK(a.ties == 7);
}

TEST_CASE("five classes have no top-5") {
  Scores scores{.classes = {"a", "b", "c", "d", "e"}, .rows = {{"v", "a", {1, 2, 3, 4, 5}}}};
  CHECK(!accuracy(scores).top5);
  CHECK(!accuracy_json({accuracy(scores)}, {}).contains("top5/video@25x10"));
}

TEST_CASE("a label that is no class is refused") {
  Scores scores = small();
  scores.rows[2].label = "g";
  CHECK_THAT(test::message_of([&] { accuracy(scores); }), Contains("\"3\"") && Contains("\"g\""));
}

// Wilson 1927; the values for 0 of 10, 5 of 10 and 10 of 10 as tables and R's prop.test(correct = FALSE) give
// them.
TEST_CASE("Wilson's interval") {
  CHECK(near(wilson_interval(0, 10).low, 0));
  CHECK(!(std::fabs(wilson_interval(0, 10).high - 27.75328) > 1e-4));
  CHECK(!(std::fabs(wilson_interval(5, 10).low - 23.65931) > 1e-4));
  CHECK(!(std::fabs(wilson_interval(5, 10).high - 76.34069) > 1e-4));
  CHECK(!(std::fabs(wilson_interval(10, 10).low - 72.24672) > 1e-4));
  CHECK(near(wilson_interval(10, 10).high, 100));
  CHECK(wilson_interval(0, 0).low == 0);
  CHECK(wilson_interval(0, 0).high == 100);
}

TEST_CASE("a metric's name says what was measured") {
  CHECK(metric_name(Metric::top1, {}) == "top1/video@25x10");
  CHECK(metric_name(Metric::mean_class, {.level = Level::video, .clips = 5, .crops = 2}) ==
        "mean_class/video@5x2");
  CHECK(metric_name(Metric::top1, {.level = Level::clip, .clips = 1, .crops = 1}) == "top1/clip@1x1");
  CHECK(metric_name(Metric::top5, {.level = Level::video, .clips = 0, .crops = 0}) == "top5/video");
}

TEST_CASE("the keys of the JSON are names of metrics") {
  const nlohmann::json one = accuracy_json({accuracy(small())}, {});
  CHECK(near(one.at("top1/video@25x10"), 400. / 7));
  CHECK(near(one.at("top5/video@25x10"), 600. / 7));
  CHECK(near(one.at("mean_class/video@25x10"), 160. / 3));
  CHECK(one.at("videos") == 7);
  CHECK(one.at("correct") == 4);
  CHECK(one.at("classes_without_videos") == 1);
  CHECK(one.at("protocol") == "video@25x10");
  CHECK(one.at("top1_interval").size() == 2);
}

TEST_CASE("several splits have their own names and a mean") {
  Scores first = small(), second = small();
  second.rows.resize(2);  // both right
  const nlohmann::json json = accuracy_json({accuracy(first), accuracy(second)}, {});
  CHECK(!json.contains("top1/video@25x10"));
  CHECK(near(json.at("top1/video@25x10/split1"), 400. / 7));
  CHECK(near(json.at("top1/video@25x10/split2"), 100));
  CHECK(near(json.at("top1/video@25x10/mean"), (400. / 7 + 100) / 2));
  CHECK(json.at("videos") == std::vector<int64_t>{7, 2});
  CHECK_THAT(accuracy_text({accuracy(first), accuracy(second)}, {}),
             Contains("top1/video@25x10/mean") && Contains("78.57 %"));
}

TEST_CASE("the text names metric, counts and interval") {
  const std::string text = accuracy_text({accuracy(small())}, {});
  CHECK_THAT(text, Contains("top1/video@25x10") && Contains("57.14 %") && Contains("4 of 7 videos"));
  CHECK_THAT(text, Contains("of 5 classes; 1 has no video") &&
                       Contains("1 video whose best score several classes share"));
}
