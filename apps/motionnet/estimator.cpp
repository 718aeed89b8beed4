#include "apps/motionnet/estimator.h"

#include <algorithm>
#include <cstdlib>

#include "apps/motionnet/validation.h"

namespace millrace {
namespace {

int64_t nearest_extent(int64_t extent) {
  const int64_t rounded = (extent + kMotionNetMultiple / 2) / kMotionNetMultiple * kMotionNetMultiple;
  return std::clamp(rounded, kMotionNetSmallest, kMaxExtent);
}

}  // namespace

MotionNetOptions net_of_weights(const SafetensorsReader& file) {
  const std::string first = "motionnet.conv1.weight", widest = "motionnet.conv6.weight";
  for (const std::string& name : {first, widest}) {
    if (file.has(name) && file.entry(name).shape.size() == 4) continue;
    fail(ErrorKind::data, {file.path().string(), "weights of a MotionNet, with '" + name + "'",
                           std::to_string(file.tensors().size()) + " other tensors", ""});
  }
  const auto& conv1 = file.entry(first).shape;
  if (conv1[1] < 6 || conv1[1] % 3 != 0) {
    fail(ErrorKind::data,
         {file.path().string() + ": " + first, "3 input channels for each of 2 or more frames",
          std::to_string(conv1[1]) + " input channels", ""});
  }
  MotionNetOptions options{.frames = conv1[1] / 3,
                           .channels = static_cast<double>(file.entry(widest).shape[0]) / 1024};
  if (const auto found = file.metadata().find("channels"); found != file.metadata().end()) {
    options.channels = std::strtod(found->second.c_str(), nullptr);
    if (!(options.channels > 0 && options.channels <= kMaxChannels)) {
      fail(ErrorKind::data, {file.path().string() + ": metadata channels", "a factor above 0, at most 4",
                             "'" + found->second + "'", ""});
    }
  }
  return options;
}

Size nearest_network_size(Size size) { return {nearest_extent(size.height), nearest_extent(size.width)}; }

FlowEstimator::FlowEstimator(const SafetensorsReader& file, Device& device,
                             const FlowEstimatorOptions& options)
    : options_{.height = options.network.height, .width = options.network.width, .net = net_of_weights(file)},
      state_(device) {
  Plan plan = plan_flow(options_, params_, options.plan);
  params_.initialise(state_, Dtype::f32, 0);
  params_.load(file, state_, {{kParams, ""}});
  session_ = std::make_unique<Session>(std::move(plan), state_);
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
