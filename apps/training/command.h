// What programs that train are told alike: the run's folder, --resume, --preset, --config and where options
// come from.
#pragma once

#include <string>
#include <vector>

#include "apps/training/trainer.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace millrace {

struct RunCommand {
  RunOptions run;
  OptionTable table;                // of the flags
  std::vector<CLI::Option*> given;  // one each
  std::string preset = "small", config_file;
  CLI::Option* profile = nullptr;
  bool json = false, plan = false, print_config = false;

  bool was_given(const std::string& key) const;
};

// Declares them and the flags of `flags`, to which the table then points. `presets` is the help of --preset.
void declare_run(CLI::App& app, RunCommand& command, RunConfig& flags, const std::string& presets);
// --profile: a number of steps, and only with a training; `other` is what else was asked for, or empty.
void check_profile(const RunCommand& command, const std::string& other);

// preset < file < flags
template <class Config> Config resolve_config(const RunCommand& command, Config preset);
// The stored options of the run in --out, with what was given anew. Only what does not change the numbers may
// be, and with --allow-drift where the data lie.
template <class Config> Config resume_config(const RunCommand& command);

// Trains, or says that the run is complete, and prints what came of it. `files` says in words what lies in
// the run's folder. Returns the exit code.
int train(const RunCommand& command, TrainingTask& task, const std::string& files);
// --plan
int print_plan(const RunCommand& command, TrainingTask& task);

namespace detail {
void set_given(const RunCommand& command, RunConfig& config);
void read_stored(const RunCommand& command, RunConfig& config);
void check_resumed(const RunCommand& command, const OptionTable& was, const OptionTable& is);
}  // namespace detail

template <class Config> Config resolve_config(const RunCommand& command, Config preset) {
  detail::set_given(command, preset);
  return preset;
}

template <class Config> Config resume_config(const RunCommand& command) {
  Config stored;
  detail::read_stored(command, stored);
  Config config = stored;
  detail::set_given(command, config);
  detail::check_resumed(command, stored.options(), config.options());
  return config;
}

}  // namespace millrace
