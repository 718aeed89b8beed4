// What can be set of a MotionNet and of its losses, wherever it is trained.
#pragma once

#include <string>
#include <vector>

#include "apps/support/options.h"
#include "nets/motion_loss.h"

namespace millrace {

struct MotionConfig {
  std::string net = "motionnet";
  bool small_displacement = true, smooth_conv = true;

  std::string normalization = "caffe";
  double n_ref = 16;
  std::vector<double> ssim_weights = {.01, .02, .04, .08, .16};
  bool pixel = true, smoothness = true, ssim = true, lrn = true;
};

OptionTable loss_flags(MotionConfig& config);

// Of all widths of a net: larger ones overflow inside oneDNN.
constexpr double kMaxChannels = 4;
void check_channels(const char* flag, double channels);
// Throws ErrorKind::usage for an extent that does not fit the net, or above kMaxExtent.
void check_network_extent(const char* flag, int64_t extent, MotionNetKind kind);
// Throws ErrorKind::usage on what cannot be meant.
void check_motion_config(const MotionConfig& config);

struct MotionNetSize {
  int64_t frames = 0;
  double channels = 1;
};
MotionNetOptions net_options(const MotionConfig& config, MotionNetSize size);
MotionLossOptions loss_options(const MotionConfig& config, int64_t frames);

}  // namespace millrace
