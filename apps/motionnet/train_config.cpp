#include "apps/motionnet/train_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/motionnet/net_file.h"
#include "core/error.h"

namespace millrace {

OptionTable TrainConfig::options() {
  const char *d = "Data", *n = "Network and batch", *r = "Run", *v = "Validation and output";
  OptionTable table = {
      {"data", &data,
       "what to learn from: a video, a folder of videos, of frames or of such folders, a list of these "
       "(.txt: "
       "path, path label, or path frames label), hmdb51:FOLDER,split=1,part=train, or "
       "synthetic:key=value,...",
       d},
  };
  append(table, list_flags(*this));
  append(table, {
                    {"validation", &validation,
                     "the same for validation; empty: held out of --data (see --hold-out)", d},
                    {"hold_out", &hold_out,
                     "kept for validation: N frames at the end of a video that is alone, of several every "
                     "N-th video; 0: "
                     "none",
                     d},
                    {"crop", &crop, "none, centre, random or multi_scale (the paper's)", d},
                });
  append(table, geometry_flags(*this));
  append(
      table,
      {
          {"net", &net, "motionnet, or tiny-motionnet: fewer layers, scales 2 to 4 only", n},
          {"height", &height,
           "network input, pixels: a multiple of 32, at least 64; of 8, at least 16, for tiny-motionnet", n},
          {"width", &width, "network input, pixels: as --height", n},
          {"channels", &channels, "factor of all widths of the network, above 0, at most 4; 1: the paper's",
           n},
          {"small_displacement", &small_displacement,
           "the full net's front for small displacements: two 3x3 convolutions at full resolution; without "
           "it "
           "one of 7x7 that halves it",
           n},
          {"smooth_conv", &smooth_conv, "convolutions between the decoder's deconvolutions", n},
          {"frames", &frames, "frames of a clip, 2 or more: 2 or 11 in the paper", n},
      });
  append(table, step_flags(*this));
  append(table, optimizer_flags(*this));
  append(table, loss_flags(*this));
  append(table, run_flags(*this));
  append(table, {{"init", &init, "weights to start from: a .safetensors file, checkpoint or run", r}});
  append(table, output_flags(*this));
  append(table, {{"epe_border", &epe_border, "pixels at each edge left out of the end-point error", v}});
  return table;
}

TrainConfig preset_config(const std::string& name) {
  TrainConfig c;
  if (name == "small") return c;
  if (name == "tiny") {
    c.height = c.width = 64;
    c.channels = .125;
    c.batch = 4;
    c.iterations = 200;
    c.checkpoint_every = 100;
    c.validate_every = c.pictures_every = 100;
    return c;
  }
  if (name == "paper") {  // models/multiframe_MotionNet: solver.prototxt, train.prototxt
    c.height = c.width = 224;
    c.frames = 11;
    c.channels = 1;
    c.batch = 16;
    c.iterations = 400000;
    c.learning_rate = motionnet_schedule().base;
    c.lr_factor = motionnet_schedule().factor;
    c.lr_steps = motionnet_schedule().steps;
    c.weight_decay = 4e-4;
    c.crop = "multi_scale";
    c.clips_per_video = 1;
    c.checkpoint_every = c.validate_every = c.pictures_every = 2000;
    return c;
  }
  fail(ErrorKind::usage, {"--preset", "paper, small or tiny", "'" + name + "'", ""});
}

void check_config(const TrainConfig& c) {
  check_run_config(c);
  check_motion_config(c);
  const MotionNetKind kind = parse_net(c.net);
  check_network_extent("--height", c.height, kind);
  check_network_extent("--width", c.width, kind);
  check_channels("--channels", c.channels);
  at_least("--frames", static_cast<double>(c.frames), 2);
  at_most("--frames", c.frames, kMaxFrames);
  at_least("--epe-border", static_cast<double>(c.epe_border), 0);
  if (c.epe_border >= (std::min(c.height, c.width) + 1) / 2) {
    fail(ErrorKind::usage, {"--epe-border", fmt::format("one that leaves pixels of {}x{}", c.width, c.height),
                            std::to_string(c.epe_border), ""});
  }
  loss_options(c);
}

MotionNetOptions net_options(const TrainConfig& c) {
  return net_options(c, {.frames = c.frames, .channels = c.channels});
}
MotionLossOptions loss_options(const TrainConfig& c) { return loss_options(c, c.frames); }

}  // namespace millrace
