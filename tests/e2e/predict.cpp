// What scripts rely on of twostream-predict: which keys and files there are, and that
// their numbers are those of the streams.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include "apps/actions/fusion.h"
#include "data/image.h"
#include "tests/catch.h"
#include "tests/e2e/support/eval_support.h"
#include "tests/e2e/support/predict_support.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

double sum_of_shares(const json& prediction) {
  double sum = 0;
  for (const json& c : prediction.at("classes")) sum += c.at("share").get<double>();
  return sum;
}

// By class, in the order of kClasses.
std::vector<float> scores_of(const json& prediction) {
  std::vector<float> scores;
  for (const std::string& name : kClasses) {
    for (const json& c : prediction.at("classes")) {
      if (c.at("class") == name) scores.push_back(c.at("score").get<float>());
    }
  }
  REQUIRE(scores.size() == kClasses.size());
  return scores;
}

void require_close(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t k = 0; k < a.size(); ++k) CHECK(a[k] == Approx(b[k]).margin(1e-4));
}

std::vector<std::vector<double>> numbers_of_csv(const fs::path& file) {
  std::vector<std::vector<double>> rows;
  std::istringstream lines(bytes_of(file));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    rows.emplace_back();
    std::istringstream fields(line);
    for (std::string field; std::getline(fields, field, ',');)
      rows.back().push_back(field.empty() ? std::nan("") : std::stod(field));
  }
  return rows;
}

}  // namespace

TEST_CASE("a folder of frames gives ranked classes with bars, and by --json all that is known of it") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "clip", {0, 12}, kFrame);
  const Result text = predict(join(weights.one(), {(folder / "clip").string(), "--clips", "3"}));
  REQUIRE(text.code == 0);
  const auto lines = lines_of(text.out);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "clip: 12 frames; spatial stream, 3x1 views");
  CHECK_THAT(lines[1], Contains("  1  ") && Contains(" %"));
  CHECK(text.out.find('\033') == std::string::npos);

  const json j = only_prediction(join(weights.one(), {(folder / "clip").string(), "--clips", "3"}));
  CHECK(j.at("video") == "clip");
  CHECK(j.at("path") == (folder / "clip").string());
  CHECK(j.at("frames") == 12);
  CHECK(j.at("views") == "3x1");
  CHECK(j.at("streams") == json{"spatial"});
  CHECK(j.at("fps").is_null());
  CHECK(j.at("seconds").is_null());
  CHECK(j.at("notes").empty());
  CHECK_FALSE(j.contains("fusion"));
  CHECK(j.at("classes").size() == 3);
  CHECK(sum_of_shares(j) == Approx(1));
  const json two = only_prediction(
      join(weights.one(), {(folder / "clip").string(), "--top", "2", "--fps", "24", "--clips", "3"}));
  CHECK(two.at("classes").size() == 2);
  CHECK(two.at("classes")[0] == j.at("classes")[0]);
  CHECK(two.at("seconds") == Approx(.5));
}

TEST_CASE("two streams are fused as twostream-eval fuses them, whatever their order") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "clip", {3, 20}, kFrame);
  const std::string clip = (folder / "clip").string();
  const auto views = words("--clips 3 --crops 5");
  const std::vector<std::vector<float>> rows = {
      scores_of(only_prediction(join(join(weights.one(), {clip}), views))),
      scores_of(only_prediction(join({"--weights", weights.stacked.string(), clip}, views)))};
  const json both = only_prediction(join(join(weights.both(), {clip}), views));
  CHECK(both.at("fusion") == "relu-l1");
  CHECK(both.at("weights") == json{1.0, 1.5});
  CHECK(both.at("streams") == json{"spatial", "stacked"});
  CHECK(both.at("views") == "3x5");
  require_close(scores_of(both), fuse_rows(rows, {.fusion = LateFusion::relu_l1, .weights = {1, 1.5}}));
  CHECK(sum_of_shares(both) == Approx(1));
  const json softmax = only_prediction(
      join(join(weights.both(), {clip, "--fusion", "softmax", "--fusion-weights", "2:1"}), views));
  require_close(scores_of(softmax), fuse_rows(rows, {.fusion = LateFusion::softmax, .weights = {2, 1}}));
  const json turned = only_prediction(
      join({"--weights", weights.stacked.string(), "--weights", weights.spatial.string(), clip}, views));
  CHECK(turned == both);
  // Batches are an affair of memory only.
  const json small = only_prediction(join(join(weights.both(), {clip, "--batch", "2"}), views));
  require_close(scores_of(small), scores_of(both));
}

TEST_CASE("a video's scores are those that twostream-eval writes of it by the same protocol") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_videos(folder / "videos", {17}, kClasses);
  evaluate(join(eval_arguments(weights.spatial, folder / "videos", folder / "eval", "--clips 3 --crops 10"),
                {"--weights", weights.stacked.string()}));
  const Scores fused = read_scores(folder / "eval/fused.csv");
  REQUIRE(fused.rows.size() == 3);
  REQUIRE(fused.classes.size() == 3);
  for (const Scores::Row& row : fused.rows) {
    const json j = only_prediction(
        join(weights.both(), {(folder / "videos" / row.video).string(), "--clips", "3", "--crops", "10"}));
    for (const json& c : j.at("classes")) {
      const auto label = std::find(fused.classes.begin(), fused.classes.end(), c.at("class"));
      const auto k = static_cast<size_t>(label - fused.classes.begin());
      CHECK(c.at("score").get<double>() == Approx(row.logits.at(k)).margin(1e-4));
    }
  }
}

TEST_CASE("classes of the second file may have another order, but no other names") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "clip", {0, 8}, kFrame);
  const std::string clip = (folder / "clip").string();
  const fs::path turned = folder / "turned.safetensors", other = folder / "other.safetensors";
  write_stream(turned, tiny_stream(StreamKind::stacked, {kClasses[2], kClasses[0], kClasses[1]}), 2);
  write_stream(other, tiny_stream(StreamKind::stacked, {"fall", "run", "jump"}), 2);
  const json alone = only_prediction({"--weights", turned.string(), clip});
  const json spatial = only_prediction(join(weights.one(), {clip}));
  const json both = only_prediction(join(weights.one(), {"--weights", turned.string(), clip}));
  require_close(scores_of(both), fuse_rows(std::vector{scores_of(spatial), scores_of(alone)},
                                           {.fusion = LateFusion::relu_l1, .weights = {1, 1.5}}));
  require_failure(predict(join(weights.one(), {"--weights", other.string(), clip})),
                  {.code = 3, .parts = {"other.safetensors", "without", "Clean, and Jerk"}});
}

TEST_CASE("windows see a long video part by part: time line, picture and segments") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "long", {0, 33}, kFrame);
  const fs::path out = folder / "out";
  const auto seen = words("--window 12f --stride 6f --clips 2 --fps 6");
  const json j =
      only_prediction(join(join(weights.both(), {(folder / "long").string(), "--out", out.string()}), seen));
  CHECK(j.at("windows") == 5);
  CHECK(j.at("window_frames") == 12);
  CHECK(j.at("stride_frames") == 6);
  const json& segments = j.at("segments");
  CHECK(segments.front().at("start_frame") == 0);
  CHECK(segments.back().at("end_frame") == 33);
  CHECK(segments.back().at("end_s") == Approx(5.5));
  for (size_t k = 0; k + 1 < segments.size(); ++k)
    CHECK(segments[k].at("end_frame") == segments[k + 1].at("start_frame"));

  CHECK(names_in(out / "long") ==
        std::vector<std::string>{"prediction.json", "strip.png", "timeline.csv", "timeline.png"});
  CHECK(json::parse(bytes_of(out / "long/prediction.json")) == j);
  CHECK(lines_of(bytes_of(out / "long/timeline.csv"))[0] ==
        "start_s,end_s,start_frame,end_frame,fall,run,\"Clean, and Jerk\"");
  const auto rows = numbers_of_csv(out / "long/timeline.csv");
  REQUIRE(rows.size() == 5);
  CHECK(rows[4][2] == 21);  // the last ends with the video
  CHECK(rows[4][3] == 33);
  CHECK(rows[1][0] == Approx(1));
  for (const auto& row : rows) CHECK(row[4] + row[5] + row[6] == Approx(1).margin(1e-5));
  CHECK(read_image((out / "long/strip.png").string()).width >= 480);
  CHECK(read_image((out / "long/timeline.png").string()).width >= 480);
  CHECK(j.at("files").at("timeline_csv") == (out / "long/timeline.csv").string());

  // A window is seen as a video of its frames alone would be.
  write_frames(folder / "part", {12, 12}, kFrame);
  const json part = only_prediction(join(weights.both(), {(folder / "part").string(), "--clips", "2"}));
  for (size_t k = 0; k < kClasses.size(); ++k) {
    for (const json& c : part.at("classes")) {
      if (c.at("class") == kClasses[k]) CHECK(c.at("share") == Approx(rows[2][4 + k]).margin(1e-4));
    }
  }
}

TEST_CASE("a real video tells its rate, so windows are seconds") {
  const auto video = test_data("ucf101/v_Biking_g05_c02.avi");
  if (!video || !video_built_in()) return;
  const TemporaryFolder folder;
  const Weights weights(folder);
  const json j = only_prediction(
      join(weights.both(), {video->string(), "--window", "2", "--stride", "1.5s", "--clips", "1"}));
  CHECK(j.at("video") == "v_Biking_g05_c02");
  CHECK(j.at("fps").get<double>() == Approx(29.97).margin(.01));
  CHECK(j.at("window_frames") == 60);
  CHECK(j.at("stride_frames") == 45);
  CHECK(j.at("segments").back().at("end_s") == j.at("seconds"));
}

TEST_CASE("what is too short is said: a video below a clip, a window below a clip") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "three", {0, 3}, kFrame);
  write_frames(folder / "nine", {0, 9}, kFrame);
  const std::vector<std::string> stacked = {"--weights", weights.stacked.string()};
  const json three = only_prediction(join(stacked, {(folder / "three").string()}));
  CHECK_THAT(three.at("notes")[0].get<std::string>(), Contains("clip of 5 frames"));
  CHECK(sum_of_shares(three) == Approx(1));
  CHECK(only_prediction(join(weights.one(), {(folder / "three").string()})).at("notes").empty());
  const json nine = only_prediction(join(stacked, {(folder / "nine").string(), "--window", "2f"}));
  CHECK(nine.at("window_frames") == 5);
  CHECK_THAT(nine.at("notes")[0].get<std::string>(), Contains("--window 2f is 2 frames"));
  require_failure(predict(join(stacked, {(folder / "nine").string(), "--window", "2"})),
                  {.code = 2, .parts = {"--window", "--fps"}});
}

TEST_CASE("of several videos a broken one is named, and the others are told") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "videos/a", {0, 6}, kFrame);
  write_frames(folder / "videos/b", {0, 6}, kFrame);
  write_frames(folder / "c/a", {4, 6}, kFrame);
  std::ofstream(folder / "videos/b/img_00003.png") << "no picture";
  const Result result = predict(join(weights.one(), {(folder / "videos").string(), (folder / "c/a").string(),
                                                     "--json", "--out", (folder / "out").string()}));
  CHECK(result.code == 3);
  const auto lines = lines_of(result.out);
  REQUIRE(lines.size() == 3);
  CHECK(json::parse(lines[0]).at("video") == "a");
  CHECK(json::parse(lines[1]).at("video") == "b");
  CHECK_THAT(json::parse(lines[1]).at("error").get<std::string>(), Contains("img_00003.png"));
  CHECK(json::parse(lines[2]).at("video") == "a_2");
  CHECK_THAT(result.err, Contains("1 of 3 videos could not be used"));
  CHECK(names_in(folder / "out") == std::vector<std::string>{"a", "a_2"});
  require_failure(predict(join(weights.one(), {(folder / "videos/b").string()})),
                  {.code = 3, .parts = {"img_00003.png"}});
  require_failure(predict(join(weights.one(), {(folder / "nothing").string()})),
                  {.code = 3, .parts = {"nothing"}});
  fs::create_directories(folder / "empty");
  require_failure(predict(join(weights.one(), {(folder / "empty").string()})),
                  {.code = 3, .parts = {"empty"}});
}

TEST_CASE("weights that are no recogniser are refused with what to do") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "clip", {0, 6}, kFrame);
  const std::string clip = (folder / "clip").string();
  const fs::path run = small_run(folder, "run", "--iterations 0");
  require_failure(predict({"--weights", run.string(), clip}),
                  {.code = 3, .parts = {"a MotionNet alone", "twostream-train --stream stacked-c"}});
  const fs::path temporal = folder / "temporal.safetensors";
  write_stream(temporal, tiny_stream(StreamKind::temporal, kClasses), 3);
  require_failure(predict({"--weights", temporal.string(), clip}),
                  {.code = 2, .parts = {"--flow", "motionnet-flow", "--format jpg"}});
  require_failure(predict(join(weights.one(), {clip, "--flow", clip})), {.code = 2, .parts = {"--flow"}});
  require_failure(predict(join(weights.one(), {"--weights", weights.spatial.string(), clip})),
                  {.code = 2, .parts = {"two spatial ones"}});
  require_failure(predict(join(weights.one(), {clip, "--fusion", "softmax"})),
                  {.code = 2, .parts = {"--fusion", "two streams"}});
  require_failure(predict(join(weights.one(), {clip, "--crops", "3"})), {.code = 2, .parts = {"--crops"}});
  require_failure(predict(join(weights.one(), {clip, "--stride", "3f"})), {.code = 2, .parts = {"--window"}});
  require_failure(predict({"--weights", (folder / "none").string(), clip}), {.code = 3, .parts = {"none"}});
}

TEST_CASE("a temporal stream reads the flow that motionnet-flow stored") {
  const TemporaryFolder folder;
  write_frames(folder / "videos/a", {0, 9}, {64, 64});
  write_frames(folder / "videos/b", {5, 7}, {64, 64});
  const fs::path run = small_run(folder, "run", "--iterations 0"), stored = folder / "flow";
  const Result made = flow({"--weights", run.string(), "--data", (folder / "videos").string(), "--out",
                            stored.string(), "--format", "jpg", "--threads", "1"});
  REQUIRE(made.code == 0);
  const fs::path temporal = folder / "temporal.safetensors";
  write_stream(temporal, tiny_stream(StreamKind::temporal, kClasses), 3);
  const Result result = predict({"--weights", temporal.string(), (folder / "videos").string(), "--flow",
                                 stored.string(), "--json", "--out", (folder / "out").string()});
  INFO(result.err);
  REQUIRE(result.code == 0);
  const auto lines = lines_of(result.out);
  REQUIRE(lines.size() == 2);
  CHECK(sum_of_shares(json::parse(lines[0])) == Approx(1));
  CHECK(json::parse(lines[0]).at("streams") == json{"temporal"});
  // Frames, and their flow below.
  CHECK(read_image((folder / "out/a/strip.png").string()).height > 2 * 160);
  write_frames(folder / "other/a", {0, 5}, {64, 64});
  require_failure(
      predict({"--weights", temporal.string(), (folder / "other/a").string(), "--flow", stored.string()}),
      {.code = 3, .parts = {"4 flows", "another video"}});
}

TEST_CASE("a signal stops between windows: what was told is whole, and the exit code says so") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "a", {0, 5}, kFrame);
  std::vector<std::string> arguments = join(weights.both(), {"--threads", "1", "--device", "cpu", "--json"});
  arguments = join(arguments, {"--out", (folder / "out").string(), "--crops", "10"});
  for (int k = 0; k < 300; ++k) arguments.push_back((folder / "a").string());
  Process process("twostream-predict", arguments);
  while (process.running() && !fs::exists(folder / "out/a/prediction.json"))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  process.kill(SIGTERM);
  const Result result = process.wait();
  INFO(result.err);
  CHECK(result.code == kExitInterrupted);
  const auto lines = lines_of(result.out);
  CHECK(lines.size() >= 1);
  CHECK(lines.size() < 300);
  for (const std::string& line : lines) CHECK(sum_of_shares(json::parse(line)) == Approx(1));
}
