// twostream-train as a user starts it, on labelled synthetic clips.
#include <fstream>
#include <string>

#include "core/run_dir.h"
#include "core/safetensors.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

using Arguments = std::vector<std::string>;

// Two classes by motion, six training and four test clips.
const fs::path& clips() {
  static const TemporaryFolder folder;
  static const fs::path path = [] {
    const fs::path out = folder / "clips";
    Process synth("millrace-data",
                  join(words("synth --actions motion --classes 2 --train 6 --test 4 --size 64x64 --frames 4"),
                       {"--out", out.string()}));
    const Result made = synth.wait();
    REQUIRE(made.code == 0);
    return out;
  }();
  return path;
}

Arguments tiny(const std::string& stream) {
  return join(
      words("--height 64 --width 64 --resize-height 0 --resize-width 0 --batch 2 --channels 0.05 "
            "--motion-channels 0.05 --flows 2 --threads 1 --loader-threads 1 --seed 5 --learning-rate 1e-9"),
      {"--stream", stream, "--data", (clips() / "trainlist01.txt").string(), "--validation",
       (clips() / "testlist01.txt").string()});
}

Result train_stream(const Arguments& arguments) { return Process("twostream-train", arguments).wait(); }

Arguments with_out(const Arguments& run, const fs::path& out) { return join(run, {"--out", out.string()}); }

std::string model_of(const fs::path& run) { return bytes_of(latest_of(run) / kModelFile); }

}  // namespace

TEST_CASE("each stream trains, validates and records what it is") {
  for (const std::string stream : {"spatial", "stacked-a", "stacked-b", "stacked-c"}) {
    INFO(stream);
    const TemporaryFolder folder;
    const fs::path run = folder / "run";
    const Result result = train_stream(with_out(join(tiny(stream), words("--iterations 2 --json")), run));
    INFO(result.err);
    REQUIRE(result.code == 0);
    const json printed = json::parse(result.out);
    CHECK(printed.at("validation").at("top1/clip@1x1").get<double>() >= 0);
    CHECK(printed.at("validation").at("videos") == 4);
    const std::vector<json> lines = metrics_of(run);
    CHECK(lines.back().contains("validation_top1/clip@1x1"));
    CHECK(lines.back().contains("ssim2") == (stream == "stacked-c"));

    const SafetensorsReader file(resolve_weights(run));
    CHECK(file.has(stream == "spatial" ? "spatial.conv1_1.weight" : "temporal.conv1_1.weight"));
    CHECK(file.has("motionnet.conv1.weight") == (stream != "spatial"));
    const json spec =
        json::parse(file.metadata().at(stream == "spatial" ? "stream.spatial" : "stream.temporal"));
    CHECK(spec.at("classes") == json({"down", "up"}));
    CHECK_THAT(spec.at("provenance").get<std::string>(), Contains("trainlist01.txt"));
  }
}

TEST_CASE("a stream's run that was stopped ends as one that was not, dropout and labels too") {
  const TemporaryFolder folder;
  const Arguments run =
      join(tiny("stacked-c"), words("--accumulate 2 --checkpoint-every 2 --validate-every 0"));
  const fs::path whole = folder / "whole", parts = folder / "parts";
  REQUIRE(train_stream(with_out(join(run, words("--iterations 4")), whole)).code == 0);
  REQUIRE(train_stream(with_out(join(run, words("--iterations 2")), parts)).code == 0);
  const Result resumed = train_stream(with_out(words("--resume --iterations 4 --threads 1"), parts));
  INFO(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(model_of(whole) == model_of(parts));
}

TEST_CASE("stacked-a leaves MotionNet as it began, and --freeze what it names") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  const Result result = train_stream(with_out(
      join(tiny("stacked-a"),
           words("--iterations 2 --checkpoint-every 1 --learning-rate 1e-6 --freeze temporal.conv1*")),
      run));
  INFO(result.err);
  REQUIRE(result.code == 0);
  const SafetensorsReader first(run / "checkpoints" / "step_000001" / kModelFile),
      last(run / "checkpoints" / "step_000002" / kModelFile);
  const auto bytes = [](const SafetensorsReader& file, const std::string& name) {
    std::vector<float> values(static_cast<size_t>(file.entry(name).count()));
    file.read(name, values);
    return values;
  };
  for (const char* still : {"motionnet.conv1.weight", "motionnet.deconv5.weight", "temporal.conv1_1.weight"})
    CHECK(bytes(first, still) == bytes(last, still));
  CHECK(bytes(first, "temporal.fc8.weight") != bytes(last, "temporal.fc8.weight"));
}

TEST_CASE("a stream that diverges stops and names the cure, or restarts with smaller steps") {
  const TemporaryFolder folder;
  const Arguments run = join(tiny("stacked-c"), words("--iterations 3 --warmup 0 --checkpoint-every 1"));
  const fs::path stopped = folder / "stopped", restarted = folder / "restarted";
  const Result one = train_stream(with_out(join(run, words("--learning-rate 1e20")), stopped));
  CHECK(one.code == 5);
  CHECK_THAT(one.err, Contains("--warmup") && Contains("--on-diverge restart"));

  // No rate that is a tenth of a thousandth of that helps: it gives up, and says how often it tried.
  const Result two =
      train_stream(with_out(join(run, words("--learning-rate 1e20 --on-diverge restart")), restarted));
  CHECK(two.code == 5);
  CHECK_THAT(two.err, Contains("Restart 3 of 3"));
  const json restarts = json::parse(bytes_of(restarted / "restarts.json"));
  CHECK(restarts.size() == 3);
}

TEST_CASE("wrong options and data of a stream's run are refused by name") {
  const TemporaryFolder folder;
  const auto refused = [&](const Arguments& more, const std::string& what) {
    const Result result = train_stream(with_out(join(tiny("stacked-a"), more), folder / "run"));
    INFO(result.err);
    CHECK((result.code == 2 || result.code == 3));
    CHECK_THAT(result.err, Contains(what));
    CHECK_FALSE(fs::exists(folder / "run"));
  };
  refused(words("--stream both"), "stacked-c");
  refused(words("--height 72"), "multiple of 32");
  refused(words("--dropout6 1"), "--dropout6");
  refused(words("--freeze nothing.*"), "nothing.*");
  refused(words("--lr-mult temporal.fc8"), "PATTERN=FACTOR");
  refused(words("--on-diverge ignore"), "stop or restart");
  refused({"--init", "motion=x.safetensors"}, "motion=x.safetensors");
  refused({"--init", (folder / "missing.safetensors").string()}, "missing.safetensors");
  refused({"--classes", (clips() / "trainlist01.txt").string()}, "trainlist01.txt");
  refused({"--data", (clips() / "up").string()}, "class");
}

TEST_CASE("presets are the paper's for each stream, and come back through --config") {
  const Result a = train_stream(words("--print-config --preset paper-ucf101 --stream stacked-b --data x"));
  REQUIRE(a.code == 0);
  for (const char* line : {"learning_rate = 1e-06", "vgg_lr_mult = 1000.0", "lr_steps = [5000, 9500]",
                           "iterations = 16000", "accumulate = 16", "dropout7 = 0.8", "flows = 10"})
    CHECK_THAT(a.out, Contains(line));
  const Result s = train_stream(words("--print-config --preset paper-hmdb51 --stream spatial --data x"));
  CHECK_THAT(s.out, Contains("learning_rate = 0.001") && Contains("dropout7 = 0.9") && Contains("0.66"));
  const TemporaryFolder folder;
  const fs::path file = folder / "config.toml";
  std::ofstream(file) << a.out;
  CHECK(train_stream({"--print-config", "--config", file.string()}).out == a.out);
}
