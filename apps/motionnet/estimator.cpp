#include "apps/motionnet/estimator.h"

#include <algorithm>

#include "apps/motionnet/net_file.h"
#include "apps/motionnet/validation.h"

namespace millrace {
namespace {

int64_t nearest_extent(int64_t extent, MotionNetExtents fit) {
  const int64_t rounded = (extent + fit.multiple / 2) / fit.multiple * fit.multiple;
  return std::clamp(rounded, fit.smallest, kMaxExtent);
}

}  // namespace

Size nearest_network_size(Size size, MotionNetKind kind) {
  const MotionNetExtents fit = motionnet_extents(kind);
  return {nearest_extent(size.height, fit), nearest_extent(size.width, fit)};
}

FlowEstimator::FlowEstimator(const SafetensorsReader& file, Device& device,
                             const FlowEstimatorOptions& options)
    : options_{.height = options.network.height, .width = options.network.width, .net = net_of_weights(file)},
      state_(device),
      params_(device.name(), options.plan.precision) {
  Plan plan = plan_flow(options_, params_, options.plan);
  require_memory(device, memory_need({&plan}, state_));
  params_.create(state_, Dtype::f32);
  params_.load(file, state_, {{kParams, ""}});
  session_ = std::make_unique<Session>(
      std::move(plan), state_,
      SessionOptions{.wait_for_nodes = options.wait_for_nodes, .capture = options.capture});
}

std::vector<Flow> FlowEstimator::run(const std::vector<Image>& frames) {
  if (static_cast<int64_t>(frames.size()) != this->frames()) {
    fail(ErrorKind::runtime,
         {"flow", std::to_string(this->frames()) + " frames", std::to_string(frames.size()), ""});
  }
  std::vector<Image> resized;
  for (const Image& frame : frames) {
    // Interpolation between neighbours would skip pixels when a frame shrinks to half or less.
    const bool shrinks = 2 * network().height <= frame.height || 2 * network().width <= frame.width;
    if (frame.size() == network())
      resized.push_back(frame);
    else
      resized.push_back(shrinks ? resize_area(frame, network()) : resize_bilinear(frame, network()));
  }
  interleave_frames(resized, input_);
  session_->set("clip", input_);
  session_->run();
  std::vector<Flow> flows = split_flows(session_->get("flow2"), session_->output("flow2").shape);
  for (Flow& flow : flows) {
    for (float& v : flow.uv) v *= .5f;  // the net counts in pixels of its input, its grid is half of that
  }
  return flows;
}

}  // namespace millrace
