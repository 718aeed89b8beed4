#include "apps/actions/shared_flow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/graph.h"
#include "data/views.h"
#include "layers/flow_to_input.h"
#include "layers/normalize_image.h"
#include "nets/vgg16.h"

namespace millrace {
namespace {

int64_t round_up(int64_t extent, MotionNetExtents fit) {
  return std::max(fit.smallest, (extent + fit.multiple - 1) / fit.multiple * fit.multiple);
}

// A rectangle of a picture in memory; pitch in elements.
template <class T> struct Picture {
  T* data = nullptr;
  Size size = {};
  int64_t channels = 0;
};

// `in` in the middle of `out`, its edges continued.
void pad_by_replication(const Picture<const uint8_t>& in, const Picture<uint8_t>& out) {
  const int64_t top = (out.size.height - in.size.height) / 2, left = (out.size.width - in.size.width) / 2;
  const int64_t right = out.size.width - in.size.width - left;
  const auto pixel = static_cast<size_t>(in.channels);
  for (int64_t i = 0; i < out.size.height; ++i) {
    const int64_t row = std::clamp<int64_t>(i - top, 0, in.size.height - 1);
    const uint8_t* from = in.data + row * in.size.width * in.channels;
    uint8_t* to = out.data + i * out.size.width * out.channels;
    for (int64_t j = 0; j < left; ++j, to += pixel) std::memcpy(to, from, pixel);
    const int64_t row_bytes = in.size.width * in.channels;
    std::memcpy(to, from, static_cast<size_t>(row_bytes));
    to += row_bytes;
    for (int64_t j = 0; j < right; ++j, to += pixel) std::memcpy(to, from + row_bytes - in.channels, pixel);
  }
}

void cut(const Picture<const float>& in, const Window& window, float* out) {
  const auto row = static_cast<size_t>(window.size.width * in.channels);
  for (int64_t i = 0; i < window.size.height; ++i, out += row)
    std::memcpy(out, in.data + ((window.top + i) * in.size.width + window.left) * in.channels,
                row * sizeof(float));
}

// A network with parameters of its own.
struct Part {
  State state;
  ParamStore params;
  std::unique_ptr<Session> session;

  Part(Device& device, const RecognizerOptions& options)
      : state(device), params(device.name(), options.plan.precision) {}

  void start(const SafetensorsReader& file, const Graph& g, Device& device,
             const RecognizerOptions& options) {
    Plan plan = make_plan(g, options.plan);
    require_memory(device, memory_need({&plan}, state));
    params.create(state, Dtype::f32);
    params.load(file, state, {{kParams, ""}});
    session = std::make_unique<Session>(
        std::move(plan), state,
        SessionOptions{.wait_for_nodes = options.wait_for_nodes, .capture = options.capture});
  }
};

class SharedFlowNetwork final : public ViewNetwork {
 public:
  SharedFlowNetwork(const SafetensorsReader& file, const StreamSpec& spec, Device& device,
                    const ViewNetworkOptions& options);

  const StreamSpec& spec() const override { return spec_; }
  int64_t frames() const override { return clip_frames(spec_); }
  int64_t bytes() const override { return padded_.height * padded_.width * clip_channels(); }
  int64_t batch() const override { return clips_; }
  std::vector<ViewInput> inputs(Size frame) const override;
  void write(const std::vector<FramePtr>& clip, const ViewInput& input, std::vector<Image>& scratch,
             uint8_t* out) const override;
  std::vector<float> run(const uint8_t* inputs, int64_t count) override;
  int64_t computed_views() const override { return static_cast<int64_t>(windows_.size()); }

 private:
  int64_t clip_channels() const { return frame_channels(spec_) * frames(); }
  int64_t flow_channels() const { return 2 * spec_.flows; }
  int64_t classes() const { return static_cast<int64_t>(spec_.classes.size()); }
  std::vector<float> flow_inputs(const uint8_t* inputs, int64_t count);

  StreamSpec spec_;
  Device& device_;
  int64_t crops_;
  std::vector<Window> windows_;  // of an input's crops, in the padded frame
  Size frame_, padded_;
  int64_t clips_ = 1, views_ = 1;  // of one run of MotionNet, of VGG16
  Part flow_, vgg_;
};

SharedFlowNetwork::SharedFlowNetwork(const SafetensorsReader& file, const StreamSpec& spec, Device& device,
                                     const ViewNetworkOptions& options)
    : spec_(spec),
      device_(device),
      crops_(options.crops),
      flow_(device, options.recognizer),
      vgg_(device, options.recognizer) {
  // Where the source's frames have the network's size already, they are resized all the same: the flow of all
  // videos has one size.
  frame_ = resized_size({.network = spec.input, .resize = spec.resize}, spec.resize);
  padded_ = padded_size(frame_, spec.motionnet.kind);
  const int64_t top = (padded_.height - frame_.height) / 2, left = (padded_.width - frame_.width) / 2;
  for (const ClipGeometry& crop :
       view_crops(crops_, frame_, {.resize = spec.resize, .network = spec.input})) {
    if (crop.mirror) continue;  // the same windows of the mirrored frame
    Window window = crop.window;
    window.top += top;
    window.left += left;
    windows_.push_back(window);
  }
  views_ = std::max<int64_t>(options.recognizer.batch, 1);
  clips_ = std::max<int64_t>(1, views_ / static_cast<int64_t>(windows_.size()));

  Graph of_flow;
  const Value clip =
      of_flow.input("clip", Spec{{clips_, padded_.height, padded_.width, clip_channels()}, Dtype::u8});
  const MotionNetFlows flows =
      motionnet(of_flow, flow_.params, normalize_image(of_flow, clip), spec.motionnet);
  of_flow.output("flow", flow_to_input(of_flow, flows.at(kFinestLevel),
                                       {.quantise = spec.quantise, .replicate = spec.replicate}));
  flow_.start(file, of_flow, device, options.recognizer);

  Graph of_crops;
  const Value images = of_crops.input(
      "images", Spec{{views_, spec.input.height, spec.input.width, flow_channels()}, Dtype::f32});
  of_crops.output("logits",
                  vgg16(of_crops, vgg_.params, images,
                        {.scope = scope_of(spec), .classes = classes(), .channels = spec.channels}));
  vgg_.start(file, of_crops, device, options.recognizer);
}

std::vector<ViewInput> SharedFlowNetwork::inputs(Size) const {
  const ClipGeometry whole{.resized = frame_, .window = {0, 0, frame_}, .output = frame_};
  const auto weight = static_cast<int64_t>(windows_.size());
  std::vector<ViewInput> result{{.geometry = whole, .weight = weight}};
  if (crops_ % 2 == 0) {
    result.push_back(result.front());
    result.back().geometry.mirror = true;
  }
  return result;
}

void SharedFlowNetwork::write(const std::vector<FramePtr>& clip, const ViewInput& input,
                              std::vector<Image>& scratch, uint8_t* out) const {
  std::vector<uint8_t> frame(static_cast<size_t>(frame_.height * frame_.width * clip_channels()));
  write_clip(input.geometry, clip, scratch, frame.data());
  pad_by_replication({.data = frame.data(), .size = frame_, .channels = clip_channels()},
                     {.data = out, .size = padded_, .channels = clip_channels()});
}

std::vector<float> SharedFlowNetwork::flow_inputs(const uint8_t* inputs, int64_t count) {
  std::vector<uint8_t> filled;
  if (count < clips_) {  // the rest is computed as well, and read by nobody
    filled.resize(static_cast<size_t>(clips_ * bytes()));
    std::copy_n(inputs, count * bytes(), filled.begin());
    inputs = filled.data();
  }
  flow_.session->set("clip", inputs, clips_ * bytes());
  flow_.session->run();
  const Tensor& flow = flow_.session->output("flow");
  std::vector<float> values(static_cast<size_t>(flow.count()));
  device_.download(values.data(), flow.data, flow.bytes());
  return values;
}

std::vector<float> SharedFlowNetwork::run(const uint8_t* inputs, int64_t count) {
  const std::vector<float> flow = flow_inputs(inputs, count);
  const int64_t flow_size = padded_.height * padded_.width * flow_channels(),
                crop_size = spec_.input.height * spec_.input.width * flow_channels();
  const auto crops = static_cast<int64_t>(windows_.size()), all = count * crops;
  std::vector<double> sums(static_cast<size_t>(count * classes()), 0);
  std::vector<float> images(static_cast<size_t>(views_ * crop_size));
  for (int64_t first = 0; first < all; first += views_) {
    const int64_t here = std::min(views_, all - first);
    for (int64_t k = 0; k < here; ++k) {
      const int64_t clip = (first + k) / crops, crop = (first + k) % crops;
      cut({.data = flow.data() + clip * flow_size, .size = padded_, .channels = flow_channels()},
          windows_[static_cast<size_t>(crop)], images.data() + k * crop_size);
    }
    vgg_.session->set("images", images);
    vgg_.session->run();
    const std::vector<double> logits = vgg_.session->get("logits");
    for (int64_t k = 0; k < here; ++k) {
      for (int64_t c = 0; c < classes(); ++c)
        sums[static_cast<size_t>((first + k) / crops * classes() + c)] +=
            logits[static_cast<size_t>(k * classes() + c)];
    }
  }
  std::vector<float> means;
  for (const double sum : sums) means.push_back(static_cast<float>(sum / static_cast<double>(crops)));
  return means;
}

}  // namespace

Size padded_size(Size frame, MotionNetKind kind) {
  const MotionNetExtents fit = motionnet_extents(kind);
  return {round_up(frame.height, fit), round_up(frame.width, fit)};
}

std::shared_ptr<ViewNetwork> make_shared_flow_network(const SafetensorsReader& file, const StreamSpec& spec,
                                                      Device& device, const ViewNetworkOptions& options) {
  if (spec.kind != StreamKind::stacked)
    fail(ErrorKind::usage, {"--share-flow", "a stacked stream, which has a MotionNet",
                            fmt::format("a {} one", name_of(spec.kind)), ""});
  if (spec.resize == Size{})
    fail(ErrorKind::usage, {"--share-flow", "weights whose frames are all brought to one size",
                            "weights that take frames as they are (resize 0x0)", ""});
  return std::make_shared<SharedFlowNetwork>(file, spec, device, options);
}

}  // namespace millrace
