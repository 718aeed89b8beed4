// twostream-eval --fuse: score files of streams and splits become metrics, a scores.csv and a page.
#include <stdlib.h>

#include <cmath>
#include <fstream>

#include "apps/actions/scores.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

// Alone 2 and 3 of 4 are right, fused by relu-l1 at 1:1.5 all.
const std::string kSpatial =
    "video,label,a,b,\"c, d\"\n"
    "1,a,4,1,0\n"         // a
    "2,b,3,-1,2\n"        // a
    "3,\"c, d\",1,1,2\n"  // c
    "4,a,-1,-2,-.5\n";    // c, but without a positive score
const std::string kTemporal =
    "video,label,\"c, d\",b,a\n"
    "4,a,1,1,2\n"
    "3,\"c, d\",3,1,-1\n"
    "2,b,-1,4,0\n"
    "1,a,-1,3,2\n";  // b
const std::string kTwo = "video,label,fight,none\n1,fight,5,-5\n2,none,-1,1\n";
const std::string kTwoHeavy = "video,label,fight,none\n1,fight,-.1,.1\n2,none,-1,1\n";

class Files {
 public:
  Files() {
    write("s.csv", kSpatial);
    write("t.csv", kTemporal);
    write("two.csv", kTwo);
    write("heavy.csv", kTwoHeavy);
  }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string operator/(const std::string& name) const { return (folder_ / name).string(); }

 private:
  TemporaryFolder folder_;
};

Result fuse(const std::vector<std::string>& arguments) {
  return Process("twostream-eval", join({"--fuse"}, arguments)).wait();
}
json fused(const std::vector<std::string>& arguments) {
  const Result result = fuse(join(arguments, {"--json"}));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

bool near(const json& a, double b) { return !(std::fabs(a.get<double>() - b) > 1e-4); }

}  // namespace

TEST_CASE("two streams are fused as the authors do and the metrics have their names") {
  const Files files;
  const json result = fused({files / "s.csv", files / "t.csv", "--clips", "25", "--crops", "10"});
  CHECK(near(result.at("top1/video@25x10"), 100));
  CHECK(near(result.at("mean_class/video@25x10"), 100));
  CHECK(!result.contains("top5/video@25x10"));  // of three classes
  CHECK(result.at("videos") == 4);
  CHECK(result.at("fusion") == json{{"rule", "relu-l1"}, {"weights", "1:1.5"}});
  REQUIRE(result.at("alone").size() == 2);
  CHECK(near(result["alone"][0].at("top1/video@25x10"), 50));
  CHECK(near(result["alone"][1].at("top1/video@25x10"), 75));
  CHECK(near(result["alone"][1].at("mean_class/video@25x10"), (50 + 100 + 100) / 3.));
  CHECK(result["alone"][0].at("without_positive") == 1);
  CHECK(result["alone"][0].at("files") == std::vector<std::string>{files / "s.csv"});
}

TEST_CASE("the fused files can be read again and the page is there") {
  const Files files;
  const Result result =
      fuse({files / "s.csv", files / "t.csv", "--out", files / "out", "--title", "A <title>"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.out, Contains("fused by relu-l1, weights 1:1.5") && Contains("top1/video") &&
                             Contains("1 video without a positive score") && Contains("--clips and --crops"));
  const Scores scores = read_scores(files / "out/scores.csv");
  CHECK(scores.classes == std::vector<std::string>{"a", "b", "c, d"});
  CHECK(scores.rows[3].logits == std::vector<float>{.75, .375, .375});
  CHECK(near(json::parse(bytes_of(files / "out/metrics.json")).at("top1/video"), 100));
  CHECK_THAT(bytes_of(files / "out/report.html"),
             StartsWith("<!DOCTYPE html>") && Contains("A &lt;title&gt;"));
  CHECK(names_in(files / "out") == std::vector<std::string>{"metrics.json", "report.html", "scores.csv"});
  // Fused with themselves they stay what they are; --out must not replace what was read.
  CHECK(near(fused({files / "out/scores.csv", files / "t.csv", "--weights", "1:0"}).at("top1/video"), 100));
  require_failure(fuse({files / "out/scores.csv", "--out", files / "out"}),
                  {.code = 2, .parts = {"--out", "one of the files to fuse"}});
  CHECK(read_scores(files / "out/scores.csv") == scores);
}

TEST_CASE("the views are known from metrics.json beside the files") {
  const Files files;
  files.write("spatial/scores.csv", kSpatial);
  files.write("spatial/metrics.json", R"({"protocol": "video@5x2"})");
  files.write("temporal/scores.csv", kTemporal);
  const std::vector<std::string> both = {files / "spatial/scores.csv", files / "temporal/scores.csv"};
  CHECK(fused(both).contains("top1/video"));
  files.write("temporal/metrics.json", R"({"protocol": "video@5x2"})");
  CHECK(fused(both).contains("top1/video@5x2"));
  CHECK(fused(join(both, {"--clips", "25", "--crops", "10"})).contains("top1/video@25x10"));
  files.write("temporal/metrics.json", R"({"protocol": "video@25x10"})");
  CHECK(fused(both).contains("top1/video"));
  CHECK_THAT(fuse(both).err, Contains("video@25x10") && Contains("video@5x2"));
  files.write("temporal/metrics.json", "torn {");
  CHECK(fused(both).contains("top1/video"));
}

TEST_CASE("several splits have their metrics and the mean") {
  const Files files;
  const json result = fused({files / "s.csv", "--fuse", files / "t.csv"});
  CHECK(near(result.at("top1/video/split1"), 50));
  CHECK(near(result.at("top1/video/split2"), 75));
  CHECK(near(result.at("top1/video/mean"), 62.5));
  CHECK(!result.contains("fusion"));
  const json two = fused(
      {files / "s.csv", files / "t.csv", "--fuse", files / "t.csv", files / "s.csv", "--out", files / "out"});
  CHECK(near(two.at("top1/video/split1"), 100));
  CHECK(near(two.at("alone")[1].at("top1/video/mean"), 62.5));
  CHECK(names_in(files / "out") ==
        std::vector<std::string>{"metrics.json", "report.html", "scores_split1.csv", "scores_split2.csv"});
}

TEST_CASE("two classes are fused by softmax and relu-l1 is warned of") {
  const Files files;
  const Result plain = fuse({files / "two.csv", files / "heavy.csv", "--json"});
  CHECK(parse_only_line(plain.out).at("fusion").at("rule") == "softmax");
  CHECK(near(parse_only_line(plain.out).at("top1/video"), 100));
  CHECK_THAT(plain.err, Contains("two classes: fused by softmax"));
  const Result asked = fuse({files / "two.csv", files / "heavy.csv", "--json", "--fusion", "relu-l1"});
  CHECK(near(parse_only_line(asked.out).at("top1/video"),
             50));  // the heavier stream's, which is all but unsure
  CHECK_THAT(asked.err, Contains("the heavier stream decides alone"));
}

TEST_CASE("files that do not go together are refused by name") {
  const Files files;
  files.write("other.csv", "video,label,a,b,\"c, d\"\n1,a,4,1,0\n9,b,3,-1,2\n");
  files.write("label.csv", kSpatial.substr(0, kSpatial.find("4,a,")) + "4,b,1,1,1\n");
  files.write("nan.csv", "video,label,a,b\n1,a,nan,1\n");
  require_failure(
      fuse({files / "s.csv", files / "other.csv"}),
      {.code = 3, .parts = {"other.csv", "3 of its 4 videos missing", "1 video that it has not: \"9\""}});
  require_failure(fuse({files / "s.csv", files / "two.csv"}), {.code = 3, .parts = {"two.csv", "classes"}});
  require_failure(fuse({files / "s.csv", "--fuse", files / "two.csv"}),
                  {.code = 3, .parts = {"two.csv", "classes"}});
  require_failure(fuse({files / "s.csv", files / "label.csv"}),
                  {.code = 3, .parts = {"label.csv", "\"4\"", "\"b\""}});
  require_failure(fuse({files / "nan.csv"}), {.code = 3, .parts = {"nan.csv:2:5", "a finite number"}});
  require_failure(fuse({files / "none.csv"}), {.code = 3, .parts = {"none.csv"}});
}

TEST_CASE("a command line that cannot be meant is refused") {
  const Files files;
  const std::vector<std::string> both = {files / "s.csv", files / "t.csv"};
  const auto refused = [&](const std::vector<std::string>& more, const std::vector<std::string>& parts) {
    require_failure(fuse(join(both, more)), {.code = 2, .parts = parts});
  };
  refused({"--weights", "1:2:3"}, {"--weights", "2 numbers", "1:1.5"});
  refused({"--weights", "0:0"}, {"--weights"});
  refused({"--fusion", "mean"}, {"relu-l1, logits or softmax"});
  refused({"--clips", "25"}, {"--clips and --crops"});
  refused({"--clips", "-1", "--crops", "10"}, {"--clips and --crops"});
  refused({"--fuse", files / "s.csv"}, {"2 files in each split"});
  refused({"--wieghts", "1:2"}, {"--wieghts"});
  CHECK(fuse({}).code == 2);
  require_failure(fuse({"--json"}), {.code = 2, .parts = {"score files", "--json"}});
  const Result help = fuse({"--help"});
  CHECK(help.code == 0);
  CHECK_THAT(help.out, Contains("--weights") && Contains("examples:"));
}

TEST_CASE("a disk that is full leaves whole files or none") {
  const Files files;
  REQUIRE(fuse({files / "s.csv", files / "t.csv", "--out", files / "whole"}).code == 0);
  int full = 0;
  for (int change = 1;; ++change) {
    const std::string out = files / ("out" + std::to_string(change));
    ::setenv("MILLRACE_FAIL_WRITE", std::to_string(change).c_str(), 1);
    const Result result = fuse({files / "s.csv", files / "t.csv", "--out", out});
    ::unsetenv("MILLRACE_FAIL_WRITE");
    if (result.code == 0) break;
    ++full;
    CHECK(result.code == 1);
    if (!fs::exists(out)) continue;
    for (const std::string& name : names_in(out)) {
      CAPTURE(change, name);
      const std::string text = bytes_of(fs::path(out) / name);
      if (name == "report.html") {  // with its own command
        CHECK(text.ends_with("</html>\n"));
      } else {
        CHECK(text == bytes_of(fs::path(files / "whole") / name));
      }
    }
    REQUIRE(change < 100);
  }
  CHECK(full > 5);
}
