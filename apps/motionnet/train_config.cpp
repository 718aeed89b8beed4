#include "apps/motionnet/train_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "apps/motionnet/net_file.h"
#include "apps/support/backends.h"
#include "core/error.h"

namespace millrace {

OptionTable TrainConfig::options() {
  const char *d = "Data", *n = "Network and batch", *o = "Optimizer", *l = "Loss", *r = "Run",
             *v = "Validation and output";
  return {
      {"data", &data,
       "what to learn from: a video, a folder of videos, of frames or of such folders, a list of these "
       "(.txt: "
       "path, path label, or path frames label), hmdb51:FOLDER,split=1,part=train, or "
       "synthetic:key=value,...",
       d},
      {"data_root", &data_root, "where the paths of lists begin; empty: in the list's own folder", d},
      {"skip_missing", &skip_missing,
       "leave out, with a warning, what a list names and the disk lacks; else that is an error", d},
      {"validation", &validation, "the same for validation; empty: held out of --data (see --hold-out)", d},
      {"hold_out", &hold_out,
       "kept for validation: N frames at the end of a video that is alone, of several every N-th video; 0: "
       "none",
       d},
      {"crop", &crop, "none, centre, random or multi_scale (the paper's)", d},
      {"resize_height", &resize_height,
       "pixels; of frames before the crop, unless they have the network's size; 0: as they are", d},
      {"resize_width", &resize_width, "pixels; see --resize-height", d},
      {"decode_height", &decode_height,
       "pixels; frames are brought to this size when they are decoded, for large video; 0: as they are", d},
      {"decode_width", &decode_width, "pixels; see --decode-height", d},
      {"mirror", &mirror, "probability that a clip is mirrored", d},
      {"clips_per_video", &clips_per_video, "clips drawn from a video each epoch", d},
      {"shuffle", &shuffle, "a new order of videos each epoch", d},
      {"net", &net, "motionnet, or tiny-motionnet: fewer layers, scales 2 to 4 only", n},
      {"height", &height,
       "network input, pixels: a multiple of 32, at least 64; of 8, at least 16, for tiny-motionnet", n},
      {"width", &width, "network input, pixels: as --height", n},
      {"channels", &channels, "factor of all widths of the network, above 0, at most 4; 1: the paper's", n},
      {"small_displacement", &small_displacement,
       "the full net's front for small displacements: two 3x3 convolutions at full resolution; without it "
       "one of 7x7 that halves it",
       n},
      {"smooth_conv", &smooth_conv, "convolutions between the decoder's deconvolutions", n},
      {"frames", &frames, "frames of a clip, 2 or more: 2 or 11 in the paper", n},
      {"batch", &batch, "clips of a step", n},
      {"accumulate", &accumulate, "batches whose gradients are averaged for one update", n},
      {"iterations", &iterations, "updates of the weights, all in all", o},
      {"max_seconds", &max_seconds,
       "ends the run after so many seconds of training, validation not counted; 0: only --iterations does",
       o},
      {"optimizer", &optimizer, "adam or sgd", o},
      {"learning_rate", &learning_rate, "before --lr-factor and after --warmup", o},
      {"lr_factor", &lr_factor, "multiplies the rate at each of --lr-steps", o},
      {"lr_steps", &lr_steps, "updates after which the rate falls, rising, comma between: 900,1200", o},
      {"warmup", &warmup, "updates over which the rate rises from 0", o},
      {"weight_decay", &weight_decay, "L2, in the gradient as in Caffe", o},
      {"clip", &clip, "largest norm of the gradient; 0: any", o},
      {"beta1", &beta1, "Adam: decay of the gradient's mean", o},
      {"beta2", &beta2, "Adam: decay of its square's mean", o},
      {"epsilon", &epsilon, "Adam: added to the root of that", o},
      {"momentum", &momentum, "of SGD", o},
      {"normalization", &normalization, "caffe: as the authors' code with batch --n-ref; mean: plain means",
       l},
      {"n_ref", &n_ref, "the batch whose balance of losses is kept, whatever --batch is", l},
      {"ssim_weights", &ssim_weights,
       "of the structural similarity loss at levels 2 to 6 (tiny-motionnet: 2 to 4), comma between", l},
      {"pixel", &pixel, "photometric loss", l},
      {"smoothness", &smoothness, "smoothness loss", l},
      {"ssim", &ssim, "structural similarity loss", l},
      {"lrn", &lrn, "local response normalisation of the loss images", l},
      {"seed", &seed, "of weights, data order and augmentation", r},
      {"threads", &threads, "of computation; 0: one a core", r},
      {"loader_threads", &loader_threads, "of reading and decoding", r},
      {"device", &device, kDeviceHelp, r},
      {"precision", &precision, kPrecisionHelp, r},
      {"wait_for_nodes", &wait_for_nodes, kWaitForNodesHelp, r},
      {"capture", &capture, kCaptureHelp, r},
      {"kernels", &kernels, "heuristic: by rules; measure: the fastest, timed before the first step", r},
      {"kernel_cache", &kernel_cache,
       "a file of kernels that were measured: used first, and added to by --kernels measure", r},
      {"init", &init, "weights to start from: a .safetensors file, checkpoint or run", r},
      {"checkpoint_every", &checkpoint_every, "updates from one checkpoint to the next", v},
      {"keep_checkpoints", &keep_checkpoints, "how many of the newest to keep, beside the best", v},
      {"validate_every", &validate_every, "updates from one validation to the next; 0: only at the end", v},
      {"pictures_every", &pictures_every,
       "updates from some pictures of flow to the next; 0: only at the end", v},
      {"validation_clips", &validation_clips, "the most that are taken, spread evenly; --validate takes all",
       v},
      {"epe_border", &epe_border, "pixels at each edge left out of the end-point error", v},
  };
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

namespace {

// With these no size of a plan overflows, in oneDNN neither, however little memory the machine has.
constexpr int64_t kMaxBatch = 4096, kMaxFrames = 256, kMaxThreads = 1024, kMaxAccumulate = 65536,
                  kMaxIterations = 1'000'000'000, kMaxClipsPerVideo = 65536;

void at_most(const char* flag, int64_t value, int64_t most) {
  if (value <= most) return;
  fail(ErrorKind::usage, {flag, "at most " + std::to_string(most), std::to_string(value), ""});
}

void at_least(const char* flag, double value, double least) {
  if (!(value >= least) || !std::isfinite(value)) {
    fail(ErrorKind::usage, {flag, "a number of at least " + std::to_string(static_cast<int64_t>(least)),
                            fmt::format("{}", value), ""});
  }
}

void check_ranges(const TrainConfig& c) {
  at_least("--frames", static_cast<double>(c.frames), 2);
  at_least("--batch", static_cast<double>(c.batch), 1);
  at_least("--accumulate", static_cast<double>(c.accumulate), 1);
  at_least("--iterations", static_cast<double>(c.iterations), 0);
  at_least("--max-seconds", c.max_seconds, 0);
  at_least("--clips-per-video", static_cast<double>(c.clips_per_video), 1);
  at_least("--loader-threads", static_cast<double>(c.loader_threads), 1);
  at_least("--checkpoint-every", static_cast<double>(c.checkpoint_every), 1);
  at_least("--keep-checkpoints", static_cast<double>(c.keep_checkpoints), 1);
  at_least("--validate-every", static_cast<double>(c.validate_every), 0);
  at_least("--pictures-every", static_cast<double>(c.pictures_every), 0);
  at_least("--validation-clips", static_cast<double>(c.validation_clips), 1);
  at_least("--hold-out", static_cast<double>(c.hold_out), 0);
  at_least("--epe-border", static_cast<double>(c.epe_border), 0);
  at_least("--learning-rate", c.learning_rate, 0);
  at_least("--resize-height", static_cast<double>(c.resize_height), 0);
  at_least("--resize-width", static_cast<double>(c.resize_width), 0);
  at_least("--decode-height", static_cast<double>(c.decode_height), 0);
  at_least("--decode-width", static_cast<double>(c.decode_width), 0);
  at_most("--resize-height", c.resize_height, kMaxExtent);
  at_most("--resize-width", c.resize_width, kMaxExtent);
  at_most("--decode-height", c.decode_height, kMaxExtent);
  at_most("--decode-width", c.decode_width, kMaxExtent);
  at_most("--frames", c.frames, kMaxFrames);
  at_most("--batch", c.batch, kMaxBatch);
  at_most("--accumulate", c.accumulate, kMaxAccumulate);
  at_most("--iterations", c.iterations, kMaxIterations);
  at_most("--clips-per-video", c.clips_per_video, kMaxClipsPerVideo);
  at_most("--hold-out", c.hold_out, kMaxIterations);
  at_most("--loader-threads", c.loader_threads, kMaxThreads);
}

// The library's own checks name its members, the person at the keyboard needs the flag.
void check_optimizer_flags(const TrainConfig& c) {
  const auto fraction = [](const char* flag, double value) {
    if (value >= 0 && value < 1) return;
    fail(ErrorKind::usage, {flag, "a number of at least 0, below 1", fmt::format("{}", value), ""});
  };
  const auto above_0 = [](const char* flag, double value) {
    if (value > 0 && std::isfinite(value)) return;
    fail(ErrorKind::usage, {flag, "a number above 0", fmt::format("{}", value), ""});
  };
  fraction("--beta1", c.beta1);
  fraction("--beta2", c.beta2);
  fraction("--momentum", c.momentum);
  above_0("--epsilon", c.epsilon);
  at_least("--weight-decay", c.weight_decay, 0);
  at_least("--clip", c.clip, 0);
  above_0("--lr-factor", c.lr_factor);
  at_least("--warmup", static_cast<double>(c.warmup), 0);
  int64_t before = 0;
  for (const int64_t step : c.lr_steps) {
    if (step <= before) {
      fail(ErrorKind::usage, {"--lr-steps", "numbers above 0, each larger than the one before",
                              fmt::format("{}", fmt::join(c.lr_steps, ",")), ""});
    }
    before = step;
  }
}

void check_crop(const std::string& crop) {
  for (const char* known : {"none", "centre", "random", "multi_scale"}) {
    if (crop == known) return;
  }
  fail(ErrorKind::usage, {"--crop", "none, centre, random or multi_scale", "'" + crop + "'", ""});
}

}  // namespace

void check_network_extent(const char* flag, int64_t extent, MotionNetKind kind) {
  at_most(flag, extent, kMaxExtent);
  check_motionnet_extent(flag, extent, kind);
}

void check_config(const TrainConfig& c) {
  if (c.data.empty()) {
    fail(ErrorKind::usage, {"--data", "a video, a folder, a list or synthetic:", "nothing",
                            "--data synthetic: trains without any download"});
  }
  if ((!c.data_root.empty() || c.skip_missing) && !is_list_spec(c.data) && !is_list_spec(c.validation)) {
    fail(ErrorKind::usage, {c.skip_missing ? "--skip-missing" : "--data-root",
                            "a list (.txt, .lst, .list or hmdb51:) in --data or --validation",
                            "'" + c.data + "'", "a folder or a video has no paths to find"});
  }
  const MotionNetKind kind = net_options(c).kind;
  if (kind == MotionNetKind::tiny && !c.small_displacement) {
    fail(ErrorKind::usage, {"--no-small-displacement", "--net motionnet with it", "--net " + c.net,
                            "only the full net has a front for small displacements"});
  }
  check_network_extent("--height", c.height, kind);
  check_network_extent("--width", c.width, kind);
  check_ranges(c);
  if (!(c.channels > 0 && c.channels <= kMaxChannels)) {
    fail(ErrorKind::usage, {"--channels", fmt::format("a factor above 0, at most {}", kMaxChannels),
                            fmt::format("{}", c.channels), ""});
  }
  if (c.epe_border >= (std::min(c.height, c.width) + 1) / 2) {
    fail(ErrorKind::usage, {"--epe-border", fmt::format("one that leaves pixels of {}x{}", c.width, c.height),
                            std::to_string(c.epe_border), ""});
  }
  if (!(c.n_ref > 0 && std::isfinite(c.n_ref)))
    fail(ErrorKind::usage, {"--n-ref", "a number above 0", fmt::format("{}", c.n_ref), ""});
  for (const double weight : c.ssim_weights) at_least("--ssim-weights", weight, 0);
  if (!(c.mirror >= 0 && c.mirror <= 1)) {
    fail(ErrorKind::usage, {"--mirror", "a probability, 0 to 1", fmt::format("{}", c.mirror), ""});
  }
  if ((c.resize_height == 0) != (c.resize_width == 0)) {
    fail(ErrorKind::usage, {"--resize-height and --resize-width", "both or neither", "one", ""});
  }
  if ((c.decode_height == 0) != (c.decode_width == 0)) {
    fail(ErrorKind::usage, {"--decode-height and --decode-width", "both or neither", "one", ""});
  }
  if (!c.pixel && !c.smoothness && !c.ssim) {
    fail(ErrorKind::usage, {"--no-pixel --no-smoothness --no-ssim", "at least one loss", "none", ""});
  }
  check_crop(c.crop);
  check_optimizer_flags(c);
  loss_options(c);
  check_optimizer(optimizer_options(c));
  check_schedule(schedule_options(c));
  kernel_policy(c);
  precision_of(c);
}

MotionNetOptions net_options(const TrainConfig& c) {
  return {.frames = c.frames,
          .channels = c.channels,
          .kind = parse_net(c.net),
          .small_displacement = c.small_displacement,
          .smooth_conv = c.smooth_conv};
}

MotionLossOptions loss_options(const TrainConfig& c) {
  MotionLossOptions o{.frames = c.frames,
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
  const auto levels = static_cast<size_t>(coarsest_level(net_options(c).kind) - kFinestLevel + 1);
  if (c.ssim_weights.size() != o.ssim_weights.size() && c.ssim_weights.size() != levels) {
    fail(ErrorKind::usage, {"--ssim-weights", levels == 5 ? "five numbers" : "three numbers",
                            std::to_string(c.ssim_weights.size()), ""});
  }
  std::copy(c.ssim_weights.begin(), c.ssim_weights.end(), o.ssim_weights.begin());
  return o;
}

OptimizerOptions optimizer_options(const TrainConfig& c) {
  OptimizerOptions o;
  if (c.optimizer == "sgd")
    o.kind = OptimizerKind::sgd;
  else if (c.optimizer != "adam")
    fail(ErrorKind::usage, {"--optimizer", "adam or sgd", "'" + c.optimizer + "'", ""});
  o.beta1 = c.beta1;
  o.beta2 = c.beta2;
  o.epsilon = c.epsilon;
  o.momentum = c.momentum;
  o.weight_decay = c.weight_decay;
  o.clip = c.clip;
  o.accumulate = c.accumulate;
  return o;
}

ScheduleOptions schedule_options(const TrainConfig& c) {
  return {.base = c.learning_rate, .factor = c.lr_factor, .steps = c.lr_steps, .warmup = c.warmup};
}

KernelPolicy kernel_policy(const TrainConfig& c) {
  if (c.kernels == "heuristic") return KernelPolicy::heuristic;
  if (c.kernels == "measure") return KernelPolicy::measure;
  fail(ErrorKind::usage, {"--kernels", "heuristic or measure", "'" + c.kernels + "'", ""});
}

GeometryOptions geometry_options(const TrainConfig& c) {
  return {.network = {c.height, c.width},
          .crop = parse_crop(c.crop),
          .resize = {c.resize_height, c.resize_width},
          .mirror = c.mirror};
}

Precision precision_of(const TrainConfig& c) { return parse_precision(c.precision, "--precision"); }

}  // namespace millrace
