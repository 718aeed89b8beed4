// MotionNet once a clip and mirroring: what it computes, and how far that is from a run on each crop.
#include <algorithm>
#include <cmath>
#include <iostream>

#include "apps/actions/shared_flow.h"
#include "data/views.h"
#include "layers/flow_to_input.h"
#include "layers/normalize_image.h"
#include "nets/vgg16.h"
#include "stream_file.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

struct Opened {
  TemporaryFolder folder;
  std::unique_ptr<Device> device = make_device("cpu");
  StreamSpec spec;
  std::unique_ptr<SafetensorsReader> file;

  explicit Opened(const StreamSpec& stream) : spec(stream) {
    write_stream(folder / "model.safetensors", spec);
    file = std::make_unique<SafetensorsReader>(folder / "model.safetensors");
  }
  std::shared_ptr<ViewNetwork> crops(int64_t crops, int64_t batch) {
    return make_crop_network(*file, spec, *device, {.crops = crops, .recognizer = {.batch = batch}});
  }
  std::shared_ptr<ViewNetwork> shared(int64_t crops, int64_t batch) {
    return make_shared_flow_network(*file, spec, *device, {.crops = crops, .recognizer = {.batch = batch}});
  }
};

// Waves that move by about a pixel a frame.
std::vector<FramePtr> clip_of(Size size, int64_t frames) {
  std::vector<FramePtr> clip;
  for (int64_t k = 0; k < frames; ++k) {
    Image image;
    image.reshape(size, 3);
    for (int64_t i = 0; i < size.height; ++i) {
      for (int64_t j = 0; j < size.width; ++j) {
        for (int c = 0; c < 3; ++c) {
          const double x = static_cast<double>(j) - 1.3 * static_cast<double>(k), y = static_cast<double>(i);
          image.at(i, j)[c] = static_cast<uint8_t>(128 + 50 * std::sin(.3 * x + c) + 50 * std::sin(.21 * y));
        }
      }
    }
    clip.push_back(std::make_shared<const Image>(std::move(image)));
  }
  return clip;
}

// The mean over all views of one clip.
std::vector<double> mean_logits(ViewNetwork& network, const std::vector<FramePtr>& clip) {
  const std::vector<ViewInput> inputs = network.inputs(clip.front()->size());
  std::vector<Image> scratch;
  std::vector<uint8_t> bytes(static_cast<size_t>(network.bytes()));
  std::vector<double> mean(network.spec().classes.size(), 0);
  double weights = 0;
  for (const ViewInput& input : inputs) weights += static_cast<double>(input.weight);
  for (const ViewInput& input : inputs) {
    network.write(clip, input, scratch, bytes.data());
    const std::vector<float> logits = network.run(bytes.data(), 1);
    for (size_t k = 0; k < mean.size(); ++k)
      mean[k] += static_cast<double>(input.weight) * double{logits[k]} / weights;
  }
  return mean;
}

// As a share of the largest value.
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0, scale = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    largest = std::max(largest, std::fabs(a[k] - b[k]));
    scale = std::max(scale, std::fabs(a[k]));
  }
  return largest / scale;
}

// What one network computes: a session on its own State.
struct Net {
  State state;
  ParamStore params{"cpu"};
  std::unique_ptr<Session> session;
  explicit Net(Device& device) : state(device) {}
  void start(const Graph& g, const SafetensorsReader& file) {
    params.initialise(state, Dtype::f32, 5);
    params.load(file, state, {{kParams, ""}});
    session = std::make_unique<Session>(make_plan(g, {}), state);
  }
};

// The same written once more, frame by frame and crop by crop: `padded` is the frames' size after padding.
std::vector<double> expected_logits(Opened& opened, const std::vector<FramePtr>& clip, Size padded) {
  const StreamSpec& spec = opened.spec;
  const Size frame = clip.front()->size();
  const int64_t T = clip_frames(spec), C = 2 * spec.flows, top = (padded.height - frame.height) / 2,
                left = (padded.width - frame.width) / 2;
  Graph of_flow, of_crop;
  Net flow(*opened.device), vgg(*opened.device);
  const Value x = of_flow.input("clip", Spec{{1, padded.height, padded.width, 3 * T}, Dtype::u8});
  const auto flows = motionnet(of_flow, flow.params, normalize_image(of_flow, x), spec.motionnet);
  of_flow.output("flow", flow_to_input(of_flow, flows.at(kFinestLevel), {}));
  flow.start(of_flow, *opened.file);
  const Value images = of_crop.input("images", Spec{{1, spec.input.height, spec.input.width, C}, Dtype::f32});
  of_crop.output(
      "logits", vgg16(of_crop, vgg.params, images,
                      {.scope = "temporal", .classes = std::ssize(spec.classes), .channels = spec.channels}));
  vgg.start(of_crop, *opened.file);
  std::vector<double> mean(spec.classes.size(), 0);
  const Size free{frame.height - spec.input.height, frame.width - spec.input.width};
  for (const bool mirrored : {false, true}) {
    std::vector<uint8_t> bytes;
    for (int64_t i = 0; i < padded.height; ++i) {
      for (int64_t j = 0; j < padded.width; ++j) {
        const int64_t row = std::clamp<int64_t>(i - top, 0, frame.height - 1),
                      column = std::clamp<int64_t>(j - left, 0, frame.width - 1);
        for (const FramePtr& image : clip) {
          const uint8_t* pixel = image->at(row, mirrored ? frame.width - 1 - column : column);
          bytes.insert(bytes.end(), pixel, pixel + 3);
        }
      }
    }
    flow.session->set("clip", bytes);
    flow.session->run();
    const std::vector<double> values = flow.session->get("flow");
    const std::pair<int64_t, int64_t> corners[] = {{0, 0},
                                                   {0, free.width},
                                                   {free.height / 2, free.width / 2},
                                                   {free.height, 0},
                                                   {free.height, free.width}};
    for (const auto& [above, before] : corners) {
      std::vector<float> crop;
      for (int64_t i = 0; i < spec.input.height; ++i) {
        for (int64_t j = 0; j < spec.input.width * C; ++j)
          crop.push_back(static_cast<float>(
              values[static_cast<size_t>(((top + above + i) * padded.width + left + before) * C + j)]));
      }
      vgg.session->set("images", crop);
      vgg.session->run();
      const std::vector<double> logits = vgg.session->get("logits");
      for (size_t k = 0; k < mean.size(); ++k) mean[k] += logits[k] / 10;
    }
  }
  return mean;
}

}  // namespace

TEST_CASE("shared flow of a frame that is the crop is the flow of the crop") {
  StreamSpec spec = tiny_stream(StreamKind::stacked);
  spec.resize = spec.input;
  Opened opened(spec);
  const std::vector<FramePtr> clip = clip_of(spec.input, clip_frames(spec));
  for (const int64_t crops : {1, 2, 10}) {
    const auto each = opened.crops(crops, 3), once = opened.shared(crops, 3);
    CHECK(difference(mean_logits(*each, clip), mean_logits(*once, clip)) < 1e-5);
  }
}

TEST_CASE("shared flow is that of the padded frame, cut where the crops are, also mirrored") {
  const StreamSpec spec = tiny_stream(StreamKind::stacked);  // 64x64 of 72x96
  Opened opened(spec);
  const std::vector<FramePtr> clip = clip_of(spec.resize, clip_frames(spec));
  const std::vector<double> expected = expected_logits(opened, clip, {96, 96});
  for (const int64_t batch : {1, 5, 10, 12}) {
    const auto network = opened.shared(10, batch);
    CHECK(network->inputs(spec.resize).size() == 2);
    CHECK(network->computed_views() == 5);
    CHECK(difference(expected, mean_logits(*network, clip)) < 1e-5);
  }
}

TEST_CASE("shared flow is near that of the crops: nearer with borders that are continued") {
  double differences[2] = {};
  for (const bool replicate : {false, true}) {
    StreamSpec spec = tiny_stream(StreamKind::stacked);
    spec.replicate = replicate;
    Opened opened(spec);
    const std::vector<FramePtr> clip = clip_of(spec.resize, clip_frames(spec));
    const auto each = opened.crops(10, 5), once = opened.shared(10, 5);
    differences[replicate] = difference(mean_logits(*each, clip), mean_logits(*once, clip));
    std::cout << (replicate ? "borders continued" : "borders as the paper's") << ": logits differ by "
              << 100 * differences[replicate] << " % of the largest\n";
  }
  CHECK(differences[0] > 0);
  CHECK(differences[0] < .5);
  CHECK(differences[1] < differences[0]);
}

TEST_CASE("the size that frames are continued to") {
  CHECK(padded_size({256, 340}, MotionNetKind::full) == Size{256, 352});
  CHECK(padded_size({256, 340}, MotionNetKind::tiny) == Size{256, 344});
  CHECK(padded_size({20, 65}, MotionNetKind::full) == Size{64, 96});
}

TEST_CASE("flow is not shared where there is none, or frames differ in size") {
  Opened spatial(tiny_stream(StreamKind::spatial));
  CHECK_THAT(message_of([&] { spatial.shared(10, 1); }), Contains("--share-flow") && Contains("spatial"));
  StreamSpec as_they_are = tiny_stream(StreamKind::stacked);
  as_they_are.resize = {};
  Opened stacked(as_they_are);
  CHECK_THAT(message_of([&] { stacked.shared(10, 1); }), Contains("resize 0x0"));
}
