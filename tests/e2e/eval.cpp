// What scripts rely on of twostream-eval: names of metrics, files, and that scores are the protocol's.
#include <fstream>

#include "apps/actions/recognizer.h"
#include "data/views.h"
#include "tests/e2e/support/eval_support.h"
#include "tests/unit/stream_file.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

fs::path weights_of(const TemporaryFolder& folder, const StreamSpec& spec, uint64_t seed = 1) {
  const fs::path path = folder / (name_of(spec.kind) + std::to_string(seed) + ".safetensors");
  write_stream(path, spec, seed);
  return path;
}

// The mean logits of a video's views, one after the other, clip by clip.
std::vector<double> expected_logits(const fs::path& weights, const fs::path& video, int64_t clips,
                                    int64_t crops) {
  const SafetensorsReader file(weights);
  const auto device = make_device("cpu");
  const StreamSpec spec = streams_of(file).at(0);
  Recognizer recognizer(file, spec, *device, {});
  const SourcePtr source = open_source({.spec = video.string()});
  std::vector<double> mean(spec.classes.size(), 0);
  std::vector<uint8_t> bytes(static_cast<size_t>(recognizer.clip_bytes()));
  std::vector<Image> scratch;
  for (const int64_t start : clip_starts(source->length(0), clip_frames(spec), clips)) {
    const auto frames = source->borrow({.item = 0, .first = start, .count = clip_frames(spec)});
    for (const ClipGeometry& crop :
         view_crops(crops, frames[0]->size(), {.resize = spec.resize, .network = spec.input})) {
      write_clip(crop, frames, scratch, bytes.data());
      const std::vector<float> logits = recognizer.run(bytes.data(), 1);
      for (size_t k = 0; k < mean.size(); ++k)
        mean[k] += double{logits[k]} / static_cast<double>(clips * crops);
    }
  }
  return mean;
}

}  // namespace

TEST_CASE("evaluation: names of metrics carry the protocol, and all files are written") {
  const TemporaryFolder folder;
  const fs::path weights = weights_of(folder, tiny_stream(StreamKind::spatial));
  write_videos(folder / "videos", {30, 4});
  const json j = evaluate(weights, folder / "videos", folder / "out", "");
  for (const char* key : {"top1/video@25x10", "mean_class/video@25x10"}) {
    INFO(j.dump());
    REQUIRE(j.contains(key));
    CHECK(j[key].get<double>() >= 0);
    CHECK(j[key].get<double>() <= 100);
  }
  CHECK(j["videos"] == 6);
  CHECK(json::parse(bytes_of(folder / "out/metrics.json")) == j);
  const Scores scores = read_scores(folder / "out/scores.csv");
  CHECK(scores.classes == std::vector<std::string>{"fall", "run", "wave"});
  REQUIRE(scores.rows.size() == 6);
  CHECK(scores.rows[0].video == "fall/v0");
  CHECK(scores.rows[5].label == "wave");
  CHECK_THAT(bytes_of(folder / "out/report.html"), Contains("video@25x10") && Contains("fall"));
  CHECK(
      evaluate(weights, folder / "videos", folder / "one", "--clips 1 --crops 1").contains("top1/clip@1x1"));
  CHECK(
      evaluate(weights, folder / "videos", folder / "few", "--clips 3 --crops 2").contains("top1/video@3x2"));
}

TEST_CASE("evaluation: scores are the mean over all views, for any batch and number of threads") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {23, 6, 3});
  for (const StreamKind kind : {StreamKind::spatial, StreamKind::stacked}) {
    const fs::path weights = weights_of(folder, tiny_stream(kind));
    const fs::path out = folder / name_of(kind);
    evaluate(weights, folder / "videos", out, "--clips 3 --batch 4");
    const Scores scores = read_scores(out / "scores.csv");
    for (const Scores::Row& row : scores.rows) {
      const auto expected = expected_logits(weights, folder / "videos" / row.video, 3, 10);
      for (size_t k = 0; k < expected.size(); ++k)
        CHECK(std::fabs(expected[k] - double{row.logits[k]}) <= 1e-5 * std::fabs(expected[k]) + 1e-8);
    }
    int run = 0;
    for (const char* other : {"--batch 1", "--batch 7 --loader-threads 3", "--batch 64 --threads 2"}) {
      const fs::path again = out.string() + std::to_string(++run);
      evaluate(weights, folder / "videos", again, std::string("--clips 3 ") + other);
      CHECK(score_difference(scores, read_scores(again / "scores.csv")) < 1e-5);
    }
  }
}

TEST_CASE("evaluation: identical clips of short videos are computed once and counted") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {3}, {"fall"});  // shorter than the 5 frames of a clip
  write_videos(folder / "videos", {8}, {"run"});   // all clips begin at frame 1
  write_videos(folder / "videos", {29}, {"wave"});
  const fs::path weights = weights_of(folder, tiny_stream(StreamKind::stacked));
  const json j = evaluate(weights, folder / "videos", folder / "out", "");
  CHECK(j["identical_clips"] == 48);
  CHECK(j["short_videos"] == 1);
  CHECK(j["views"] == 10 + 10 + 250);
  CHECK_THAT(bytes_of(folder / "out/report.html"), Contains("48"));
}

TEST_CASE("evaluation: two streams on the same videos, each by itself and fused") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {12, 6});
  const fs::path spatial = weights_of(folder, tiny_stream(StreamKind::spatial));
  // The same classes in another order.
  const fs::path stacked = weights_of(folder, tiny_stream(StreamKind::stacked, {"wave", "fall", "run"}));
  const std::string views = "--clips 3 --crops 5";
  const json j = evaluate(join(eval_arguments(spatial, folder / "videos", folder / "both", views),
                               {"--weights", stacked.string()}));
  REQUIRE(j.contains("top1/video@3x5"));
  CHECK(j["fusion"] == "relu-l1");
  CHECK(j["weights"] == json({1., 1.5}));
  REQUIRE(j["streams"].size() == 2);
  CHECK(j["streams"][0]["name"] == "spatial");
  CHECK(j["streams"][0].contains("top1/video@3x5"));
  const json alone = evaluate(stacked, folder / "videos", folder / "alone", views);
  CHECK(alone["top1/video@3x5"] == j["streams"][1]["top1/video@3x5"]);
  const Scores temporal = read_scores(folder / "both/temporal/scores.csv");
  CHECK(temporal.classes == read_scores(folder / "both/spatial/scores.csv").classes);
  // Fused again by hand.
  const Result fused = Process("twostream-eval", {"--fuse", (folder / "both/spatial/scores.csv").string(),
                                                  (folder / "both/temporal/scores.csv").string(), "--weights",
                                                  "1:1.5", "--json"})
                           .wait();
  INFO(fused.err);
  REQUIRE(fused.code == 0);
  CHECK_THAT(fused.out, Contains("\"correct\":" + j["correct"].dump()));
  CHECK(read_scores(folder / "both/fused.csv").rows.size() == 6);
}

TEST_CASE("evaluation: several splits have their own numbers and a mean") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {9, 5});
  std::ofstream(folder / "one.txt") << "fall/v0 0\nrun/v0 1\nwave/v0 2\n";
  std::ofstream(folder / "two.txt") << "fall/v1 0\nrun/v1 1\n";
  std::ofstream(folder / "classes.txt") << "fall\nrun\nwave\n";
  const fs::path first = weights_of(folder, tiny_stream(StreamKind::spatial), 1),
                 second = weights_of(folder, tiny_stream(StreamKind::spatial), 2);
  const std::string more = "--clips 2 --crops 1 --classes " + (folder / "classes.txt").string() +
                           " --data-root " + (folder / "videos").string() + " --data " +
                           (folder / "two.txt").string();
  const json j = evaluate(
      join(eval_arguments(first, folder / "one.txt", folder / "out", more), {"--weights", second.string()}));
  INFO(j.dump());
  REQUIRE(j.contains("top1/video@2x1/split1"));
  REQUIRE(j.contains("top1/video@2x1/mean"));
  CHECK(read_scores(folder / "out/split1/scores.csv").rows.size() == 3);
  CHECK(read_scores(folder / "out/split2/scores.csv").rows.size() == 2);
  // The second split is of the second weights.
  const json alone = evaluate(second, folder / "two.txt", folder / "alone",
                              "--clips 2 --crops 1 --classes " + (folder / "classes.txt").string() +
                                  " --data-root " + (folder / "videos").string());
  CHECK(score_difference(read_scores(folder / "out/split2/scores.csv"),
                         read_scores(folder / "alone/scores.csv")) < 1e-6);
}

TEST_CASE("evaluation: a temporal stream reads stored flow of motionnet-flow") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {9, 3});
  const Result made =
      flow({"--weights", small_run(folder, "motion").string(), "--data", (folder / "videos").string(),
            "--out", (folder / "flow").string(), "--format", "jpg", "--threads", "1"});
  INFO(made.err);
  REQUIRE(made.code == 0);
  const fs::path temporal = weights_of(folder, tiny_stream(StreamKind::temporal)),
                 spatial = weights_of(folder, tiny_stream(StreamKind::spatial));
  const std::string views = "--clips 2 --crops 10", with = views + " --flow " + (folder / "flow").string();
  const json j = evaluate(temporal, folder / "videos", folder / "out", with);
  CHECK(j["videos"] == 6);
  CHECK(j["short_videos"] == 3);  // 2 flows of 4
  evaluate(temporal, folder / "flow", folder / "same", views);
  const Scores scores = read_scores(folder / "out/scores.csv");
  CHECK(score_difference(scores, read_scores(folder / "same/scores.csv")) == 0);
  evaluate(join(eval_arguments(spatial, folder / "videos", folder / "both", with),
                {"--weights", temporal.string()}));
  CHECK(score_difference(scores, read_scores(folder / "both/temporal/scores.csv")) < 1e-6);
}

TEST_CASE("evaluation: --share-flow runs MotionNet twice a clip, and says what that changes") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {12, 7});
  const fs::path weights = weights_of(folder, tiny_stream(StreamKind::stacked));
  const json each = evaluate(weights, folder / "videos", folder / "each", "--clips 2"),
             once = evaluate(weights, folder / "videos", folder / "once", "--clips 2 --share-flow");
  CHECK(each["motionnet_clips"] == 6 * 2 * 10);
  CHECK(once["motionnet_clips"] == 6 * 2 * 2);
  CHECK(each["views"] == once["views"]);
  CHECK(once["share_flow"] == true);
  const double difference =
      score_difference(read_scores(folder / "each/scores.csv"), read_scores(folder / "once/scores.csv"));
  CHECK(difference > 0);
  CHECK(difference < .5);
  CHECK_THAT(bytes_of(folder / "once/report.html"), Contains("share-flow"));
}

TEST_CASE("evaluation: real videos of a list, and one that is no video") {
  const auto data = test_data("fights320");
  if (!data || !video_built_in()) return;
  const TemporaryFolder folder;
  for (const char* name : {"fight", "noFight"}) fs::create_directories(folder / "videos" / name);
  fs::copy(*data / "fight/fi001.mp4", folder / "videos/fight/fi001.mp4");
  fs::copy(*data / "noFight/nofi001.mp4", folder / "videos/noFight/nofi001.mp4");
  std::ofstream(folder / "videos/fight/fi002.mp4") << "no video at all";
  std::ofstream(folder / "test.txt") << "fight/fi001.mp4 0\nfight/fi002.mp4 0\nnoFight/nofi001.mp4 1\n";
  std::ofstream(folder / "classInd.txt") << "0 fight\n1 noFight\n";
  const fs::path spatial = weights_of(folder, tiny_stream(StreamKind::spatial, {"fight", "noFight"})),
                 stacked = weights_of(folder, tiny_stream(StreamKind::stacked, {"fight", "noFight"}));
  const json j =
      evaluate(join(eval_arguments(spatial, folder / "test.txt", folder / "out",
                                   "--clips 2 --crops 2 --data-root " + (folder / "videos").string()),
                    {"--weights", stacked.string()}));
  CHECK(j["videos"] == 2);
  REQUIRE(j["broken"].size() == 1);
  CHECK_THAT(j["broken"][0].dump(), Contains("fi002"));
  CHECK(j["fusion"] == "softmax");  // relu-l1 says nothing new of two classes
  for (const Scores::Row& row : read_scores(folder / "out/temporal/scores.csv").rows) {
    const auto expected = expected_logits(stacked, folder / "videos" / (row.video + ".mp4"), 2, 2);
    for (size_t k = 0; k < expected.size(); ++k)
      CHECK(std::fabs(expected[k] - double{row.logits[k]}) <= 1e-5 * std::fabs(expected[k]) + 1e-8);
  }
}
