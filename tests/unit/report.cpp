#include "apps/actions/report.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <regex>

#include "apps/actions/report_html.h"
#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using report::escaped;

namespace {

const std::string kScript = "<script>alert('x')</script>";

Scores scores() {
  return {.classes = {kScript, "b & \"c\"", "d", "without"},
          .rows = {{"v1", kScript, {3, 0, 0, 0}},
                   {"v2", kScript, {0, 4, 0, 0}},
                   {"v3" + kScript, "b & \"c\"", {0, 0, 9, 1}},
                   {"v4", "d", {0, 0, 1, 0}}}};
}

ReportData data() {
  return {.title = "Test " + kScript,
          .protocol = {},
          .headline = {"temporal", {accuracy(scores())}},
          .mistakes = confident_mistakes(scores(), LateFusion::logits)};
}

size_t count(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

// Every tag that is opened is closed, in order; those that HTML does not close are left out.
void require_balanced(const std::string& html) {
  std::string page = std::regex_replace(html, std::regex("<!DOCTYPE html>"), "");
  for (const std::string raw : {"style", "script"}) {
    const size_t begin = page.find("<" + raw + ">"), end = page.find("</" + raw + ">");
    REQUIRE(begin < end);
    page.erase(begin, end - begin + raw.size() + 3);
  }
  std::vector<std::string> open;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    const size_t end = page.find('>', at);
    REQUIRE(end != std::string::npos);
    const std::string tag = page.substr(at + 1, end - at - 1),
                      name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      REQUIRE(!open.empty());
      CHECK(open.back() == tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/' && name != "meta" && name != "br" && name != "img" && name != "input") {
      open.push_back(name);
    }
  }
  CHECK(open.empty());
}

}  // namespace

TEST_CASE("text is escaped, also what is no UTF-8") {
  CHECK(escaped("<a href=\"x\">'&'</a>") == "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  CHECK(escaped("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\n\t") ==
        "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\n\t");
  const std::string bad = "\xEF\xBF\xBD";
  CHECK(escaped("\xFF") == bad);
  CHECK(escaped("\xC3") == bad);
  CHECK(escaped("\xC3<") == bad + "&lt;");
  CHECK(escaped("\xC0\xBC") == bad + bad);            // "<" in two bytes
  CHECK(escaped("\xED\xA0\x80") == bad + bad + bad);  // half of a surrogate pair
  CHECK(escaped(std::string("\0\x1b\x7f", 3)) == bad + bad + bad);
}

TEST_CASE("long labels are cut between characters") {
  CHECK(report::shortened("abcdef", 6) == "abcdef");
  CHECK(report::shortened("abcdefg", 6) == "abcde\xE2\x80\xA6");
  CHECK(report::shortened("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 3) == "\xC3\xA9\xC3\xA9\xE2\x80\xA6");
}

TEST_CASE("the page says what was measured") {
  const std::string html = report_html(data());
  CHECK_THAT(html,
             Contains("<b id=\"headline\">50.00\xC2\xA0%</b>") && Contains("<code>top1/video@25x10</code>"));
  CHECK_THAT(html, Contains("2 of 4 videos recognised") && Contains("25 clips \xC3\x97 10 crops a video"));
  CHECK_THAT(html, Contains("mean_class/video@25x10") && Contains("1 of them without a video"));
  CHECK_THAT(html, !Contains("top5/video@25x10"));  // of four classes
  CHECK(count(html, "class=\"cell right\"") == 2);
  CHECK(count(html, "class=\"cell wrong\"") == 2);
  CHECK(count(html, "<li class=\"bar\" data-name") == 3);
  CHECK(count(html, "<li class=\"bar none\" data-name") == 1);
  CHECK(count(html, "<article class=\"mistake\">") == 2);
  CHECK_THAT(html, Contains("b &amp; &quot;c&quot; taken for d: 1 of 1 video (100.0 %)"));
  require_balanced(html);
}

TEST_CASE("no name becomes a part of the page and nothing is loaded from outside") {
  ReportData d = data();
  d.others = {{kScript, d.headline.splits}};
  d.broken = {{kScript, kScript}};
  d.notes = {kScript};
  d.provenance = {{kScript, kScript}};
  d.command = kScript;
  d.version = kScript;
  d.rates = {{1, kScript, kScript}};
  d.headline.name = kScript;
  d.curves = {{.run = kScript, .name = "loss", .points = {{1, 2}}},
              {.run = "b", .name = "loss", .points = {{1, 2}}}};
  d.mistakes[0].pictures = {{.caption = kScript, .type = "image/png\"", .bytes = "abc", .size = {1, 1}}};
  const std::string html = report_html(d);
  CHECK(html.find("alert('x')") == std::string::npos);
  CHECK(count(html, "<script>") == 1);
  CHECK(count(html, "default-src 'none'") == 1);
  for (const char* outside : {"http:", "https:", "src=\"/", "url(", "@import", "<link", "<iframe"}) {
    CAPTURE(outside);
    CHECK(html.find(outside) == std::string::npos);
  }
  require_balanced(html);
}

TEST_CASE("a report of several splits has their mean as headline and their sums below") {
  Scores second = scores();
  second.rows = {second.rows[0], second.rows[3]};
  ReportData d = data();
  d.headline.splits.push_back(accuracy(second));
  const std::string html = report_html(d);
  CHECK_THAT(html, Contains("<b id=\"headline\">75.00\xC2\xA0%</b>") && Contains("top1/video@25x10/mean"));
  CHECK_THAT(html, Contains("4 of 6 videos recognised in 2 splits") && Contains("temporal, split 2"));
  CHECK_THAT(html, Contains("d recognised: 2 of 2 videos"));
  require_balanced(html);

  d.headline.splits[1].classes[0] = "other";
  CHECK_THAT(test::message_of([&] { report_html(d); }), Contains("the same classes in all splits"));
  d.headline.splits.clear();
  CHECK_THAT(test::message_of([&] { report_html(d); }), Contains("one split or more"));
}

TEST_CASE("what the numbers leave out is in the page") {
  ReportData d = data();
  CHECK_THAT(report_html(d), !Contains("id=\"notes\""));
  d.identical_clips = 24;
  d.short_videos = 1;
  d.seen_in_training = 2;
  d.broken = {{"bad.avi", "no frames"}};
  d.notes = {"a note"};
  const std::string html = report_html(d);
  CHECK_THAT(html, Contains("24 clips of short videos") && Contains("1 video is shorter than a clip") &&
                       Contains("2 videos of the test are in the training list") && Contains("a note"));
  CHECK_THAT(html, Contains("1 video could not be read and is in no number") &&
                       Contains("<code>bad.avi</code>: no frames"));
}

TEST_CASE("the most confident mistakes come first") {
  const std::vector<ReportMistake> mistakes = confident_mistakes(scores(), LateFusion::logits);
  REQUIRE(mistakes.size() == 2);
  CHECK(mistakes[0].video == "v3" + kScript);
  CHECK(mistakes[0].answer == "d");
  CHECK(mistakes[0].label == "b & \"c\"");
  REQUIRE(mistakes[0].best.size() == 3);
  CHECK(!(std::fabs(mistakes[0].best[0].share - std::exp(9) / (std::exp(9) + std::exp(1) + 2)) > 1e-9));
  CHECK(mistakes[0].best[1].name == "without");
  CHECK(!(std::fabs(mistakes[0].label_share - 1 / (std::exp(9) + std::exp(1) + 2)) > 1e-9));
  CHECK(confident_mistakes(scores(), LateFusion::logits, 1).size() == 1);
  // Of fused scores the part of the sum; none where a row has nothing.
  CHECK(score_shares(std::vector<float>{1, 3, 0}, LateFusion::relu_l1) == std::vector<double>{.25, .75, 0});
  CHECK(score_shares(std::vector<float>{0, 0}, LateFusion::relu_l1) == std::vector<double>{0, 0});
}

TEST_CASE("pictures are JPEGs of at most the width") {
  Image image;
  image.reshape({20, 1000}, 3);
  const ReportPicture wide = report_picture(image, "frame 3");
  CHECK(wide.size == Size{6, 320});
  CHECK(wide.type == "image/jpeg");
  CHECK(decode_image(wide.bytes, "picture").size() == wide.size);
  image.reshape({1, 1}, 3);
  CHECK(report_picture(image, "").size == Size{1, 1});
}

TEST_CASE("bytes of a picture come through base64") {
  ReportData d = data();
  for (const auto& [bytes, text] : std::vector<std::pair<std::string, std::string>>{
           {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"\xFF\xFE", "//4="}}) {  // RFC 4648, section 10
    d.mistakes[0].pictures = {{.caption = "x", .type = "image/png", .bytes = bytes, .size = {1, 1}}};
    CHECK_THAT(report_html(d), Contains("data:image/png;base64," + text + "\""));
  }
}

TEST_CASE("curves are read from metrics.jsonl and thinned out") {
  const test::TemporaryFolder folder;
  {
    std::ofstream file(folder / "metrics.jsonl");
    for (int step = 1; step <= 3000; ++step) {
      file << "{\"step\":" << step << ",\"seconds\":1,\"loss\":" << step * .5
           << ",\"pixel2\":1,\"learning_rate\":0.1";
      if (step % 1000 == 0) file << ",\"top1/clip@1x1\":" << step / 100 << ",\"validation_loss\":null";
      file << "}\n";
    }
    file << "no json\n[]\n{\"step\":\"x\",\"loss\":1}\n{\"step\":3001,\"lo";
  }
  const std::vector<ReportCurve> curves = read_curves(folder / "metrics.jsonl", "spatial");
  REQUIRE(curves.size() == 3);
  CHECK(curves[0].name == "learning_rate");
  CHECK(curves[1].name == "loss");
  CHECK(curves[1].run == "spatial");
  REQUIRE(curves[1].points.size() == 300);
  CHECK(curves[1].points[0] == std::pair<double, double>(5.5, 2.75));  // of steps 1 to 10
  CHECK(curves[1].points[299] == std::pair<double, double>(2995.5, 1497.75));
  CHECK(curves[2].points == std::vector<std::pair<double, double>>{{1000, 10}, {2000, 20}, {3000, 30}});

  ReportData d = data();
  d.curves = curves;
  const std::string html = report_html(d);
  CHECK(count(html, "<figure class=\"chart\">") == 3);
  CHECK_THAT(html, Contains("Accuracy, %") && Contains("Learning rate"));
  require_balanced(html);
  CHECK_THAT(test::message_of([&] { read_curves(folder / "none.jsonl", ""); }), Contains("none.jsonl"));
}

TEST_CASE("curves of any numbers have axes") {
  ReportData d = data();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double a : {0., 1., -3., 1e-30, 1e20, 123456.}) {
    for (const double b : {0., a, a * (1 + 1e-12), a + 1, -a}) {
      d.curves = {{.run = "", .name = "loss", .points = {{1, a}, {2, b}}}};
      const std::string html = report_html(d);
      CAPTURE(a, b);
      CHECK(count(html, "<figure class=\"chart\">") == 1);
      CHECK(count(html, "class=\"grid\"") <= 12);
      CHECK(html.find("nan") == std::string::npos);
      CHECK(html.find("inf\"") == std::string::npos);
    }
  }
  d.curves = {{.run = "", .name = "loss", .points = {{1, infinity}}},
              {.run = "", .name = "loss", .points = {}}};
  CHECK_THAT(report_html(d), !Contains("class=\"chart\""));
}
