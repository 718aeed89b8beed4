// A run's folder:
//   config.toml env.json result.json log.txt   written by the program
//   kernels.json                               choices of kernels (core/kernel_choice.h), which --resume uses
//   profile.json                               a trace of some steps (--profile), whole or not there
//   plan.txt                                   the plans of its sessions, as --plan prints them
//   metrics.jsonl                              one JSON object a step: step, seconds, loss, its terms
//   events.out.tfevents.millrace               the same for TensorBoard (core/events.h)
//   checkpoints/step_000123/                   model.safetensors, state.safetensors, DONE
//   checkpoints/latest                         text: the folder name of the newest complete checkpoint
//   lock                                       held while a process writes to the run;
//                                              its process number
// A process can be killed at any moment: a checkpoint is whole or has another name, and metrics.jsonl ends in
// at most one torn line, which trim_metrics() drops.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files.h"

namespace millrace {

constexpr std::string_view kModelFile = "model.safetensors";
constexpr std::string_view kKernelsFile = "kernels.json";
constexpr std::string_view kPlanFile = "plan.txt";
constexpr std::string_view kStateFile = "state.safetensors";

struct Checkpoint {
  int64_t step = 0;
  std::filesystem::path path = {};  // .../checkpoints/step_000123
};

struct MetricsLine {
  int64_t step = 0;
  double seconds = 0;  // of this step
  std::vector<std::pair<std::string, double>> values =
      {};  // loss and its terms; what is not finite becomes null
};

// Complete checkpoints of the run at `run`, by step. A checkpoint is complete when it has a file DONE and
// each file that DONE lists has the listed size.
std::vector<Checkpoint> list_checkpoints(const std::filesystem::path& run);

// The one that checkpoints/latest names; where that is missing or not complete, the newest complete one.
std::optional<Checkpoint> latest_checkpoint(const std::filesystem::path& run);

// The model file that `path` means: a file itself, model.safetensors of a checkpoint folder, or that of a
// run's latest checkpoint. ErrorKind::data where there is none.
std::filesystem::path resolve_weights(const std::filesystem::path& path);

// Makes a checkpoint that belongs to no run: `fill` writes its files into the folder it is given, which gets
// the name `folder` when it is complete. A kill leaves `.tmp_<name>` beside it, which the next call removes.
// Errors: usage when `folder` is there and not empty; runtime as below.
void write_checkpoint(const std::filesystem::path& folder,
                      const std::function<void(const std::filesystem::path& folder)>& fill);

// The one writer of a run. Errors of the file system are ErrorKind::runtime.
class RunDir {
 public:
  // A new run, in a folder that need not exist. ErrorKind::usage when a run is there already.
  static RunDir create(const std::filesystem::path& path);
  // Undoes create(), for a run that could not begin: removes the files and folders of a run that were not
  // there before. Folders that hold anything else stay.
  void discard();
  // A run to go on with; removes what a killed process left half done. ErrorKind::usage when there is no run,
  // or when another process writes to it.
  static RunDir open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config_path() const { return path_ / "config.toml"; }
  std::filesystem::path env_path() const { return path_ / "env.json"; }
  std::filesystem::path kernels_path() const { return path_ / kKernelsFile; }
  std::filesystem::path plan_path() const { return path_ / kPlanFile; }
  std::filesystem::path profile_path() const { return path_ / "profile.json"; }
  std::filesystem::path result_path() const { return path_ / "result.json"; }
  std::filesystem::path log_path() const { return path_ / "log.txt"; }
  std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path events_path() const { return path_ / "events.out.tfevents.millrace"; }
  std::filesystem::path checkpoints_path() const { return path_ / "checkpoints"; }

  void write_config(std::string_view toml) const { write_file_atomically(config_path(), toml); }
  void write_env(std::string_view json) const { write_file_atomically(env_path(), json); }
  void write_kernels(std::string_view json) const { write_file_atomically(kernels_path(), json); }
  void write_plan(std::string_view text) const { write_file_atomically(plan_path(), text); }
  void write_result(std::string_view json) const { write_file_atomically(result_path(), json); }

  // One write call a line: a kill tears at most the last, and so may a reader see it. Synced by
  // save_checkpoint().
  void append_metrics(const MetricsLine& line);
  // Keeps the lines with step <= last_step. Returns the number of lines dropped.
  int64_t trim_metrics(int64_t last_step);
  // Of all lines, the seconds added up.
  double metrics_seconds() const;

  // `fill` writes the files of the checkpoint into the folder it is given. Replaces a checkpoint of the same
  // step. When `fill` throws, nothing changes.
  Checkpoint save_checkpoint(int64_t step,
                             const std::function<void(const std::filesystem::path& folder)>& fill);
  std::vector<Checkpoint> checkpoints() const { return list_checkpoints(path_); }
  std::optional<Checkpoint> latest() const { return latest_checkpoint(path_); }

  // Removes all checkpoints but the newest `n` >= 1, the latest, and that of `best_step`.
  void keep(int64_t n, std::optional<int64_t> best_step) const;
  // Removes the checkpoints of later steps, for a run that goes on from an earlier one.
  void remove_checkpoints_after(int64_t last_step) const;

 private:
  explicit RunDir(std::filesystem::path path) : path_(std::move(path)) {}
  void lock();
  void clean_up() const;
  void open_metrics();
  void remove_checkpoint(const std::filesystem::path& folder) const;

  std::filesystem::path path_;
  FileHandle lock_;
  FileHandle metrics_;
  std::vector<std::filesystem::path> made_;  // not there before create(), outer ones first
};

}  // namespace millrace
