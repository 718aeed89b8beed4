// The streams that an evaluation runs: which of its --weights is which stream of which split.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/actions/stream.h"
#include "core/safetensors.h"

namespace millrace {

// A stream in one file.
struct StreamWeights {
  std::string given;  // as on the command line
  std::shared_ptr<const SafetensorsReader> file;
  StreamSpec spec;
  std::string hash;                 // of the file
  std::filesystem::path run = {};   // the folder of the run that wrote it; empty: not known
  std::vector<size_t> labels = {};  // for each class of the evaluation its label here
};

struct EvalStream {
  std::string name;                    // "spatial", "temporal"
  std::vector<StreamWeights> weights;  // one for all splits, or one a split
  const StreamWeights& of(int64_t split) const {
    return weights[weights.size() == 1 ? 0 : static_cast<size_t>(split)];
  }
};

// Spatial first. The classes of the evaluation are those of the first stream's first weights. Errors: usage
// where a stream has another number of weights than one or `splits`; data for files that hold no stream, or
// other classes.
std::vector<EvalStream> find_eval_streams(const std::vector<std::string>& weights, int64_t splits);

// What a run's config.toml says it was trained on.
struct TrainingData {
  std::string spec, data_root;
};
std::optional<TrainingData> training_data(const std::filesystem::path& run);

}  // namespace millrace
