#include "apps/training/run_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "data/source.h"

namespace millrace {

void make_path_absolute(std::string& path) {
  if (path.empty() || path.rfind("synthetic:", 0) == 0) return;
  const std::string before = path.rfind("hmdb51:", 0) == 0 ? "hmdb51:" : "";
  const std::string name = path.substr(before.size());
  if (!name.empty()) path = before + std::filesystem::absolute(name).lexically_normal().string();
}

void RunConfig::make_absolute() {
  for (std::string* path : {&data, &validation, &data_root, &kernel_cache}) make_path_absolute(*path);
}

void append(OptionTable& table, OptionTable more) {
  for (OptionSpec& option : more) table.push_back(std::move(option));
}

OptionTable list_flags(RunConfig& c) {
  const char* d = "Data";
  return {
      {"data_root", &c.data_root, "where the paths of lists begin; empty: in the list's own folder", d},
      {"skip_missing", &c.skip_missing,
       "leave out, with a warning, what a list names and the disk lacks; else that is an error", d},
  };
}

OptionTable geometry_flags(RunConfig& c) {
  const char* d = "Data";
  return {
      {"resize_height", &c.resize_height,
       "pixels; of frames before the crop, unless they have the network's size; 0: as they are", d},
      {"resize_width", &c.resize_width, "pixels; see --resize-height", d},
      {"decode_height", &c.decode_height,
       "pixels; frames are brought to this size when they are decoded, for large video; 0: as they are", d},
      {"decode_width", &c.decode_width, "pixels; see --decode-height", d},
      {"mirror", &c.mirror, "probability that a clip is mirrored", d},
      {"clips_per_video", &c.clips_per_video, "clips drawn from a video each epoch", d},
      {"shuffle", &c.shuffle, "a new order of videos each epoch", d},
  };
}

OptionTable step_flags(RunConfig& c) {
  const char* n = "Network and batch";
  return {
      {"batch", &c.batch, "clips of a step", n},
      {"accumulate", &c.accumulate, "batches whose gradients are averaged for one update", n},
  };
}

OptionTable optimizer_flags(RunConfig& c) {
  const char* o = "Optimizer";
  return {
      {"iterations", &c.iterations, "updates of the weights, all in all", o},
      {"max_seconds", &c.max_seconds,
       "ends the run after so many seconds of training, validation not counted; 0: only --iterations does",
       o},
      {"optimizer", &c.optimizer, "adam or sgd", o},
      {"learning_rate", &c.learning_rate, "before --lr-factor and after --warmup", o},
      {"lr_factor", &c.lr_factor, "multiplies the rate at each of --lr-steps", o},
      {"lr_steps", &c.lr_steps, "updates after which the rate falls, rising, comma between: 900,1200", o},
      {"warmup", &c.warmup, "updates over which the rate rises from 0", o},
      {"weight_decay", &c.weight_decay, "L2, in the gradient as in Caffe", o},
      {"clip", &c.clip, "largest norm of the gradient; 0: any", o},
      {"beta1", &c.beta1, "Adam: decay of the gradient's mean", o},
      {"beta2", &c.beta2, "Adam: decay of its square's mean", o},
      {"epsilon", &c.epsilon, "Adam: added to the root of that", o},
      {"momentum", &c.momentum, "of SGD", o},
      {"on_diverge", &c.on_diverge,
       "when a loss is not finite: stop, or restart from the latest checkpoint with a tenth of the rate for "
       "500 "
       "updates, at most three times",
       o},
  };
}

OptionTable run_flags(RunConfig& c) {
  const char* r = "Run";
  OptionTable table = {{"seed", &c.seed, "of weights, data order and augmentation", r},
                       {"loader_threads", &c.loader_threads, "of reading and decoding", r}};
  append(table, machine_flags(c, r));
  return table;
}

OptionTable output_flags(RunConfig& c) {
  const char* v = "Validation and output";
  return {
      {"checkpoint_every", &c.checkpoint_every, "updates from one checkpoint to the next", v},
      {"keep_checkpoints", &c.keep_checkpoints, "how many of the newest to keep, beside the best", v},
      {"validate_every", &c.validate_every, "updates from one validation to the next; 0: only at the end", v},
      {"pictures_every", &c.pictures_every,
       "updates from some pictures of flow to the next; 0: only at the end", v},
      {"validation_clips", &c.validation_clips,
       "the most that are taken, spread evenly; 0: all, as --validate does", v},
  };
}

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

void check_fraction(const char* flag, double value) {
  if (value >= 0 && value < 1) return;
  fail(ErrorKind::usage, {flag, "a number of at least 0, below 1", fmt::format("{}", value), ""});
}

void check_probability(const char* flag, double value) {
  if (value >= 0 && value <= 1) return;
  fail(ErrorKind::usage, {flag, "a probability, 0 to 1", fmt::format("{}", value), ""});
}

namespace {

constexpr int64_t kMaxBatch = 4096, kMaxThreads = 1024, kMaxAccumulate = 65536,
                  kMaxIterations = 1'000'000'000, kMaxClipsPerVideo = 65536;

void check_ranges(const RunConfig& c) {
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
  at_least("--validation-clips", static_cast<double>(c.validation_clips), 0);
  at_least("--hold-out", static_cast<double>(c.hold_out), 0);
  at_least("--learning-rate", c.learning_rate, 0);
  at_least("--resize-height", static_cast<double>(c.resize_height), 0);
  at_least("--resize-width", static_cast<double>(c.resize_width), 0);
  at_least("--decode-height", static_cast<double>(c.decode_height), 0);
  at_least("--decode-width", static_cast<double>(c.decode_width), 0);
  at_most("--resize-height", c.resize_height, kMaxExtent);
  at_most("--resize-width", c.resize_width, kMaxExtent);
  at_most("--decode-height", c.decode_height, kMaxExtent);
  at_most("--decode-width", c.decode_width, kMaxExtent);
  at_most("--batch", c.batch, kMaxBatch);
  at_most("--accumulate", c.accumulate, kMaxAccumulate);
  at_most("--iterations", c.iterations, kMaxIterations);
  at_most("--clips-per-video", c.clips_per_video, kMaxClipsPerVideo);
  at_most("--hold-out", c.hold_out, kMaxIterations);
  at_most("--loader-threads", c.loader_threads, kMaxThreads);
}

// The library's own checks name its members, the person at the keyboard needs the flag.
void check_optimizer_flags(const RunConfig& c) {
  const auto above_0 = [](const char* flag, double value) {
    if (value > 0 && std::isfinite(value)) return;
    fail(ErrorKind::usage, {flag, "a number above 0", fmt::format("{}", value), ""});
  };
  check_fraction("--beta1", c.beta1);
  check_fraction("--beta2", c.beta2);
  check_fraction("--momentum", c.momentum);
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

void check_run_config(const RunConfig& c) {
  if (c.on_diverge != "stop" && c.on_diverge != "restart")
    fail(ErrorKind::usage, {"--on-diverge", "stop or restart", "'" + c.on_diverge + "'", ""});
  if (c.data.empty()) {
    fail(ErrorKind::usage, {"--data", "a video, a folder, a list or synthetic:", "nothing",
                            "--data synthetic: trains without any download"});
  }
  if ((!c.data_root.empty() || c.skip_missing) && !is_list_spec(c.data) && !is_list_spec(c.validation)) {
    fail(ErrorKind::usage, {c.skip_missing ? "--skip-missing" : "--data-root",
                            "a list (.txt, .lst, .list or hmdb51:) in --data or --validation",
                            "'" + c.data + "'", "a folder or a video has no paths to find"});
  }
  check_ranges(c);
  check_probability("--mirror", c.mirror);
  if ((c.resize_height == 0) != (c.resize_width == 0)) {
    fail(ErrorKind::usage, {"--resize-height and --resize-width", "both or neither", "one", ""});
  }
  if ((c.decode_height == 0) != (c.decode_width == 0)) {
    fail(ErrorKind::usage, {"--decode-height and --decode-width", "both or neither", "one", ""});
  }
  check_crop(c.crop);
  check_optimizer_flags(c);
  check_optimizer(optimizer_options(c));
  check_schedule(schedule_options(c));
  kernel_policy(c);
  precision_of(c);
}

OptimizerOptions optimizer_options(const RunConfig& c) {
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

ScheduleOptions schedule_options(const RunConfig& c) {
  return {.base = c.learning_rate, .factor = c.lr_factor, .steps = c.lr_steps, .warmup = c.warmup};
}

KernelPolicy kernel_policy(const MachineConfig& c) {
  if (c.kernels == "heuristic") return KernelPolicy::heuristic;
  if (c.kernels == "measure") return KernelPolicy::measure;
  fail(ErrorKind::usage, {"--kernels", "heuristic or measure", "'" + c.kernels + "'", ""});
}

GeometryOptions geometry_options(const RunConfig& c) {
  return {.network = {c.height, c.width},
          .crop = parse_crop(c.crop),
          .resize = {c.resize_height, c.resize_width},
          .mirror = c.mirror};
}

Precision precision_of(const MachineConfig& c) { return parse_precision(c.precision, "--precision"); }

}  // namespace millrace
