#include "apps/motionnet/motion_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/motionnet/net_file.h"
#include "apps/training/run_config.h"
#include "core/error.h"

namespace millrace {

OptionTable loss_flags(MotionConfig& c) {
  const char* l = "Loss";
  return {
      {"normalization", &c.normalization, "caffe: as the authors' code with batch --n-ref; mean: plain means",
       l},
      {"n_ref", &c.n_ref, "the batch whose balance of losses is kept, whatever --batch is", l},
      {"ssim_weights", &c.ssim_weights,
       "of the structural similarity loss at levels 2 to 6 (tiny-motionnet: 2 to 4), comma between", l},
      {"pixel", &c.pixel, "photometric loss", l},
      {"smoothness", &c.smoothness, "smoothness loss", l},
      {"ssim", &c.ssim, "structural similarity loss", l},
      {"lrn", &c.lrn, "local response normalisation of the loss images", l},
  };
}

void check_network_extent(const char* flag, int64_t extent, MotionNetKind kind) {
  at_most(flag, extent, kMaxExtent);
  check_motionnet_extent(flag, extent, kind);
}

void check_channels(const char* flag, double channels) {
  if (channels > 0 && channels <= kMaxChannels) return;
  fail(ErrorKind::usage,
       {flag, fmt::format("a factor above 0, at most {}", kMaxChannels), fmt::format("{}", channels), ""});
}

void check_motion_config(const MotionConfig& c) {
  const MotionNetKind kind = parse_net(c.net);
  if (kind == MotionNetKind::tiny && !c.small_displacement) {
    fail(ErrorKind::usage, {"--no-small-displacement", "--net motionnet with it", "--net " + c.net,
                            "only the full net has a front for small displacements"});
  }
  if (!(c.n_ref > 0 && std::isfinite(c.n_ref)))
    fail(ErrorKind::usage, {"--n-ref", "a number above 0", fmt::format("{}", c.n_ref), ""});
  for (const double weight : c.ssim_weights) at_least("--ssim-weights", weight, 0);
  if (!c.pixel && !c.smoothness && !c.ssim) {
    fail(ErrorKind::usage, {"--no-pixel --no-smoothness --no-ssim", "at least one loss", "none", ""});
  }
  loss_options(c, 2);
}

MotionNetOptions net_options(const MotionConfig& c, MotionNetSize size) {
  return {.frames = size.frames,
          .channels = size.channels,
          .kind = parse_net(c.net),
          .small_displacement = c.small_displacement,
          .smooth_conv = c.smooth_conv};
}

MotionLossOptions loss_options(const MotionConfig& c, int64_t frames) {
  MotionLossOptions o{.frames = frames,
                      .n_ref = c.n_ref,
                      .pixel = c.pixel,
                      .smoothness = c.smoothness,
                      .ssim = c.ssim,
                      .lrn = c.lrn};
  if (c.normalization == "mean")
    o.normalization = LossNormalization::mean;
  else if (c.normalization != "caffe")
    fail(ErrorKind::usage, {"--normalization", "caffe or mean", "'" + c.normalization + "'", ""});
  // Five weights do for a net with fewer levels too: the default is one for all nets.
  const auto levels = static_cast<size_t>(coarsest_level(parse_net(c.net)) - kFinestLevel + 1);
  if (c.ssim_weights.size() != o.ssim_weights.size() && c.ssim_weights.size() != levels) {
    fail(ErrorKind::usage, {"--ssim-weights", levels == 5 ? "five numbers" : "three numbers",
                            std::to_string(c.ssim_weights.size()), ""});
  }
  std::copy(c.ssim_weights.begin(), c.ssim_weights.end(), o.ssim_weights.begin());
  return o;
}

}  // namespace millrace
