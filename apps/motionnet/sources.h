// Where a run's clips come from, and which of them are kept for validation.
#pragma once

#include "apps/motionnet/train_config.h"
#include "apps/motionnet/validation.h"

namespace millrace {

struct RunSources {
  SourcePtr train;
  SourcePtr validation;  // null: nothing is held out
  ValidationClips clips = ValidationClips::centre;
};

// With --validation, that; else of a synthetic source its own split "val"; of one video its last `hold_out`
// frames; of several every so-manieth video.
RunSources open_run_sources(const TrainConfig& config);
// All of --data, for --validate.
SourcePtr open_all(const TrainConfig& config, const std::string& spec);

}  // namespace millrace
