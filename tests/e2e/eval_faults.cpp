// twostream-eval meets broken videos, stops and full disks.
#include <signal.h>
#include <stdlib.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/e2e/support/eval_support.h"
#include "tests/unit/stream_file.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

fs::path spatial_weights(const TemporaryFolder& folder, uint64_t seed = 1) {
  const fs::path path = folder / ("weights" + std::to_string(seed) + ".safetensors");
  write_stream(path, tiny_stream(StreamKind::spatial), seed);
  return path;
}

size_t lines_in(const fs::path& file) {
  std::ifstream stream(file);
  return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(stream), {}, '\n'));
}

// Frame `number` of a video is cut off in the middle.
void break_frame(const fs::path& video, int number) {
  char name[32];
  std::snprintf(name, sizeof name, "img_%05d.png", number);
  fs::resize_file(video / name, fs::file_size(video / name) / 2);
}

}  // namespace

TEST_CASE("evaluation: goes on after any stop, and ends as if there had been none") {
  const TemporaryFolder folder;
  const fs::path weights = spatial_weights(folder);
  write_videos(folder / "videos", std::vector<int64_t>(8, 26));
  const std::string more = "--clips 25 --crops 10 --batch 5";
  evaluate(weights, folder / "videos", folder / "whole", more);
  const std::string whole = bytes_of(folder / "whole/scores.csv");
  for (const int stop : {SIGKILL, SIGINT, SIGTERM}) {
    INFO("signal " << stop);
    const fs::path out = folder / std::to_string(stop), journal = out / "journal.jsonl";
    const std::vector<std::string> arguments = eval_arguments(weights, folder / "videos", out, more);
    {
      Process process("twostream-eval", arguments);
      while (process.running() && lines_in(journal) < 3)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      process.kill(stop);
      const Result result = process.wait();
      INFO(result.err);
      if (stop == SIGKILL)
        REQUIRE(result.signal == SIGKILL);
      else
        REQUIRE(result.code == 75);
      CHECK(result.out.empty());
    }
    const size_t before = lines_in(journal);
    REQUIRE(before >= 3);
    REQUIRE(before < 24);
    CHECK_FALSE(fs::exists(out / "scores.csv"));
    const json j = evaluate(arguments);
    CHECK(j["views"].get<size_t>() == (24 - before) * 250);  // the finished ones were not computed again
    CHECK((bytes_of(out / "scores.csv") == whole));
    CHECK(evaluate(arguments)["views"] == 0);
    CHECK((bytes_of(out / "scores.csv") == whole));
  }
}

TEST_CASE("evaluation: a folder is never of two weights or protocols") {
  const TemporaryFolder folder;
  const fs::path first = spatial_weights(folder, 1), second = spatial_weights(folder, 2);
  write_videos(folder / "videos", {4});
  const std::string views = "--clips 2 --crops 1";
  evaluate(first, folder / "videos", folder / "out", views);
  require_eval_failure(eval_arguments(second, folder / "videos", folder / "out", views),
                       {.code = 2, .parts = {"spatial weights", "--overwrite"}});
  require_eval_failure(eval_arguments(first, folder / "videos", folder / "out", "--clips 3 --crops 1"),
                       {.code = 2, .parts = {"clips 3", "clips 2"}});
  const std::string before = bytes_of(folder / "out/scores.csv");
  evaluate(second, folder / "videos", folder / "out", views + " --overwrite");
  CHECK((bytes_of(folder / "out/scores.csv") != before));
}

TEST_CASE("evaluation: a broken video is named and counted, and in no number") {
  const TemporaryFolder folder;
  const fs::path weights = spatial_weights(folder);
  write_videos(folder / "videos", {12, 12});
  evaluate(weights, folder / "videos", folder / "whole", "--clips 5 --crops 2");
  break_frame(folder / "videos/run/v1", 7);
  const auto arguments = eval_arguments(weights, folder / "videos", folder / "out", "--clips 5 --crops 2");
  const Result result = Process("twostream-eval", arguments).wait();
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.err, Contains("run/v1") && Contains("img_00007.png"));
  const json j = parse_only_line(result.out);
  CHECK(j["videos"] == 5);
  REQUIRE(j["broken"].size() == 1);
  CHECK(j["broken"][0]["video"] == "run/v1");
  CHECK_THAT(bytes_of(folder / "out/report.html"), Contains("run/v1"));
  Scores expected = read_scores(folder / "whole/scores.csv");
  std::erase_if(expected.rows, [](const Scores::Row& row) { return row.video == "run/v1"; });
  CHECK(score_difference(expected, read_scores(folder / "out/scores.csv")) < 1e-6);
  require_eval_failure(
      join(eval_arguments(weights, folder / "videos", folder / "strict", "--clips 5 --crops 2"),
           {"--on-error", "fail"}),
      {.code = 3, .parts = {"img_00007.png"}});
  // Mended, it is computed by the same command.
  fs::remove_all(folder / "videos");
  write_videos(folder / "videos", {12, 12});
  CHECK(evaluate(arguments)["videos"] == 6);
  CHECK((bytes_of(folder / "out/scores.csv") == bytes_of(folder / "whole/scores.csv")));
}

TEST_CASE("evaluation: classes that the weights do not know are named") {
  const TemporaryFolder folder;
  const fs::path weights = spatial_weights(folder);
  write_videos(folder / "videos", {4}, {"fall", "runn"});
  require_eval_failure(eval_arguments(weights, folder / "videos", folder / "out", ""),
                       {.code = 3, .parts = {"'runn'", "'fall' to 'wave'"}});
  CHECK_FALSE(fs::exists(folder / "out"));
  // A part of them will do, and their order is no matter.
  fs::rename(folder / "videos/runn", folder / "videos/Wave");
  evaluate(weights, folder / "videos", folder / "out", "--clips 1 --crops 1");
  CHECK(read_scores(folder / "out/scores.csv").rows[0].label == "wave");
}

TEST_CASE("evaluation: test videos of the training are counted") {
  const TemporaryFolder folder;
  write_videos(folder / "videos", {4, 4});
  std::ofstream(folder / "train.txt") << "run/v0.avi 1\nwave/v7.avi 0\nfall/V1.avi 0\n";
  const auto arguments = eval_arguments(spatial_weights(folder), folder / "videos", folder / "out",
                                        "--clips 1 --crops 1 --train " + (folder / "train.txt").string());
  const Result result = Process("twostream-eval", arguments).wait();
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(parse_only_line(result.out)["seen_in_training"] == 2);
  CHECK_THAT(result.err, Contains("2 of 6 test videos are training videos too"));
}

TEST_CASE("evaluation: what a list names and the disk lacks is an error, or counted") {
  const TemporaryFolder folder;
  const fs::path weights = spatial_weights(folder);
  write_videos(folder / "videos", {4});
  std::ofstream(folder / "test.txt") << "fall/v0\nfall/v7\nrun/v0\nwave/v0\n";
  const std::string more = "--clips 1 --crops 1 --data-root " + (folder / "videos").string();
  require_eval_failure(eval_arguments(weights, folder / "test.txt", folder / "out", more),
                       {.code = 3, .parts = {"fall/v7", "--skip-missing"}});
  const json j = evaluate(weights, folder / "test.txt", folder / "out", more + " --skip-missing");
  CHECK(j["videos"] == 3);
  REQUIRE(j["broken"].size() == 1);
  CHECK(j["broken"][0]["video"] == "fall/v7");
  CHECK(j["broken"][0]["reason"] == "missing");
}

TEST_CASE("evaluation: what cannot be meant is refused by its flag") {
  const TemporaryFolder folder;
  const fs::path weights = spatial_weights(folder);
  write_videos(folder / "videos", {4});
  const auto refused = [&](const std::string& more, const std::vector<std::string>& parts, int code = 2) {
    INFO(more);
    require_eval_failure(eval_arguments(weights, folder / "videos", folder / "out", more),
                         {.code = code, .parts = parts});
  };
  refused("--crops 3", {"--crops", "1, 2, 5 or 10"});
  refused("--clips 0", {"--clips"});
  refused("--on-error ignore", {"--on-error", "skip, fail"});
  refused("--fusion softmax", {"--fusion", "spatial"});
  refused("--share-flow", {"--share-flow", "spatial"});
  refused("--weights " + weights.string(), {"--weights", "one file of the spatial stream"});
  refused("--data-root .", {"--data-root"});
  refused("--weights " + (folder / "none").string(), {"none"}, 3);
  const fs::path motion = latest_of(small_run(folder, "motion"));
  require_eval_failure(eval_arguments(motion, folder / "videos", folder / "out", ""),
                       {.code = 3, .parts = {"a MotionNet alone", "twostream-train"}});
  CHECK_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("evaluation: a disk that is full from the n-th change on is told, and the same command goes on") {
  const TemporaryFolder folder;
  const fs::path weights = spatial_weights(folder);
  write_videos(folder / "videos", {4});
  const std::string views = "--clips 2 --crops 1";
  evaluate(weights, folder / "videos", folder / "whole", views);
  const std::string whole = bytes_of(folder / "whole/scores.csv");
#ifdef MILLRACE_SANITIZED_PROGRAMS
  constexpr int kStride = 7;
#else
  constexpr int kStride = 2;
#endif
  int changes = 1;
  for (;; changes += kStride) {
    INFO("change " << changes << " of the disk fails");
    const fs::path out = folder / ("out" + std::to_string(changes));
    const auto arguments = eval_arguments(weights, folder / "videos", out, views);
    ::setenv("MILLRACE_FAIL_WRITE", std::to_string(changes).c_str(), 1);
    const Result result = Process("twostream-eval", arguments).wait();
    ::unsetenv("MILLRACE_FAIL_WRITE");
    INFO(result.err);
    if (result.code == 0) break;
    REQUIRE(result.code == 1);
    REQUIRE_THAT(last_line(result.err), Contains("No space left on device"));
    evaluate(arguments);
    REQUIRE((bytes_of(out / "scores.csv") == whole));
  }
  CHECK(changes > 15);
}
