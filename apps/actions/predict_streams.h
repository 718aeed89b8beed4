// The streams that twostream-predict runs: those of its --weights, ready on a device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/actions/predict_settings.h"
#include "apps/actions/recognizer.h"

namespace millrace {

// A stream in a file.
struct StreamFile {
  std::shared_ptr<const SafetensorsReader> file;
  StreamSpec spec;
  // For each class of the first stream its label in this one.
  std::vector<size_t> labels;
};

// The streams of these files, checkpoints or runs, spatial first. Errors: data for a file that holds none (of
// a MotionNet alone with what to do), for streams of other classes than the first one's; usage for two that
// are the same one of a two-stream network.
std::vector<StreamFile> find_streams(const std::vector<std::string>& weights);

// How many views one pass takes: what was asked for, else all of a window where that is not too much.
int64_t batch_of(const PredictSettings& settings, const Device& device);

// The frames of a video that one clip of the stream spans: of flows there is one frame more.
int64_t frames_spanned(const StreamSpec& spec);

}  // namespace millrace
