// The ablations of the paper's Table 3, Tiny MotionNet, and runs that end by the clock.
#include <cstring>
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

struct Variant {
  std::string flags;
  std::string metadata;                    // "net small_displacement smooth_conv"
  std::vector<std::string> with, without;  // layers
};

const std::vector<Variant> kVariants{
    {"--no-small-displacement", "motionnet false true", {"conv6_1", "smooth_conv2"}, {"conv1_1"}},
    {"--no-smooth-conv", "motionnet true false", {"conv1_1", "conv6_1"}, {"smooth_conv2", "smooth_conv5"}},
    {"--no-small-displacement --no-smooth-conv --no-ssim --no-smoothness",
     "motionnet false false",
     {"conv2_1", "conv6_1"},
     {"conv1_1", "smooth_conv2"}},
    {"--net tiny-motionnet", "tiny-motionnet true true", {"conv4", "smooth_conv3"}, {"conv1_1", "conv5"}}};

json validation(const fs::path& weights, const std::string& more = "") {
  const Result result =
      train(words("--validate --json --preset tiny --threads 1 --data synthetic:count=2 --weights " +
                  weights.string() + " " + more));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

// The model of a run without its metadata, as another tool would write it.
fs::path without_metadata(const TemporaryFolder& folder, const fs::path& run) {
  const fs::path model = latest_of(run) / "model.safetensors", bare = folder / "bare.safetensors";
  json header = header_of(model);
  std::string bytes = bytes_of(model);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  header.erase("__metadata__");
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::string head(sizeof size, '\0');
  std::memcpy(head.data(), &size, sizeof size);
  std::ofstream(bare, std::ios::binary) << head << text << bytes.substr(sizeof length + length);
  return bare;
}

}  // namespace

TEST_CASE("each variant trains, and its weights say what they are") {
  for (const Variant& v : kVariants) {
    INFO(v.flags);
    const TemporaryFolder folder;
    const fs::path run = small_run(folder, "run", v.flags);
    const json header = header_of(latest_of(run) / "model.safetensors");
    const json& meta = header.at("__metadata__");
    CHECK(meta.at("net").get<std::string>() + " " + meta.at("small_displacement").get<std::string>() + " " +
              meta.at("smooth_conv").get<std::string>() ==
          v.metadata);
    for (const std::string& layer : v.with) CHECK(header.contains("motionnet." + layer + ".weight"));
    for (const std::string& layer : v.without) CHECK_FALSE(header.contains("motionnet." + layer + ".weight"));
    const std::vector<json> lines = metrics_of(run);
    REQUIRE(lines.size() == 3);
    const bool tiny = v.flags == "--net tiny-motionnet";
    for (const char* term : {"pixel5", "pixel6"}) CHECK(lines[0].contains(term) == !tiny);
    CHECK(lines[0].contains("pixel4"));

    // No flag tells these programs which net it is.
    const json v1 = validation(run);
    CHECK(v1.at("epe").get<double>() > 0);
    CHECK(v1.contains("pixel6") == !tiny);
    const Result flows = flow({"--weights", run.string(), "--data", "synthetic:count=1", "--threads", "1"});
    INFO(flows.err);
    CHECK(flows.code == 0);
    CHECK(validation(without_metadata(folder, run)) == v1);

    // A run that goes on has the net of its beginning.
    const Result more = train({"--resume", "--out", run.string(), "--iterations", "4"});
    INFO(more.err);
    CHECK(more.code == 0);
    CHECK(metrics_of(run).size() == 4);
  }
}

TEST_CASE("the losses that are left out are not in the sum") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--no-ssim --no-smoothness");
  for (const json& line : metrics_of(run)) {
    double sum = 0;
    for (int l = 2; l <= 6; ++l) {
      const std::string level = std::to_string(l);
      sum += line.at("pixel" + level).get<double>();
      for (const char* term : {"ssim", "smooth_u", "smooth_v"}) CHECK_FALSE(line.contains(term + level));
    }
    CHECK(line.at("loss").get<double>() == Approx(sum).epsilon(1e-5));
  }
}

TEST_CASE("Tiny MotionNet takes multiples of 8 from 16") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--net tiny-motionnet --height 16 --width 40");
  CHECK(validation(run, "--height 24 --width 16").at("clips") == 2);
  write_frames(folder / "frames", {0, 2}, {33, 43});
  const auto flow_of = [&](const std::string& more) {
    return flow(join({"--weights", run.string(), "--data", (folder / "frames").string(), "--threads", "1"},
                     words(more)));
  };
  const Result native = flow_of("--native --out " + (folder / "out").string());
  INFO(native.err);
  REQUIRE(native.code == 0);
  const Flow flow = read_flo((folder / "out/frames/flow_00001.flo").string());
  CHECK(flow.size() == Size{16, 20});  // of 32x40
  require_failure(flow_of("--height 20 --out " + (folder / "out").string()),
                  {2, {"--height", "multiple of 8", "20", "16 and 24"}});
  // Three SSIM weights do, and mean the same as the first three of five.
  const json three = validation(run, "--height 16 --width 40 --ssim-weights .01,.02,.04");
  CHECK(three == validation(run, "--height 16 --width 40"));
}

TEST_CASE("a variant that cannot be meant, or other weights, are refused with what to do") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& flags, const Expected& expected) {
    require_failure(
        train(join(join({"--data", "synthetic:", "--out", (folder / "new").string()}, tiny()), words(flags))),
        expected);
    CHECK_FALSE(fs::exists(folder / "new"));
  };
  refused("--net tiny", {2, {"--net", "tiny-motionnet", "'tiny'", "--preset tiny"}});
  refused("--net vgg", {2, {"--net", "motionnet or tiny-motionnet", "'vgg'"}});
  refused("--net tiny-motionnet --no-small-displacement", {2, {"--no-small-displacement", "motionnet"}});
  refused("--net tiny-motionnet --ssim-weights 1,2", {2, {"--ssim-weights", "three", "2"}});
  refused("--net tiny-motionnet --height 36", {2, {"--height", "multiple of 8", "32 and 40"}});
  refused("--max-seconds -1", {2, {"--max-seconds", "-1"}});
  const fs::path run = small_run(folder, "run", "--no-smooth-conv");
  const std::string weights = run.string();
  refused("--init " + weights, {3, {"model.safetensors", "--net motionnet --no-smooth-conv"}});
  require_failure(train(words("--validate --data synthetic: --net tiny-motionnet --weights " + weights)),
                  {3, {"weights of --net tiny-motionnet", "--net motionnet --no-smooth-conv"}});
  require_failure(train(words("--resume --smooth-conv --out " + weights)), {2, {"smooth_conv", "false"}});
}

TEST_CASE("flag --max-seconds ends a run whole, and more of them go on with it") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 1000000 --max-seconds 0.05");
  const auto steps = [&] { return json::parse(bytes_of(run / "result.json")).at("steps").get<size_t>(); };
  const size_t first = steps();
  CHECK(first >= 1);
  const std::vector<json> lines = metrics_of(run);
  REQUIRE(lines.size() == first);
  double seconds = 0, before = 0;
  for (const json& line : lines) {
    before = seconds;
    seconds += line.at("seconds").get<double>();
  }
  CHECK(seconds >= .05);
  CHECK(before < .05);  // not a step too many
  CHECK(lines.back().contains("validation_loss"));
  CHECK(names_in(latest_of(run)).size() == 3);

  const std::string again = "--resume --out " + run.string();
  const Result complete = train(words(again));
  CHECK(complete.code == 0);
  CHECK_THAT(complete.err, Contains("complete") && Contains("--max-seconds"));
  CHECK(steps() == first);
  // The clock is that of all sessions of the run.
  const Result more = train(words(again + " --max-seconds 0 --iterations " + std::to_string(first + 2)));
  INFO(more.err);
  CHECK(more.code == 0);
  CHECK(steps() == first + 2);
}
