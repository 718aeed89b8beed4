// Optical flow of clips by trained weights.
#pragma once

#include <memory>
#include <vector>

#include "apps/motionnet/graphs.h"
#include "core/safetensors.h"
#include "core/session.h"
#include "data/source.h"

namespace millrace {

// The network's size for frames of `size`: the nearest that fit the net, up to kMaxExtent.
Size nearest_network_size(Size size, MotionNetKind kind);

struct FlowEstimatorOptions {
  Size network;  // that frames are resized to
  PlanOptions plan = {};
  bool wait_for_nodes = false, capture = true;  // as in SessionOptions
};

class FlowEstimator {
 public:
  // Flow of clips of net_of_weights(file).frames frames, on the device that the plan is for.
  FlowEstimator(const SafetensorsReader& file, Device& device, const FlowEstimatorOptions& options);

  int64_t frames() const { return options_.net.frames; }
  Size network() const { return {options_.height, options_.width}; }
  // The flow between neighbouring frames, in pixels of its own resolution: half the network's.
  std::vector<Flow> run(const std::vector<Image>& frames);

 private:
  FlowNetOptions options_;
  State state_;
  ParamStore params_;
  std::unique_ptr<Session> session_;
  std::vector<uint8_t> input_;
};

}  // namespace millrace
