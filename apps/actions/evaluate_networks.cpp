#include "apps/actions/evaluate_networks.h"

#include "data/views.h"

namespace millrace {
namespace {

class CropNetwork final : public ViewNetwork {
 public:
  CropNetwork(const SafetensorsReader& file, const StreamSpec& spec, Device& device,
              const ViewNetworkOptions& options)
      : crops_(options.crops), recognizer_(file, spec, device, options.recognizer) {}

  const StreamSpec& spec() const override { return recognizer_.spec(); }
  int64_t frames() const override { return clip_frames(spec()); }
  int64_t bytes() const override { return recognizer_.clip_bytes(); }
  int64_t batch() const override { return recognizer_.batch(); }
  std::vector<ViewInput> inputs(Size frame) const override {
    return distinct_inputs(view_crops(crops_, frame, {.resize = spec().resize, .network = spec().input}));
  }
  void write(const std::vector<FramePtr>& clip, const ViewInput& input, std::vector<Image>& scratch,
             uint8_t* out) const override {
    write_clip(input.geometry, clip, scratch, out);
  }
  std::vector<float> run(const uint8_t* inputs, int64_t count) override {
    return recognizer_.run(inputs, count);
  }

 private:
  int64_t crops_;
  Recognizer recognizer_;
};

}  // namespace

std::shared_ptr<ViewNetwork> make_crop_network(const SafetensorsReader& file, const StreamSpec& spec,
                                               Device& device, const ViewNetworkOptions& options) {
  return std::make_shared<CropNetwork>(file, spec, device, options);
}

}  // namespace millrace
