// Everything that can be set of a training run of a stream.
#pragma once

#include "apps/actions/init.h"
#include "apps/actions/stream.h"
#include "apps/motionnet/motion_config.h"
#include "apps/training/run_config.h"
#include "core/param_rules.h"

namespace millrace {

// Hidden Two-Stream's three ways to train MotionNet under the temporal stream:
enum class Stacking {
  none,           // not stacked
  fixed,          // (a) MotionNet as it is
  action,         // (b) it learns from the actions alone
  action_motion,  // (c) and from its own losses
};

// Defaults are preset `small` of the spatial stream.
struct StreamTrainConfig : RunConfig, MotionConfig {
  StreamTrainConfig();

  std::string stream = "spatial";
  std::string classes;
  std::string label_base = "auto";
  double channels = .25, motion_channels = .25;
  int64_t flows = 10;
  double dropout6 = .5, dropout7 = .5;
  bool quantise = false, replicate = false;
  std::vector<double> mean = {104, 117, 123};
  double flow_bound = 20;
  std::vector<double> crop_scales;
  double vgg_lr_mult = 1;
  std::vector<std::string> init, freeze, lr_mult;

  OptionTable options() override;
  void make_absolute() override;
};

// "small", "paper-ucf101" or "paper-hmdb51", for a stream as --stream names it. Throws ErrorKind::usage.
StreamTrainConfig stream_preset(const std::string& name, const std::string& stream);

// Throws ErrorKind::usage on what cannot be meant, naming the flag.
void check_config(const StreamTrainConfig& config);

struct StreamChoice {
  StreamKind kind = StreamKind::spatial;
  Stacking stacking = Stacking::none;
};
StreamChoice parse_stream(const std::string& name);

// "auto", "0" or "1". Throws ErrorKind::usage.
LabelBase parse_label_base(const std::string& text);

// The stream that is trained, of these classes.
StreamSpec stream_spec(const StreamTrainConfig& config, const std::vector<std::string>& classes);
// --freeze, --lr-mult and what stacked-a freezes.
std::vector<ParamRule> parameter_rules(const StreamTrainConfig& config);
std::vector<InitPart> init_parts(const StreamTrainConfig& config);
GeometryOptions geometry_options(const StreamTrainConfig& config);

}  // namespace millrace
