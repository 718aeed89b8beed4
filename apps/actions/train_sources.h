// What a stream's run learns from, and what is kept for validation.
#pragma once

#include "apps/actions/train_config.h"
#include "data/source.h"

namespace millrace {

struct StreamSources {
  SourcePtr train;       // labelled
  SourcePtr validation;  // labelled by the same classes; null: nothing is held out
};

// With --validation, that; else every so-manieth video of --data. Logs what is short, and what both have.
StreamSources open_stream_sources(const StreamTrainConfig& config);

}  // namespace millrace
