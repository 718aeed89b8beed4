// twostream-train: trains a stream of a two-stream recogniser.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "apps/actions/train_task.h"
#include "apps/support/program.h"
#include "apps/training/command.h"

namespace millrace {
namespace {

struct Arguments {
  StreamTrainConfig flags;
  RunCommand command;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer(
      "examples:\n"
      "  motionnet-train --data videos --out runs/motion --frames 11 --height 96 --width 96\n"
      "  twostream-train --stream stacked-c --data videos --init motionnet=runs/motion --out runs/temporal\n"
      "  twostream-train --stream spatial --data videos --init spatial=vgg16.safetensors --out runs/spatial\n"
      "  twostream-train --stream stacked-a --preset paper-ucf101 --data trainlist01.txt --validation "
      "testlist01.txt --data-root UCF-101 --init hidden.safetensors --out runs/ucf\n"
      "  twostream-train --resume --out runs/temporal\n"
      "then: twostream-eval --weights runs/temporal --data test-videos, twostream-predict --weights "
      "runs/temporal "
      "video.mp4\n"
      "exit codes: 0 done, 1 failure, 2 usage, 3 bad data, 4 device, 5 diverged, 75 stopped by a signal "
      "after a checkpoint");
  declare_run(
      app, a.command, a.flags,
      "small, paper-ucf101 or paper-hmdb51: where all other options start from, for the --stream (default: "
      "small, whose values for the spatial stream are those below)");
}

// The presets depend on the stream, which a flag or the file says.
StreamTrainConfig resolve(const Arguments& a) {
  const std::string stream = resolve_config(a.command, StreamTrainConfig{}).stream;
  return resolve_config(a.command, stream_preset(a.command.preset, stream));
}

int run(Arguments& a) {
  const RunCommand& command = a.command;
  check_profile(command, command.plan ? "--plan" : "");
  const StreamTrainConfig config =
      command.run.resume ? resume_config<StreamTrainConfig>(command) : resolve(a);
  if (command.print_config) {
    fmt::print("{}", to_toml(StreamTrainConfig(config).options()));
    return 0;
  }
  check_config(config);
  set_threads(config.threads);
  StreamTask task(config);
  if (command.plan) return print_plan(command, task);
  return train(
      command, task,
      "weights with all that is needed in checkpoints, curves in metrics.jsonl; twostream-eval --weights "
      "measures, twostream-predict --weights uses them");
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Arguments arguments;
  return millrace::run_program(
      {.name = "twostream-train",
       .about =
           "Trains a stream of a two-stream action recogniser (arXiv 1704.00389): VGG16 on frames, on stored "
           "flow, or stacked on MotionNet.",
       .setup = [&](CLI::App& app) { millrace::declare(app, arguments); },
       .run = [&](CLI::App&) { return millrace::run(arguments); }},
      argc, argv);
}
