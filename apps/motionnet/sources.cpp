#include "apps/motionnet/sources.h"

#include <fmt/format.h>

#include "apps/support/opening.h"
#include "apps/training/hold_out.h"
#include "core/error.h"
#include "core/log.h"
#include "data/synthetic.h"

namespace millrace {
namespace {

bool is_synthetic(const std::string& spec) { return spec.rfind("synthetic:", 0) == 0; }

// A synthetic source makes clips of the run's size and length unless it is told otherwise.
std::string complete(const TrainConfig& c, const std::string& spec, const std::string& split) {
  std::string full = spec;
  auto add = [&](const std::string& key, const std::string& value) {
    if (spec.find(key + "=") != std::string::npos) return;
    full += (full.back() == ':' ? "" : ",") + key + "=" + value;
  };
  add("size", std::to_string(c.height) + "x" + std::to_string(c.width));
  add("frames", std::to_string(c.frames));
  add("split", split);
  return full;
}

SourcePtr open(const TrainConfig& c, const std::string& spec, const std::string& split, int64_t min_frames) {
  return open_source({.spec = is_synthetic(spec) ? complete(c, spec, split) : spec,
                      .data_root = c.data_root,
                      .skip_missing = c.skip_missing,
                      .min_frames = min_frames,
                      .frame_size = {c.decode_height, c.decode_width},
                      .warn = [](const std::string& line) { log_warning(line); },
                      .left_out = {},
                      .progress = opening_bar()});
}

}  // namespace

SourcePtr open_all(const TrainConfig& c, const std::string& spec) { return open(c, spec, "train", 2); }

RunSources open_run_sources(const TrainConfig& c) {
  RunSources sources;
  sources.train = open(c, c.data, "train", c.frames);
  if (!c.validation.empty()) {
    sources.validation = open(c, c.validation, "val", 2);
    return sources;
  }
  if (is_synthetic(c.data)) {
    sources.validation = open(c, c.data, "val", 2);
    return sources;
  }
  if (c.hold_out == 0) return sources;
  const SourcePtr all = sources.train;
  if (all->size() == 1) {
    const int64_t length = all->length(0);
    if (length < c.hold_out + c.frames || c.hold_out < c.frames) {
      log_warning(
          fmt::format("nothing is held out for validation: --hold-out {} needs a video of {} or more frames "
                      "and clips of {} "
                      "or fewer; the video has {}, a clip {}",
                      c.hold_out, c.hold_out + c.frames, c.hold_out, length, c.frames));
      return sources;
    }
    sources.train = without_last_frames(all, c.hold_out);
    sources.validation = last_frames(all, c.hold_out);
    sources.clips = ValidationClips::all;
    return sources;
  }
  const HeldOut parts = hold_out_items(all, c.hold_out);
  sources.train = parts.train;
  sources.validation = parts.validation;
  return sources;
}

}  // namespace millrace
