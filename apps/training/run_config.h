// What can be set of any training run, whatever it trains.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "apps/support/machine.h"
#include "core/plan.h"
#include "data/loader.h"
#include "optim/schedule.h"
#include "optim/update.h"

namespace millrace {

// Defaults are those of motionnet-train's preset `small`; programs set their own.
struct RunConfig : MachineConfig {
  virtual ~RunConfig() = default;
  // All options of the program, these among them.
  virtual OptionTable options() = 0;
  // Names its files in full, so that a run goes on from any folder.
  virtual void make_absolute();

  std::string data, validation, data_root;
  bool skip_missing = false;
  int64_t hold_out = 16;
  int64_t height = 128, width = 128, batch = 8;
  int64_t iterations = 2000, accumulate = 1;
  double max_seconds = 0;

  std::string optimizer = "adam";
  double learning_rate = 1e-3, lr_factor = .5;
  std::vector<int64_t> lr_steps;
  int64_t warmup = 0;
  double weight_decay = 0, clip = 0, beta1 = .9, beta2 = .999, epsilon = 1e-8, momentum = .9;

  std::string on_diverge = "stop";

  std::string crop = "random";
  int64_t resize_height = 256, resize_width = 340, decode_height = 0, decode_width = 0;
  double mirror = .5;
  int64_t clips_per_video = 4;
  bool shuffle = true;

  int64_t seed = 1, loader_threads = 2;

  int64_t checkpoint_every = 500, keep_checkpoints = 3, validate_every = 250, pictures_every = 250;
  int64_t validation_clips = 32;

 protected:
  RunConfig() = default;
  RunConfig(const RunConfig&) = default;
  RunConfig& operator=(const RunConfig&) = default;
};

// The parts of the table, in the groups that --help shows. Those of the data but --data and --validation,
// whose text is the program's.
OptionTable list_flags(RunConfig& config);      // where lists find their files
OptionTable geometry_flags(RunConfig& config);  // from a frame to the network's input
OptionTable step_flags(RunConfig& config);      // batch and accumulation
OptionTable optimizer_flags(RunConfig& config);
OptionTable run_flags(RunConfig& config);     // seed, threads, device, kernels
OptionTable output_flags(RunConfig& config);  // checkpoints and validation
void append(OptionTable& table, OptionTable more);
// The path of a file, a folder or the data in full: "synthetic:" stays, and the "hmdb51:" before a path.
void make_path_absolute(std::string& path);

// Of the network's input: larger ones overflow inside oneDNN. Likewise the others: with them no size of a
// plan overflows, however little memory the machine has.
constexpr int64_t kMaxExtent = 8192;
constexpr int64_t kMaxFrames = 256;

// Throw ErrorKind::usage naming the flag.
void at_most(const char* flag, int64_t value, int64_t most);
void at_least(const char* flag, double value, double least);
void check_fraction(const char* flag, double value);     // in [0, 1)
void check_probability(const char* flag, double value);  // in [0, 1]
// On what cannot be meant of the options above.
void check_run_config(const RunConfig& config);

OptimizerOptions optimizer_options(const RunConfig& config);
ScheduleOptions schedule_options(const RunConfig& config);
GeometryOptions geometry_options(const RunConfig& config);
KernelPolicy kernel_policy(const MachineConfig& config);
Precision precision_of(const MachineConfig& config);

}  // namespace millrace
