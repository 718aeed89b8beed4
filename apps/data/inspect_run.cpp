#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/data/inspectors.h"
#include "apps/motionnet/train_config.h"
#include "core/error.h"
#include "core/files.h"
#include "core/run_dir.h"
#include "core/safetensors.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ordered_json config_of(const fs::path& run) {
  TrainConfig config;
  const fs::path file = run / "config.toml";
  read_toml(read_file(file, 1 << 20), file.string(), config.options());
  ordered_json json;
  for (const OptionSpec& option : config.options()) {
    const auto value = ordered_json::parse(value_text(option), nullptr, false);
    json[option.key] = value.is_discarded() ? ordered_json(value_text(option)) : value;
  }
  return json;
}

ordered_json checkpoints_of(const fs::path& run) {
  ordered_json list = ordered_json::array();
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", error)) {
    if (entry.is_directory(error) && entry.path().filename().string().starts_with("step_"))
      folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  const std::vector<Checkpoint> complete = list_checkpoints(run);
  for (const fs::path& folder : folders) {
    const bool whole = std::any_of(complete.begin(), complete.end(), [&](const Checkpoint& c) {
      return c.path.filename() == folder.filename();
    });
    list.push_back({{"name", folder.filename().string()}, {"complete", whole}});
  }
  return list;
}

// The last whole line, and how many there are.
ordered_json metrics_of(const fs::path& run) {
  std::ifstream file(run / "metrics.jsonl");
  ordered_json last;
  int64_t lines = 0;
  for (std::string line; std::getline(file, line);) {
    auto json = ordered_json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    ++lines;
    last = std::move(json);
  }
  return {{"lines", lines}, {"last", last}};
}

// Does a process hold the run's lock?
bool is_written(const fs::path& run) {
  std::error_code error;
  if (!fs::exists(run / "lock", error)) return false;
  const FileHandle lock = open_for_reading(run / "lock");
  return ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

ordered_json best_of(const fs::path& run) {
  const auto latest = latest_checkpoint(run);
  if (!latest) return nullptr;
  const SafetensorsReader state(latest->path / kStateFile);
  const auto step = state.metadata().find("best_step");
  return step == state.metadata().end() ? ordered_json() : ordered_json(step->second);
}

}  // namespace

ordered_json inspect_run(const InspectOptions& options) {
  const fs::path& run = options.path;
  const auto latest = latest_checkpoint(run);
  std::error_code error;
  ordered_json json{{"kind", "run"},
                    {"path", run.string()},
                    {"complete", fs::exists(run / "result.json", error)},
                    {"being_written", is_written(run)},
                    {"latest", latest ? ordered_json(latest->path.filename().string()) : ordered_json()},
                    {"best_step", best_of(run)},
                    {"checkpoints", checkpoints_of(run)},
                    {"metrics", metrics_of(run)},
                    {"config", config_of(run)}};
  if (fs::exists(run / kPlanFile, error)) json["plans"] = inspect_plans({.path = run / kPlanFile})["plans"];
  return json;
}

void print_run(const ordered_json& json) {
  const auto& config = json["config"];
  fmt::print("{}{}\n", json["complete"] == true ? "complete" : "not complete, --resume goes on with it",
             json["being_written"] == true ? "; a process writes to it now" : "");
  constexpr std::array kShown = {"data",     "validation", "height",     "width",         "frames",
                                 "channels", "batch",      "iterations", "learning_rate", "seed"};
  for (const char* key : kShown) {
    if (config.contains(key)) fmt::print("  {:<14} {}\n", key, config[key].dump());
  }
  fmt::print("checkpoints\n");
  for (const auto& c : json["checkpoints"]) {
    const bool latest = c["name"] == json["latest"];
    fmt::print("  {}{}{}\n", c["name"].get<std::string>(), c["complete"] == true ? "" : "  NOT complete",
               latest ? "  latest" : "");
  }
  if (json["checkpoints"].empty()) fmt::print("  none\n");
  if (!json["best_step"].is_null()) fmt::print("best step {}\n", json["best_step"].get<std::string>());
  fmt::print("metrics: {} steps\n", json["metrics"]["lines"].dump());
  const auto& last = json["metrics"]["last"];
  if (last.is_object()) {
    for (const auto& [key, value] : last.items()) fmt::print("  {:<22} {}\n", key, value.dump());
  }
  if (json.contains("plans")) print_plans(json);
}

}  // namespace millrace
