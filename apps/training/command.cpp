#include "apps/training/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/support/program.h"
#include "core/log.h"

namespace millrace {
namespace {

using nlohmann::json;

json read_result(const std::filesystem::path& file) {
  json parsed = json::parse(read_file(file, 1 << 20), nullptr, false);
  if (!parsed.is_object()) fail(ErrorKind::data, {file.string(), "a JSON object", "something else", ""});
  return parsed;
}

// Whether the folder holds a run that is through, so that a second --resume only says so.
bool is_complete(const std::string& out, const RunConfig& config) {
  const auto latest = latest_checkpoint(out);
  const std::filesystem::path file = std::filesystem::path(out) / "result.json";
  if (!latest || !std::filesystem::exists(file)) return false;
  if (latest->step >= config.iterations) return true;
  const json result = read_result(file);
  return config.max_seconds > 0 && result.value("steps", int64_t{0}) == latest->step &&
         result.value("seconds", 0.0) >= config.max_seconds;
}

// What changes no numbers.
const std::set<std::string>& free_to_change() {
  static const std::set<std::string> keys = {
      "iterations",       "max_seconds",      "loader_threads", "threads",        "device",
      "checkpoint_every", "keep_checkpoints", "validate_every", "pictures_every", "validation_clips",
      "epe_border",       "wait_for_nodes",   "capture",        "on_diverge"};
  return keys;
}

}  // namespace

bool RunCommand::was_given(const std::string& key) const {
  for (size_t k = 0; k < table.size(); ++k) {
    if (table[k].key == key) return given[k]->count() > 0;
  }
  return false;
}

void declare_run(CLI::App& app, RunCommand& c, RunConfig& flags, const std::string& presets) {
  app.add_option("--out", c.run.out, "the run's folder: a new one, or with --resume that of a run");
  app.add_flag("--resume", c.run.resume, "go on with the run in --out from its latest checkpoint");
  app.add_flag(
      "--allow-drift", c.run.allow_drift,
      "resume although build, processor or threads differ, or the data have moved and --data says where to");
  app.add_option("--preset", c.preset, presets);
  app.add_option("--config", c.config_file, "a TOML file of options; flags win over it");
  app.add_flag("--json", c.json, "results as one line of JSON on stdout");
  c.profile = app.add_option("--profile", c.run.profile,
                             "trace so many steps, after some to warm up, into profile.json of the run, for "
                             "chrome://tracing or ui.perfetto.dev; the results are the same");
  app.add_flag("--plan", c.plan, "print nodes, kernels, FLOP, bytes and memory of a step, allocate nothing");
  app.add_flag("--print-config", c.print_config, "print all options as TOML");
  c.table = flags.options();
  c.given = add_flags(app, c.table);
}

void check_profile(const RunCommand& c, const std::string& other) {
  if (c.profile->count() == 0) return;
  if (!other.empty()) fail(ErrorKind::usage, {"--profile", "it with a training", other, ""});
  if (c.run.profile < 1 || c.run.profile > Profile::kMaxSteps) {
    fail(ErrorKind::usage, {"--profile", fmt::format("a number of steps, 1 to {}", Profile::kMaxSteps),
                            std::to_string(c.run.profile), ""});
  }
}

namespace detail {

void set_given(const RunCommand& c, RunConfig& config) {
  if (!c.config_file.empty()) read_toml(read_file(c.config_file, 1 << 20), c.config_file, config.options());
  copy_given(c.table, c.given, config.options());
  config.make_absolute();
}

void read_stored(const RunCommand& c, RunConfig& config) {
  if (c.run.out.empty())
    fail(ErrorKind::usage, {"--resume", "--out with the folder of a run", "no --out", ""});
  const std::filesystem::path file = std::filesystem::path(c.run.out) / "config.toml";
  if (!std::filesystem::exists(file)) {
    fail(ErrorKind::usage,
         {"--resume", "a run in " + c.run.out, "no config.toml there", "start one without --resume"});
  }
  read_toml(read_file(file, 1 << 20), file.string(), config.options());
}

void check_resumed(const RunCommand& c, const OptionTable& was, const OptionTable& is) {
  const std::set<std::string> places = {"data", "validation", "data_root", "classes"};
  for (size_t k = 0; k < was.size(); ++k) {
    const bool place = places.count(was[k].key) > 0;
    if (value_text(was[k]) == value_text(is[k]) || free_to_change().count(was[k].key)) continue;
    if (place && c.run.allow_drift) continue;
    fail(ErrorKind::usage,
         {"--resume: " + was[k].key, value_text(was[k]) + " as the run has it", value_text(is[k]),
          place ? "start a new run in another folder, or give --allow-drift where the same data have moved"
                : "start a new run in another folder"});
  }
}

}  // namespace detail

int print_plan(const RunCommand& c, TrainingTask& task) {
  const RunConfig& config = task.config();
  const auto device = make_device(config.device);
  task.open_data();
  ParamStore params(device->name(), precision_of(config));
  params.set_rules(task.rules());
  KernelSettings kernels(config, c.run.resume ? std::optional(c.run.out) : std::nullopt);
  fmt::print("{}", plans_to_string(plan_training(task, params, kernels.plan_options(device->name()))));
  params.check_rules();
  kernels.finish();
  return 0;
}

int train(const RunCommand& c, TrainingTask& task, const std::string& files) {
  if (c.run.out.empty()) fail(ErrorKind::usage, {"--out", "a folder for the run", "nothing", ""});
  std::string result;
  if (c.run.resume && is_complete(c.run.out, task.config())) {
    log_info("the run is complete; more --iterations or --max-seconds would go on with it");
    result = read_result(std::filesystem::path(c.run.out) / "result.json").dump();
  } else {
    Trainer trainer(task, c.run);
    if (const int code = trainer.run(); code != 0) return code;
    result = trainer.result();
  }
  if (c.json)
    std::cout << result << "\n";
  else
    fmt::print("{}: {}\n", c.run.out, files);
  return 0;
}

}  // namespace millrace
