// twostream-predict: what happens in videos, by trained streams.
#include <CLI/CLI.hpp>

#include "apps/actions/predict.h"
#include "apps/actions/predict_settings.h"
#include "apps/support/program.h"

namespace millrace {
namespace {

constexpr const char* kFooter =
    "A video is seen in --clips clips spread over it, each in --crops crops, and the logits of these views "
    "are\n"
    "averaged; the paper's protocol, by which twostream-eval measures, is --clips 25 --crops 10. With "
    "--window\n"
    "every stretch of that length is seen so.\n"
    "with --out writes for each video OUT/<video>/\n"
    "  strip.png        frames that the network saw, the motion between them in colours, and the ranking\n"
    "  prediction.json  what --json prints\n"
    "  timeline.csv     with --window: start_s,end_s,start_frame,end_frame and the share of each class\n"
    "  timeline.png     the same as a picture\n"
    "examples:\n"
    "  twostream-predict --weights recogniser holiday.mp4\n"
    "  twostream-predict --weights runs/spatial --weights runs/stacked videos/ --json\n"
    "  twostream-predict --weights recogniser match.mp4 --window 2 --stride 1 --out match\n"
    "  twostream-predict --weights runs/temporal --flow flow holiday.mp4 --clips 25 --crops 10\n"
    "exit codes: 0 done, 1 failure, 2 usage, 3 bad data (of several videos: the others are told), 4 device,\n"
    "75 stopped by a signal";

void declare_data(CLI::App& app, PredictSettings& s) {
  app.add_option("VIDEO", s.inputs, "videos, folders of frames, folders of these, or lists (.txt)")
      ->required()
      ->expected(1, -1);
  app.add_option("--weights", s.weights,
                 "a .safetensors file, a checkpoint or a run of twostream-train, or what millrace-data join "
                 "made of two; "
                 "given twice: a spatial and a temporal one")
      ->required()
      ->allow_extra_args(false);  // the word behind is a video
  app.add_option("--flow", s.flow,
                 "of a temporal stream, which reads stored flow: the folder that motionnet-flow wrote the "
                 "videos' flow to");
  app.add_option("--data-root", s.data_root,
                 "where the paths of a list begin; without it in the list's own folder");
  app.add_option("--fps", s.fps,
                 "frames per second, of folders of frames, which do not say it; 0: as the video says");
}

void declare_seeing(CLI::App& app, PredictSettings& s) {
  const char* group = "Seeing";
  app.add_option("--clips", s.clips, "clips of a video, or of each window")->group(group);
  app.add_option("--crops", s.crops,
                 "of a clip: 1, the centre; 2, mirrored too; 5, corners too; 10, all mirrored too")
      ->group(group);
  app.add_option("--window", s.window, "look at windows of so many seconds (2.5), or frames (64f)")
      ->group(group);
  app.add_option("--stride", s.stride, "from the beginning of a window to the next's (default: half of it)")
      ->group(group);
  app.add_option("--fusion", s.fusion,
                 "of two streams: relu-l1, the paper's; logits; softmax (default: relu-l1, with two classes "
                 "softmax)")
      ->group(group);
  app.add_option("--fusion-weights", s.fusion_weights, "spatial:temporal (default: 1:1.5)")->group(group);
}

void declare_output(CLI::App& app, PredictSettings& s) {
  const char* group = "Output";
  app.add_option("--top", s.top, "classes that are listed")->group(group);
  app.add_flag("--json", s.json, "one line of JSON for each video on stdout")->group(group);
  app.add_option("--out", s.out, "folder for pictures and time lines")->group(group);
}

void declare_machine(CLI::App& app, PredictSettings& s) {
  const char* group = "Machine";
  app.add_option("--batch", s.batch,
                 "views that one pass of a network takes; 0: all of a video, at most 10, on a GPU 50")
      ->group(group);
  add_flags(app, machine_flags(s, group));
}

int run(PredictSettings& settings) {
  check_settings(settings);
  set_threads(settings.threads);
  return PredictProgram(settings).run();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::PredictSettings settings;
  return millrace::run_program({.name = "twostream-predict",
                                .about = "What happens in videos, by a trained two-stream recogniser.",
                                .setup =
                                    [&](CLI::App& app) {
                                      app.footer(millrace::kFooter);
                                      millrace::declare_data(app, settings);
                                      millrace::declare_seeing(app, settings);
                                      millrace::declare_output(app, settings);
                                      millrace::declare_machine(app, settings);
                                    },
                                .run = [&](CLI::App&) { return millrace::run(settings); }},
                               argc, argv);
}
