// What scripts rely on of motionnet-train: flags, files, names, numbers.
#include <cmath>
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

std::vector<std::string> validate_arguments(const fs::path& weights, const std::string& data) {
  return {"--validate", "--json",   "--weights", weights.string(), "--data",
          data,         "--preset", "tiny",      "--threads",      "1"};
}

json validation(const fs::path& weights, const std::string& data, const std::string& more = "") {
  const Result result = train(join(validate_arguments(weights, data), words(more)));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

// Of the table of the paper's net, at a factor of 1/16 and 2 frames.
std::map<std::string, std::vector<int>> expected_shapes() {
  std::map<std::string, std::vector<int>> shapes;
  const auto conv = [&](const std::string& name, int out, int in) { shapes[name] = {out, in, 3, 3}; };
  const auto deconv = [&](const std::string& name, int in, int out) { shapes[name] = {in, out, 4, 4}; };
  conv("conv1", 4, 6), conv("conv1_1", 4, 4), conv("conv2", 8, 4), conv("conv2_1", 8, 8);
  conv("conv3", 16, 8), conv("conv3_1", 16, 16), conv("conv4", 32, 16), conv("conv4_1", 32, 32);
  conv("conv5", 32, 32), conv("conv5_1", 32, 32), conv("conv6", 64, 32), conv("conv6_1", 64, 64);
  conv("conv_pr6", 2, 64);
  deconv("deconv5", 64, 32), deconv("deconv4", 32, 16), deconv("deconv3", 16, 8), deconv("deconv2", 8, 4);
  for (const char* name :
       {"upsample_flow6to5", "upsample_flow5to4", "upsample_flow4to3", "upsample_flow3to2"})
    deconv(name, 2, 2);
  conv("smooth_conv5", 32, 32 + 32 + 2), conv("conv_pr5", 2, 32);
  conv("smooth_conv4", 16, 32 + 16 + 2), conv("conv_pr4", 2, 16);
  conv("smooth_conv3", 8, 16 + 8 + 2), conv("conv_pr3", 2, 8);
  conv("smooth_conv2", 4, 8 + 4 + 2), conv("conv_pr2", 2, 4);
  return shapes;
}

}  // namespace

TEST_CASE("a run has the files that scripts read") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--iterations 5 --checkpoint-every 2");
  for (const char* file : {"config.toml", "env.json", "log.txt", "metrics.jsonl", "result.json"}) {
    INFO(file);
    CHECK(fs::file_size(run / file) > 0);
  }
  CHECK(bytes_of(run / "checkpoints/latest") == "step_000005\n");
  CHECK(names_in(latest_of(run)) ==
        std::vector<std::string>{"DONE", "model.safetensors", "state.safetensors"});
  CHECK(names_in(run / "checkpoints").size() == 4);

  const std::vector<json> lines = metrics_of(run);
  REQUIRE(lines.size() == 5);
  for (size_t k = 0; k < lines.size(); ++k) {
    CHECK(lines[k].at("step") == k + 1);
    CHECK(lines[k].at("seconds").get<double>() > 0);
    double sum = 0;
    for (const std::string& name : term_names()) sum += lines[k].at(name).get<double>();
    CHECK(lines[k].at("loss").get<double>() == Approx(sum).epsilon(1e-5));
    CHECK(lines[k].at("loss").get<double>() > 0);
  }
  CHECK(json::parse(bytes_of(run / "env.json")).contains("threads"));
}

TEST_CASE("old checkpoints go, the best stays") {
  const TemporaryFolder folder;
  const fs::path run = small_run(
      folder, "run",
      "--iterations 12 --checkpoint-every 1 --keep-checkpoints 2 --validate-every 1 --learning-rate 0.05");
  const json result = json::parse(bytes_of(run / "result.json"));
  char best[32];
  std::snprintf(best, sizeof best, "step_%06d", result.at("best_step").get<int>());
  std::vector<std::string> names{"latest", best, "step_000011", "step_000012"};
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  CHECK(names_in(run / "checkpoints") == names);
  double least = 1e9;
  int64_t step = 0;
  for (const json& line : metrics_of(run)) {
    if (line.at("validation_loss").get<double>() >= least) continue;
    least = line.at("validation_loss").get<double>();
    step = line.at("step").get<int64_t>();
  }
  CHECK(result.at("best_step") == step);
}

TEST_CASE("weights have the names and shapes of the reference, as float32") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run", "--channels 0.0625");
  json header = header_of(latest_of(run) / "model.safetensors");
  header.erase("__metadata__");
  const auto shapes = expected_shapes();
  CHECK(header.size() == 2 * shapes.size());
  for (const auto& [layer, shape] : shapes) {
    const std::string name = "motionnet." + layer;
    INFO(name);
    REQUIRE(header.contains(name + ".weight"));
    CHECK(header[name + ".weight"].at("shape").get<std::vector<int>>() == shape);
    CHECK(header[name + ".weight"].at("dtype") == "F32");
    const int out = layer.find("deconv") == 0 || layer.find("upsample") == 0 ? shape[1] : shape[0];
    CHECK(header.at(name + ".bias").at("shape").get<std::vector<int>>() == std::vector<int>{out});
  }
}

TEST_CASE("flag --validate --json prints every term, and the flow error where there is truth") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run");
  const json v = validation(run, "synthetic:count=3");
  double sum = 0, zero = 0;
  for (const std::string& name : term_names()) {
    REQUIRE(v.contains(name));
    sum += v[name].get<double>();
    zero += v.at("zero_flow").at(name).get<double>();
  }
  CHECK(v.at("loss").get<double>() == Approx(sum).epsilon(1e-5));
  CHECK(v.at("zero_flow").at("loss").get<double>() == Approx(zero).epsilon(1e-5));
  CHECK(v.at("clips") == 3);
  CHECK(v.at("epe").get<double>() > 0);
  // A clip's value is that of one clip: the batch of training has no part in it.
  CHECK(validation(run, "synthetic:count=3", "--batch 7") == v);
  // The mean over clips: the first three of four and the fourth weigh as they should.
  const json four = validation(run, "synthetic:count=4");
  CHECK(four.at("loss") != v.at("loss"));
  // N_ref is a factor of the photometric and smoothness terms, not of SSIM's.
  const json other = validation(run, "synthetic:count=3", "--n-ref 32");
  CHECK(other.at("pixel3").get<double>() == Approx(v.at("pixel3").get<double>() / 2).epsilon(1e-5));
  CHECK(other.at("smooth_u4").get<double>() == Approx(v.at("smooth_u4").get<double>() / 2).epsilon(1e-5));
  CHECK(other.at("ssim2") == v.at("ssim2"));

  write_frames(folder / "frames", {0, 3}, {64, 64});
  CHECK_FALSE(validation(run, (folder / "frames").string()).contains("epe"));
}

TEST_CASE("flag --validate takes a file, a checkpoint or a run, and --init does as well as --weights") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run");
  const json v = validation(run, "synthetic:count=2");
  CHECK(validation(latest_of(run), "synthetic:count=2") == v);
  CHECK(validation(latest_of(run) / "model.safetensors", "synthetic:count=2") == v);
  CHECK(validation(run / "checkpoints", "synthetic:count=2") == v);
  const Result result = train(
      words("--validate --json --data synthetic:count=2 --preset tiny --threads 1 --init " + run.string()));
  INFO(result.err);
  CHECK(parse_only_line(result.out) == v);
}

TEST_CASE("flag --validate takes all videos, of each the clip in the middle") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run");
  write_frames(folder / "data/seven", {0, 7}, {64, 64});
  write_frames(folder / "data/two", {50, 2}, {64, 64});
  write_frames(folder / "middle", {3, 2}, {64, 64});  // (7 - 2 + 1) / 2 = 3
  const json all = validation(run, (folder / "data").string()),
             seven = validation(run, (folder / "data/seven").string()),
             two = validation(run, (folder / "data/two").string());
  CHECK(all.at("clips") == 2);
  CHECK(seven == validation(run, (folder / "middle").string()));
  CHECK(all.at("loss").get<double>() ==
        Approx((seven.at("loss").get<double>() + two.at("loss").get<double>()) / 2).epsilon(1e-9));
}

TEST_CASE("frames of the network's size are used untouched, others resized and cut in the centre") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run");
  write_frames(folder / "exact", {0, 2}, {64, 64});
  const json v = validation(run, (folder / "exact").string());
  CHECK(validation(run, (folder / "exact").string(),
                   "--resize-height 90 --resize-width 100 --crop multi_scale") == v);
  // Frames of another size: to 340x256, then the centre. The same done here gives the same numbers.
  for (int k = 0; k < 2; ++k) {
    const Image image = frame(k, {80, 100});
    fs::create_directories(folder / "large");
    fs::create_directories(folder / "cut");
    const std::string name = "img_0000" + std::to_string(k + 1) + ".png";
    write_png((folder / "large" / name).string(), image);
    const Image resized = resize_bilinear(image, {256, 340});
    write_png((folder / "cut" / name).string(), crop(resized, {96, 138, {64, 64}}));
  }
  CHECK(validation(run, (folder / "large").string()) == validation(run, (folder / "cut").string()));
}

TEST_CASE("pictures show the frame as it is") {
  const TemporaryFolder folder;
  write_frames(folder / "frames", {0, 8}, {64, 96});
  const Result result =
      train(join(join({"--data", (folder / "frames").string(), "--out", (folder / "run").string()}, tiny()),
                 words("--width 96 --iterations 2 --hold-out 4")));
  INFO(result.err);
  REQUIRE(result.code == 0);
  REQUIRE(names_in(folder / "run/pictures").size() >= 1);
  const Image picture = read_image((folder / "run/pictures/step_000002_clip_0.png").string());
  REQUIRE(picture.width >= 2 * 96);
  const Image left = crop(picture, {0, 0, {64, 96}});
  CHECK(left.pixels == frame(4, {64, 96}).pixels);  // the first of the four that are held out
}

TEST_CASE("flag --init starts from given weights") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run"),
                 next = small_run(folder, "next", "--iterations 0 --init " + run.string());
  const json a = header_of(latest_of(run) / "model.safetensors"),
             b = header_of(latest_of(next) / "model.safetensors");
  const auto data = [](const fs::path& run) {
    const std::string bytes = bytes_of(latest_of(run) / "model.safetensors");
    return bytes.substr(bytes.size() - 4 * 109015);
  };
  CHECK((data(run) == data(next)));
  CHECK_FALSE((data(run) == data(small_run(folder, "fresh", "--iterations 0"))));
}

TEST_CASE("11 frames and an odd factor of channels train and resume") {
  const TemporaryFolder folder;
  const fs::path run =
      small_run(folder, "run", "--frames 11 --channels 0.07 --batch 1 --height 64 --width 96");
  const json header = header_of(latest_of(run) / "model.safetensors");
  CHECK(header.at("motionnet.conv1.weight").at("shape") == json({4, 33, 3, 3}));
  CHECK(header.at("motionnet.conv_pr2.weight").at("shape")[0] == 20);
  CHECK(validation(run, "synthetic:count=1", "--width 96").at("epe").get<double>() > 0);
}

TEST_CASE("flag --plan shows the paper's net and allocates nothing") {
  const Result result = train(words("--plan --preset paper --data synthetic: --device cpu"));
  REQUIRE(result.code == 0);
  for (const char* part : {"motionnet/conv1/conv2d", "kernel", "MFLOP", "arena", "f32(16,224,224,33)"})
    CHECK_THAT(result.out, Contains(part));
#ifndef MILLRACE_SANITIZED_PROGRAMS
  CHECK(result.peak_kib < 200 * 1024);
#endif
  CHECK(result.err.empty());
}

TEST_CASE("flag --print-config comes back through --config, and flags win") {
  const TemporaryFolder folder;
  const Result first =
      train(words("--print-config --preset paper --data a\"b\\c --mirror 0.125 --lr-steps 3,5 --no-lrn "
                  "--learning-rate 3e-7 --seed 12345678901 --ssim-weights 1,2,3,4,5.5"));
  REQUIRE(first.code == 0);
  CHECK(first.err.empty());
  std::ofstream(folder / "config.toml") << first.out;
  const std::string file = (folder / "config.toml").string();
  const Result second = train({"--print-config", "--config", file});
  CHECK(second.code == 0);
  CHECK(second.out == first.out);
  CHECK_THAT(first.out,
             Contains("frames = 11") && Contains("lrn = false") && Contains("learning_rate = 3e-07"));
  const Result third = train({"--print-config", "--config", file, "--frames", "5", "--frames", "7", "--lrn"});
  CHECK_THAT(third.out, Contains("frames = 7") && Contains("lrn = true") && Contains("mirror = 0.125"));
  // A run's own config.toml is one.
  const fs::path run = small_run(folder, "run");
  const Result own = train({"--print-config", "--config", (run / "config.toml").string()});
  CHECK(own.out == bytes_of(run / "config.toml"));
}

TEST_CASE("files are named in full, so that a run goes on from any folder") {
  const Result config = train(
      {"--print-config", "--data", "clips/../a.mp4", "--init", "weights", "--validation", "synthetic:"});
  CHECK_THAT(config.out, Contains("data = \"" + (fs::current_path() / "a.mp4").string() + "\"") &&
                             Contains("init = \"" + (fs::current_path() / "weights").string() + "\"") &&
                             Contains("validation = \"synthetic:\""));
}

TEST_CASE("a run goes on with data that have moved") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run", before = folder / "before", after = folder / "after";
  write_frames(before, {0, 6}, {64, 64});
  REQUIRE(train(join(join({"--data", before.string(), "--out", run.string(), "--hold-out", "0"}, tiny()),
                     {"--iterations", "1"}))
              .code == 0);
  fs::rename(before, after);
  const std::vector<std::string> resume = {"--resume",     "--out",        run.string(), "--data",
                                           after.string(), "--iterations", "2"};
  require_failure(train(resume), {2, {"--resume: data", before.string(), "--allow-drift", "moved"}});
  const Result result = train(join(resume, {"--allow-drift"}));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(bytes_of(run / "config.toml"), Contains(after.string()));
  CHECK(train({"--resume", "--out", run.string(), "--iterations", "3"}).code == 0);
}

TEST_CASE("flag --help names all flags, --version the version") {
  for (const char* program : {"motionnet-train", "motionnet-flow"}) {
    const Result help = Process(program, {"--help"}).wait(), version = Process(program, {"--version"}).wait();
    CHECK(help.code == 0);
    CHECK(help.err.empty());
    CHECK_THAT(help.out, Contains("--data") && Contains("--weights") && Contains("--threads") &&
                             Contains("--json") && Contains("exit codes"));
    CHECK(version.code == 0);
    CHECK(lines_of(version.out).size() == 1);
    CHECK_THAT(version.out, Contains(program));
  }
  const Result help = train({"--help"});
  const Result config = train({"--print-config"});
  for (const std::string& line : lines_of(config.out)) {
    if (line.empty() || line[0] == '#') continue;
    std::string flag = "--" + line.substr(0, line.find(' '));
    std::replace(flag.begin(), flag.end(), '_', '-');
    CHECK_THAT(help.out, Contains(flag));
  }
}

TEST_CASE("flag --json is one line on stdout, and stderr has no bar without a terminal") {
  const TemporaryFolder folder;
  const Result result =
      train(join(join({"--data", "synthetic:", "--out", (folder / "run").string(), "--json"}, tiny()),
                 {"--iterations", "4"}));
  REQUIRE(result.code == 0);
  const json line = parse_only_line(result.out);
  CHECK(line.at("steps") == 4);
  CHECK(line.at("parameters") == 109015);
  CHECK(line.at("validation").at("epe").get<double>() > 0);
  CHECK(result.err.find('\r') == std::string::npos);
  CHECK(result.err.find('\x1b') == std::string::npos);
  CHECK(lines_of(result.err).size() < 10);
  CHECK_THAT(result.err, Contains("disk: the run needs about") && Contains("free"));
}
