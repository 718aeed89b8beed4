// motionnet-train: learns optical flow from video without labels.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/motionnet/estimator.h"
#include "apps/motionnet/kernel_settings.h"
#include "apps/motionnet/net_file.h"
#include "apps/motionnet/sources.h"
#include "apps/motionnet/trainer.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/log.h"

namespace millrace {
namespace {

using nlohmann::json;

struct Arguments {
  TrainConfig flags;
  OptionTable table;
  std::vector<CLI::Option*> given;
  std::string preset = "small", config_file, weights;
  RunOptions run;
  CLI::Option* profile = nullptr;
  bool validate = false, json = false, plan = false, print_config = false;
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
  app.add_option("--out", a.run.out, "the run's folder: a new one, or with --resume that of a run");
  app.add_flag("--resume", a.run.resume, "go on with the run in --out from its latest checkpoint");
  app.add_flag(
      "--allow-drift", a.run.allow_drift,
      "resume although build, processor or threads differ, or the data have moved and --data says where to");
  app.add_option("--preset", a.preset,
                 "paper, small or tiny: where all other options start from (default: small, whose values are "
                 "those below)");
  app.add_option("--config", a.config_file, "a TOML file of options; flags win over it");
  app.add_flag("--validate", a.validate,
               "only validate --weights (or --init, or the run in --out) on all of --data");
  app.add_option("--weights", a.weights, "for --validate: a .safetensors file, checkpoint or run");
  app.add_flag("--json", a.json, "results as one line of JSON on stdout");
  a.profile = app.add_option("--profile", a.run.profile,
                             "trace so many steps, after some to warm up, into profile.json of the run, for "
                             "chrome://tracing or ui.perfetto.dev; the results are the same");
  app.add_flag("--plan", a.plan, "print nodes, kernels, FLOP, bytes and memory of a step, allocate nothing");
  app.add_flag("--print-config", a.print_config, "print all options as TOML");
  a.table = a.flags.options();
  a.given = add_flags(app, a.table);
}

// A run goes on from any folder: its files are named in full.
void make_absolute(TrainConfig& config) {
  for (std::string* path :
       {&config.data, &config.validation, &config.data_root, &config.init, &config.kernel_cache}) {
    if (path->empty() || path->rfind("synthetic:", 0) == 0) continue;
    const std::string before = path->rfind("hmdb51:", 0) == 0 ? "hmdb51:" : "";
    const std::string name = path->substr(before.size());
    if (!name.empty()) *path = before + std::filesystem::absolute(name).lexically_normal().string();
  }
}

// preset < file < flags
TrainConfig resolve(Arguments& a) {
  TrainConfig config = preset_config(a.preset);
  if (!a.config_file.empty()) read_toml(read_file(a.config_file, 1 << 20), a.config_file, config.options());
  copy_given(a.table, a.given, config.options());
  make_absolute(config);
  return config;
}

// The stored options of a run. Only what does not change the numbers may be given anew.
TrainConfig resume_config(Arguments& a) {
  if (a.run.out.empty())
    fail(ErrorKind::usage, {"--resume", "--out with the folder of a run", "no --out", ""});
  const std::filesystem::path file = std::filesystem::path(a.run.out) / "config.toml";
  if (!std::filesystem::exists(file)) {
    fail(ErrorKind::usage,
         {"--resume", "a run in " + a.run.out, "no config.toml there", "start one without --resume"});
  }
  TrainConfig stored;
  read_toml(read_file(file, 1 << 20), file.string(), stored.options());
  TrainConfig config = stored;
  if (!a.config_file.empty()) read_toml(read_file(a.config_file, 1 << 20), a.config_file, config.options());
  copy_given(a.table, a.given, config.options());
  make_absolute(config);
  const std::set<std::string> free = {
      "iterations",       "max_seconds",      "loader_threads", "threads",        "device",
      "checkpoint_every", "keep_checkpoints", "validate_every", "pictures_every", "validation_clips",
      "epe_border",       "wait_for_nodes",   "capture"};
  const std::set<std::string> places = {"data", "validation", "data_root"};
  const OptionTable was = stored.options(), is = config.options();
  for (size_t k = 0; k < was.size(); ++k) {
    const bool place = places.count(was[k].key) > 0;
    if (value_text(was[k]) == value_text(is[k]) || free.count(was[k].key)) continue;
    if (place && a.run.allow_drift) continue;
    fail(ErrorKind::usage,
         {"--resume: " + was[k].key, value_text(was[k]) + " as the run has it", value_text(is[k]),
          place ? "start a new run in another folder, or give --allow-drift where the same data have moved"
                : "start a new run in another folder"});
  }
  return config;
}

bool was_given(const Arguments& a, const std::string& key) {
  for (size_t k = 0; k < a.table.size(); ++k) {
    if (a.table[k].key == key) return a.given[k]->count() > 0;
  }
  return false;
}

SafetensorsReader open_weights(const Arguments& a, const TrainConfig& config) {
  const std::string from = !a.weights.empty() ? a.weights : !config.init.empty() ? config.init : a.run.out;
  if (from.empty())
    fail(ErrorKind::usage, {"--validate", "--weights with a file, checkpoint or run", "none", ""});
  return SafetensorsReader(resolve_weights(from));
}

// To validate, the net is that of the weights.
void take_net_of_weights(const Arguments& a, TrainConfig& config) {
  const SafetensorsReader file = open_weights(a, config);
  const MotionNetOptions net = net_of_weights(file);
  if (!was_given(a, "channels")) config.channels = net.channels;
  if (!was_given(a, "frames")) config.frames = net.frames;
  if (!was_given(a, "net")) config.net = name_of(net.kind);
  if (!was_given(a, "small_displacement")) config.small_displacement = net.small_displacement;
  if (!was_given(a, "smooth_conv")) config.smooth_conv = net.smooth_conv;
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
  params.initialise(state, Dtype::f32, 0);
  params.load(file, state, {{kParams, ""}});
  const std::string& spec = config.validation.empty() ? config.data : config.validation;
  Validator validator(config, params, state, {.source = open_all(config, spec), .plan = options});
  kernels.finish();
  const ValidationResult result = validator.run();
  if (a.json) {
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

int print_plan(const Arguments& a, const TrainConfig& config) {
  const auto device = make_device(config.device);
  ParamStore params(device->name(), precision_of(config));
  KernelSettings kernels(config, a.run.resume ? std::optional(a.run.out) : std::nullopt);
  const PlanOptions options = kernels.plan_options(device->name());
  fmt::print("{}", plans_to_string(plan_training(config, params, options)));
  kernels.finish();
  return 0;
}

json read_result(const std::filesystem::path& file) {
  json parsed = json::parse(read_file(file, 1 << 20), nullptr, false);
  if (!parsed.is_object()) fail(ErrorKind::data, {file.string(), "a JSON object", "something else", ""});
  return parsed;
}

// Whether the folder holds a run that is through, so that a second --resume only says so.
bool is_complete(const std::string& out, const TrainConfig& config) {
  const auto latest = latest_checkpoint(out);
  const std::filesystem::path file = std::filesystem::path(out) / "result.json";
  if (!latest || !std::filesystem::exists(file)) return false;
  if (latest->step >= config.iterations) return true;
  const json result = read_result(file);
  return config.max_seconds > 0 && result.value("steps", int64_t{0}) == latest->step &&
         result.value("seconds", 0.0) >= config.max_seconds;
}

int train(const Arguments& a, const TrainConfig& config) {
  if (a.run.out.empty()) fail(ErrorKind::usage, {"--out", "a folder for the run", "nothing", ""});
  std::string result;
  if (a.run.resume && is_complete(a.run.out, config)) {
    log_info("the run is complete; more --iterations or --max-seconds would go on with it");
    result = read_result(std::filesystem::path(a.run.out) / "result.json").dump();
  } else {
    Trainer trainer(config, a.run);
    if (const int code = trainer.run(); code != 0) return code;
    result = trainer.result();
  }
  if (a.json)
    std::cout << result << "\n";
  else
    fmt::print("{}: weights in checkpoints, curves in metrics.jsonl, pictures in pictures\n", a.run.out);
  return 0;
}

void check_profile(const Arguments& a) {
  if (a.profile->count() == 0) return;
  if (a.validate || a.plan) {
    fail(ErrorKind::usage, {"--profile", "it with a training", a.plan ? "--plan" : "--validate", ""});
  }
  if (a.run.profile < 1 || a.run.profile > Profile::kMaxSteps) {
    fail(ErrorKind::usage, {"--profile", fmt::format("a number of steps, 1 to {}", Profile::kMaxSteps),
                            std::to_string(a.run.profile), ""});
  }
}

int run(Arguments& a) {
  check_profile(a);
  if (a.validate && a.run.resume) {
    fail(ErrorKind::usage, {"--validate", "it without --resume", "both",
                            "--validate --weights with the run's folder takes its latest checkpoint"});
  }
  TrainConfig config = a.run.resume ? resume_config(a) : resolve(a);
  if (a.print_config) {
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
  if (a.plan) return print_plan(a, config);
  if (a.validate) return validate(a, config);
  return train(a, config);
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
