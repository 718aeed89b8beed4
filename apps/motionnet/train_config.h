// Everything that can be set of a MotionNet training run.
#pragma once

#include "apps/support/options.h"
#include "core/plan.h"
#include "data/loader.h"
#include "nets/motion_loss.h"
#include "optim/schedule.h"
#include "optim/update.h"

namespace millrace {

// Defaults are preset `small`.
struct TrainConfig {
  std::string data, validation, data_root;
  bool skip_missing = false;
  int64_t hold_out = 16;
  int64_t height = 128, width = 128, frames = 2, batch = 8;
  double channels = .25;
  std::string net = "motionnet";
  bool small_displacement = true, smooth_conv = true;
  int64_t iterations = 2000, accumulate = 1;
  double max_seconds = 0;

  std::string optimizer = "adam";
  double learning_rate = 1e-3, lr_factor = .5;
  std::vector<int64_t> lr_steps;
  int64_t warmup = 0;
  double weight_decay = 0, clip = 0, beta1 = .9, beta2 = .999, epsilon = 1e-8, momentum = .9;

  std::string normalization = "caffe";
  double n_ref = 16;
  std::vector<double> ssim_weights = {.01, .02, .04, .08, .16};
  bool pixel = true, smoothness = true, ssim = true, lrn = true;

  std::string crop = "random";
  int64_t resize_height = 256, resize_width = 340, decode_height = 0, decode_width = 0;
  double mirror = .5;
  int64_t clips_per_video = 4;
  bool shuffle = true;

  int64_t seed = 1, threads = 0, loader_threads = 2;
  std::string device = "auto", precision = "fp32";
  bool wait_for_nodes = false, capture = true;
  std::string kernels = "heuristic", kernel_cache;
  std::string init;

  int64_t checkpoint_every = 500, keep_checkpoints = 3, validate_every = 250, pictures_every = 250;
  int64_t validation_clips = 32, epe_border = 0;

  OptionTable options();
};

// "paper", "small" or "tiny". Throws ErrorKind::usage.
TrainConfig preset_config(const std::string& name);
// Of the network's input, and of all its widths: larger ones overflow inside oneDNN.
constexpr int64_t kMaxExtent = 8192;
constexpr double kMaxChannels = 4;
// Throws ErrorKind::usage for an extent that does not fit the net, or above kMaxExtent.
void check_network_extent(const char* flag, int64_t extent, MotionNetKind kind);

// Throws ErrorKind::usage on what cannot be meant, naming the flag.
void check_config(const TrainConfig& config);

MotionNetOptions net_options(const TrainConfig& config);
MotionLossOptions loss_options(const TrainConfig& config);
OptimizerOptions optimizer_options(const TrainConfig& config);
ScheduleOptions schedule_options(const TrainConfig& config);
GeometryOptions geometry_options(const TrainConfig& config);
KernelPolicy kernel_policy(const TrainConfig& config);
Precision precision_of(const TrainConfig& config);

}  // namespace millrace
