// motionnet-train: learns optical flow from video without labels.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "apps/motionnet/net_file.h"
#include "apps/motionnet/task.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "apps/training/command.h"
#include "core/log.h"

namespace millrace {
namespace {

struct Arguments {
  TrainConfig flags;
  RunCommand command;
  std::string weights;
  bool validate = false;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer(
      "examples:\n"
      "  motionnet-train --data synthetic: --out runs/first\n"
      "  motionnet-train --data holiday.mp4 --out runs/holiday --height 192 --width 320\n"
      "  motionnet-train --data trainlist01.txt --validation testlist01.txt --data-root UCF-101 --out "
      "runs/ucf\n"
      "  motionnet-train --resume --out runs/holiday\n"
      "  motionnet-train --validate --weights runs/holiday --data other.mp4 --json\n"
      "exit codes: 0 done, 1 failure, 2 usage, 3 bad data, 4 device, 5 diverged, 75 stopped by a signal "
      "after a checkpoint");
  declare_run(app, a.command, a.flags,
              "paper, small or tiny: where all other options start from (default: small, whose values are "
              "those below)");
  app.add_flag("--validate", a.validate,
               "only validate --weights (or --init, or the run in --out) on all of --data");
  app.add_option("--weights", a.weights, "for --validate: a .safetensors file, checkpoint or run");
}

SafetensorsReader open_weights(const Arguments& a, const TrainConfig& config) {
  const std::string from = !a.weights.empty()     ? a.weights
                           : !config.init.empty() ? config.init
                                                  : a.command.run.out;
  if (from.empty())
    fail(ErrorKind::usage, {"--validate", "--weights with a file, checkpoint or run", "none", ""});
  return SafetensorsReader(resolve_weights(from));
}

// To validate, the net is that of the weights.
void take_net_of_weights(const Arguments& a, TrainConfig& config) {
  const SafetensorsReader file = open_weights(a, config);
  const MotionNetOptions net = net_of_weights(file);
  if (!a.command.was_given("channels")) config.channels = net.channels;
  if (!a.command.was_given("frames")) config.frames = net.frames;
  if (!a.command.was_given("net")) config.net = name_of(net.kind);
  if (!a.command.was_given("small_displacement")) config.small_displacement = net.small_displacement;
  if (!a.command.was_given("smooth_conv")) config.smooth_conv = net.smooth_conv;
  check_same_layers(file, net_options(config));
}

int validate(const Arguments& a, const TrainConfig& config) {
  const SafetensorsReader file = open_weights(a, config);
  const auto device = make_device(config.device);
  State state(*device);
  ParamStore params(device->name(), precision_of(config));
  KernelSettings kernels(config, std::nullopt);
  const PlanOptions options = kernels.plan_options(device->name());
  plan_validation(config, params, options);  // names the parameters
  params.create(state, Dtype::f32);
  params.load(file, state, {{kParams, ""}});
  const std::string& spec = config.validation.empty() ? config.data : config.validation;
  Validator validator(config, params, state, {.source = open_all(config, spec), .plan = options});
  kernels.finish();
  const ValidationResult result = validator.run();
  if (a.command.json) {
    std::cout << to_json(result) << "\n";
    return 0;
  }
  fmt::print("{:<10} {:>12} {:>12} {:>7}\n", "term", "value", "zero flow", "share");
  for (const auto& [name, value] : result.terms) {
    fmt::print("{:<10} {:>12.6f} {:>12.6f} {:>7.3f}\n", name, value, result.zero.at(name),
               value / result.zero.at(name));
  }
  if (result.epe)
    fmt::print("{:<10} {:>12.6f} {:>12.6f} {:>7.3f}\n", "epe", *result.epe, *result.zero_epe,
               *result.epe / *result.zero_epe);
  fmt::print("mean over {}\n", counted(result.clips, "clip"));
  return 0;
}

int run(Arguments& a) {
  const RunCommand& command = a.command;
  check_profile(command, command.plan ? "--plan" : a.validate ? "--validate" : "");
  if (a.validate && command.run.resume) {
    fail(ErrorKind::usage, {"--validate", "it without --resume", "both",
                            "--validate --weights with the run's folder takes its latest checkpoint"});
  }
  TrainConfig config = command.run.resume ? resume_config<TrainConfig>(command)
                                          : resolve_config(command, preset_config(command.preset));
  if (command.print_config) {
    fmt::print("{}", to_toml(config.options()));
    return 0;
  }
  if (a.validate) take_net_of_weights(a, config);
  check_config(config);
  set_threads(config.threads);
  if (!a.weights.empty() && !a.validate) {
    fail(ErrorKind::usage,
         {"--weights", "--validate with it", "none", "--init starts training from weights"});
  }
  if (a.validate) return validate(a, config);
  MotionNetTask task(config);
  if (command.plan) return print_plan(command, task);
  return train(command, task, "weights in checkpoints, curves in metrics.jsonl, pictures in pictures");
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Arguments arguments;
  return millrace::run_program(
      {.name = "motionnet-train",
       .about = "Learns optical flow from video without labels (MotionNet, arXiv 1704.00389).",
       .setup = [&](CLI::App& app) { millrace::declare(app, arguments); },
       .run = [&](CLI::App&) { return millrace::run(arguments); }},
      argc, argv);
}
