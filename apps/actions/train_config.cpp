#include "apps/actions/train_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "apps/motionnet/net_file.h"
#include "core/error.h"
#include "nets/vgg16.h"

namespace millrace {
namespace {

constexpr const char* kStreams = "spatial, temporal, stacked-a, stacked-b or stacked-c";

OptionTable network_flags(StreamTrainConfig& c) {
  const char* n = "Network and batch";
  return {
      {"stream", &c.stream,
       "spatial: one frame; temporal: stored flow (motionnet-flow --format jpg); stacked-a, -b, -c: frames "
       "through "
       "MotionNet, which is (a) fixed, (b) trained by the actions, (c) by the actions and its own losses",
       n},
      {"height", &c.height, "network input, pixels: a multiple of 32; with MotionNet at least 64", n},
      {"width", &c.width, "network input, pixels: as --height", n},
      {"channels", &c.channels, "factor of VGG16's widths, above 0, at most 4; 1: the paper's", n},
      {"flows", &c.flows, "flows that a clip has, 1 or more; the paper's: 10", n},
      {"dropout6", &c.dropout6, "of fc6's outputs, while it trains; 0: none", n},
      {"dropout7", &c.dropout7, "of fc7's outputs", n},
      {"mean", &c.mean, "spatial: subtracted from blue, green and red, comma between", n},
      {"flow_bound", &c.flow_bound, "temporal: the flow in pixels that the bytes 0 and 255 stand for", n},
      {"net", &c.net, "stacked: motionnet or tiny-motionnet", n},
      {"motion_channels", &c.motion_channels, "stacked: factor of MotionNet's widths", n},
      {"small_displacement", &c.small_displacement, "stacked: see motionnet-train", n},
      {"smooth_conv", &c.smooth_conv, "stacked: see motionnet-train", n},
      {"quantise", &c.quantise, "stacked: round flow to the 8-bit values of stored flow", n},
      {"replicate", &c.replicate,
       "stacked: continue flow over the border where it is upsampled; without, as in the authors' code, the "
       "border "
       "is dark",
       n},
  };
}

OptionTable training_flags(StreamTrainConfig& c) {
  const char* o = "Optimizer";
  return {
      {"vgg_lr_mult", &c.vgg_lr_mult,
       "factor of the learning rate for VGG16's weights (biases twice that); MotionNet's is 1", o},
      {"freeze", &c.freeze,
       "parameters that do not train, by a pattern: 'temporal.conv*'; may be given again", o},
      {"lr_mult", &c.lr_mult,
       "PATTERN=FACTOR of their learning rate; may be given again, the last that matches counts", o},
  };
}

void set_paper(StreamTrainConfig& c, const StreamChoice& choice) {
  c.height = c.width = 224;
  c.resize_height = 256;
  c.resize_width = 340;
  c.channels = c.motion_channels = 1;
  c.flows = 10;
  c.batch = 8;
  c.accumulate = 16;  // 128 in all, which must stay so
  c.lr_factor = .1;
  c.weight_decay = 5e-4;
  c.crop = "multi_scale";
  c.clips_per_video = 1;
  c.checkpoint_every = c.validate_every = c.pictures_every = 500;
  c.validation_clips = 0;
  c.dropout6 = .9;
  c.dropout7 = choice.kind == StreamKind::spatial ? .9 : .8;
}

// end_solver.prototxt of models/ucf101_split1_unsup_end and hmdb51_split1_unsup_end; the spatial stream as
// the paper's section 4.2 says. The temporal stream on stored flow is trained as the stacked one's VGG16.
void set_paper_schedule(StreamTrainConfig& c, const StreamChoice& choice, bool ucf101) {
  c.learning_rate = 1e-3;
  if (choice.kind == StreamKind::spatial) {
    c.iterations = 10000;
    c.lr_steps = {4000, 8000};
    c.crop_scales = {1, .875, .75, .66};
    return;
  }
  c.iterations = ucf101 ? 16000 : 8500;
  c.lr_steps = ucf101 ? std::vector<int64_t>{5000, 9500} : std::vector<int64_t>{5000, 7000};
  if (choice.kind != StreamKind::stacked) return;
  c.learning_rate = 1e-6;
  c.vgg_lr_mult = 1000;
  c.ssim_weights = {.001, .002, .004, .008, .016};
  c.n_ref = 8;
  // Not in the authors' solver, but what they advise: runs often diverge in their first steps without.
  c.warmup = 500;
}

void check_nonnegative(const char* flag, double value) {
  if (value >= 0 && std::isfinite(value)) return;
  fail(ErrorKind::usage, {flag, "a number of at least 0", fmt::format("{}", value), ""});
}

ParamRule parse_lr_mult(const std::string& text) {
  const size_t equals = text.rfind('=');
  double factor = -1;
  if (equals != std::string::npos && equals > 0) {
    const char *begin = text.data() + equals + 1, *end = text.data() + text.size();
    const auto read = std::from_chars(begin, end, factor);
    if (read.ec != std::errc() || read.ptr != end) factor = -1;
  }
  if (factor >= 0 && std::isfinite(factor)) return {.pattern = text.substr(0, equals), .lr_mult = factor};
  fail(ErrorKind::usage, {"--lr-mult", "PATTERN=FACTOR, a factor of at least 0", "'" + text + "'",
                          "--lr-mult 'temporal.fc*=10'"});
}

}  // namespace

StreamTrainConfig::StreamTrainConfig() {
  height = width = 96;
  resize_height = 110;  // to the input as 256 and 340 are to 224
  resize_width = 146;
  batch = 16;
  iterations = 1000;
  optimizer = "sgd";
  learning_rate = 1e-4;
  warmup = 100;
  lr_factor = .1;
  weight_decay = 5e-4;
  clips_per_video = 1;
  validation_clips = 0;
}

OptionTable StreamTrainConfig::options() {
  const char *d = "Data", *r = "Run";
  OptionTable table = {
      {"data", &data,
       "what to learn from: a list (.txt: path label, or path frames label; UCF101's, TSN's), a folder of a "
       "folder "
       "per class, hmdb51:FOLDER,split=1,part=train, or Kinetics' CSV; of stream temporal the folders that "
       "motionnet-flow wrote of these",
       d},
      {"classes", &classes,
       "names of the classes, one a line, with numbers (UCF101's classInd.txt, also found beside a list) or "
       "without",
       d},
      {"label_base", &label_base, "from where a list's labels count: auto, 0 or 1", d},
  };
  append(table, list_flags(*this));
  append(table, {{"validation", &validation,
                  "the same for validation; empty: held out of --data (see --hold-out)", d},
                 {"hold_out", &hold_out, "of --data every N-th video is kept for validation; 0: none", d},
                 {"crop", &crop, "none, centre, random or multi_scale (the paper's)", d},
                 {"crop_scales", &crop_scales,
                  "of multi_scale: sizes of crops, as shares of 8/7 of the network's, comma between; none: "
                  "1,0.875,0.75",
                  d}});
  append(table, geometry_flags(*this));
  append(table, network_flags(*this));
  append(table, step_flags(*this));
  append(table, optimizer_flags(*this));
  append(table, training_flags(*this));
  OptionTable losses = loss_flags(*this);
  for (OptionSpec& option : losses) option.help += " (stacked-c)";
  append(table, losses);
  append(table, run_flags(*this));
  append(
      table,
      {{"init", &init,
        "weights to start from, [motionnet=|temporal=|spatial=]FILE: a .safetensors file, checkpoint or run; "
        "may be given again",
        r}});
  append(table, output_flags(*this));
  return table;
}

void StreamTrainConfig::make_absolute() {
  RunConfig::make_absolute();
  make_path_absolute(classes);
  for (std::string& text : init) {
    InitPart part = parse_init(text);
    std::string path = part.path.string();
    make_path_absolute(path);
    text = part.part.empty() ? path : part.part + "=" + path;
  }
}

StreamTrainConfig stream_preset(const std::string& name, const std::string& stream) {
  const StreamChoice choice = parse_stream(stream);
  StreamTrainConfig c;
  c.stream = stream;
  if (name == "small") {
    if (choice.kind == StreamKind::spatial) return c;
    c.learning_rate = 1e-3;
    if (choice.kind == StreamKind::stacked) {
      c.learning_rate = 1e-6;
      c.vgg_lr_mult = 1000;
      c.ssim_weights = {.001, .002, .004, .008, .016};
      c.n_ref = 8;
    }
    return c;
  }
  if (name == "paper-ucf101" || name == "paper-hmdb51") {
    set_paper(c, choice);
    set_paper_schedule(c, choice, name == "paper-ucf101");
    return c;
  }
  fail(ErrorKind::usage, {"--preset", "small, paper-ucf101 or paper-hmdb51", "'" + name + "'", ""});
}

LabelBase parse_label_base(const std::string& text) {
  if (text == "auto") return LabelBase::automatic;
  if (text == "0") return LabelBase::zero;
  if (text == "1") return LabelBase::one;
  fail(ErrorKind::usage, {"--label-base", "auto, 0 or 1", "'" + text + "'", ""});
}

StreamChoice parse_stream(const std::string& name) {
  if (name == "spatial") return {StreamKind::spatial, Stacking::none};
  if (name == "temporal") return {StreamKind::temporal, Stacking::none};
  if (name == "stacked-a") return {StreamKind::stacked, Stacking::fixed};
  if (name == "stacked-b") return {StreamKind::stacked, Stacking::action};
  if (name == "stacked-c") return {StreamKind::stacked, Stacking::action_motion};
  fail(ErrorKind::usage, {"--stream", kStreams, "'" + name + "'", ""});
}

void check_config(const StreamTrainConfig& c) {
  const StreamChoice choice = parse_stream(c.stream);
  check_run_config(c);
  check_motion_config(c);
  for (const auto& [flag, extent] : {std::pair{"--height", c.height}, {"--width", c.width}}) {
    at_most(flag, extent, kMaxExtent);
    if (extent < kVgg16Multiple || extent % kVgg16Multiple != 0)
      fail(ErrorKind::usage, {flag, "a multiple of 32", std::to_string(extent), ""});
    if (choice.kind == StreamKind::stacked) check_network_extent(flag, extent, parse_net(c.net));
  }
  check_channels("--channels", c.channels);
  check_channels("--motion-channels", c.motion_channels);
  at_least("--flows", static_cast<double>(c.flows), 1);
  at_most("--flows", c.flows, kMaxFrames - 1);
  check_fraction("--dropout6", c.dropout6);
  check_fraction("--dropout7", c.dropout7);
  check_nonnegative("--vgg-lr-mult", c.vgg_lr_mult);
  if (c.mean.size() != 3)
    fail(ErrorKind::usage, {"--mean", "three numbers", std::to_string(c.mean.size()), ""});
  for (const double mean : c.mean) check_nonnegative("--mean", mean);
  if (!(c.flow_bound > 0 && std::isfinite(c.flow_bound)))
    fail(ErrorKind::usage,
         {"--flow-bound", "a number of pixels above 0", fmt::format("{}", c.flow_bound), ""});
  if (!c.crop_scales.empty() && c.crop != "multi_scale")
    fail(ErrorKind::usage, {"--crop-scales", "--crop multi_scale with it", "--crop " + c.crop, ""});
  for (const double scale : c.crop_scales) {
    if (!(scale > 0 && scale <= 1))
      fail(ErrorKind::usage, {"--crop-scales", "factors above 0, at most 1", fmt::format("{}", scale), ""});
  }
  parse_label_base(c.label_base);
  parameter_rules(c);
  init_parts(c);
}

StreamSpec stream_spec(const StreamTrainConfig& c, const std::vector<std::string>& classes) {
  const StreamKind kind = parse_stream(c.stream).kind;
  StreamSpec spec{.kind = kind,
                  .classes = classes,
                  .input = {c.height, c.width},
                  .resize = {c.resize_height, c.resize_width},
                  .channels = c.channels,
                  .flows = c.flows,
                  .mean = {c.mean.at(0), c.mean.at(1), c.mean.at(2)},
                  .flow_bound = c.flow_bound,
                  .quantise = c.quantise,
                  .replicate = c.replicate};
  spec.motionnet = net_options(c, {.frames = c.flows + 1, .channels = c.motion_channels});
  return spec;
}

std::vector<ParamRule> parameter_rules(const StreamTrainConfig& c) {
  std::vector<ParamRule> rules;
  if (parse_stream(c.stream).stacking == Stacking::fixed)
    rules.push_back({.pattern = "motionnet.*", .lr_mult = 0});
  for (const std::string& text : c.lr_mult) rules.push_back(parse_lr_mult(text));
  for (const std::string& pattern : c.freeze) rules.push_back({.pattern = pattern, .lr_mult = 0});
  check_factors(rules);
  return rules;
}

std::vector<InitPart> init_parts(const StreamTrainConfig& c) {
  std::vector<InitPart> parts;
  for (const std::string& text : c.init) parts.push_back(parse_init(text));
  return parts;
}

GeometryOptions geometry_options(const StreamTrainConfig& c) {
  GeometryOptions geometry = geometry_options(static_cast<const RunConfig&>(c));
  if (!c.crop_scales.empty()) geometry.scales = c.crop_scales;
  return geometry;
}

}  // namespace millrace
