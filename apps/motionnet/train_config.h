// Everything that can be set of a MotionNet training run.
#pragma once

#include "apps/motionnet/motion_config.h"
#include "apps/training/run_config.h"

namespace millrace {

// Defaults are preset `small`.
struct TrainConfig : RunConfig, MotionConfig {
  int64_t frames = 2;
  double channels = .25;
  std::string init;
  int64_t epe_border = 0;

  OptionTable options() override;
  void make_absolute() override {
    RunConfig::make_absolute();
    make_path_absolute(init);
  }
};

// "paper", "small" or "tiny". Throws ErrorKind::usage.
TrainConfig preset_config(const std::string& name);

// Throws ErrorKind::usage on what cannot be meant, naming the flag.
void check_config(const TrainConfig& config);

MotionNetOptions net_options(const TrainConfig& config);
MotionLossOptions loss_options(const TrainConfig& config);

}  // namespace millrace
