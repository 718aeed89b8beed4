// bench_eval: the whole evaluation of one video, 25 clips by 10 crops, with decoding: views a second, and how
// much of the time no network computes. Weights are random, which costs what trained ones cost.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "apps/actions/evaluate.h"
#include "apps/support/backends.h"
#include "apps/support/program.h"
#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Settings {
  EvalSettings eval;
  std::string net = "stacked", video;
  double channels = 1;
};

void write_random_weights(const fs::path& path, const StreamSpec& spec) {
  Graph g;
  ParamStore params;
  stream(g, params, g.input("clip", clip_spec(spec, 1)), spec);
  const auto device = make_device("cpu");
  State state(*device);
  params.initialise(state, Dtype::f32, 1);
  params.save(path, state, {{kParams, ""}}, stream_metadata(spec));
}

int run(Settings& s) {
  if (s.net != "stacked" && s.net != "spatial")
    fail(ErrorKind::usage, {"--net", "stacked or spatial", "'" + s.net + "'", ""});
  // The folder that holds the video in a folder of its class.
  const fs::path folder = fs::temp_directory_path() / fmt::format("bench_eval.{}", ::getpid());
  const fs::path videos = folder / "videos";
  fs::create_directories(videos / "video");
  fs::create_symlink(fs::absolute(s.video), videos / "video" / fs::path(s.video).filename());
  StreamSpec spec{.kind = s.net == "spatial" ? StreamKind::spatial : StreamKind::stacked,
                  .classes = {"video"},
                  .channels = s.channels};
  spec.motionnet.channels = s.channels;
  for (int k = 1; k < 101; ++k) spec.classes.push_back(fmt::format("class{}", k));
  write_random_weights(folder / "weights.safetensors", spec);
  s.eval.weights = {(folder / "weights.safetensors").string()};
  s.eval.data = {videos.string()};
  s.eval.out = (folder / "out").string();
  check_settings(s.eval);
  set_threads(s.eval.threads);
  const int code = Evaluation(s.eval).run();
  fs::remove_all(folder);
  return code;
}

void declare(CLI::App& app, Settings& s) {
  app.add_option("--video", s.video, "a video file")->required()->check(CLI::ExistingFile);
  app.add_option("--net", s.net, "stacked or spatial");
  app.add_option("--channels", s.channels, "factor of all widths");
  app.add_option("--clips", s.eval.clips, "of the video");
  app.add_option("--crops", s.eval.crops, "of each clip: 1, 2, 5 or 10");
  app.add_flag("--share-flow", s.eval.share_flow, "MotionNet once a clip and mirroring");
  app.add_option("--batch", s.eval.batch, "views at once; 0: 10 on a CPU, 50 on a GPU");
  app.add_option("--threads", s.eval.threads, "of computation; 0: one a core");
  app.add_option("--loader-threads", s.eval.loader_threads, "of decoding and cropping");
  app.add_option("--device", s.eval.device, kDeviceHelp);
  app.add_option("--precision", s.eval.precision, kPrecisionHelp);
  app.add_flag("--json", s.eval.json, "one line of JSON");
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Settings settings;
  return millrace::run_program({.name = "bench_eval",
                                .about = "Speed of evaluating a video, decoding included.",
                                .setup = [&](CLI::App& app) { millrace::declare(app, settings); },
                                .run = [&](CLI::App&) { return millrace::run(settings); }},
                               argc, argv);
}
