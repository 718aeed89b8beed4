#include "apps/actions/recognizer.h"

#include <algorithm>
#include <cmath>

#include "stream_file.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

std::vector<uint8_t> clips_of(const StreamSpec& spec, int64_t count) {
  std::vector<uint8_t> clips(static_cast<size_t>(clip_spec(spec, count).shape.count()));
  uint64_t state = 7;
  for (uint8_t& byte : clips) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<uint8_t>(state >> 56);
  }
  return clips;
}

struct Opened {
  TemporaryFolder folder;
  std::unique_ptr<Device> device = make_device("cpu");
  StreamSpec spec;
  std::unique_ptr<SafetensorsReader> file;

  explicit Opened(const StreamSpec& stream) : spec(stream) {
    write_stream(folder / "model.safetensors", spec);
    file = std::make_unique<SafetensorsReader>(folder / "model.safetensors");
  }
  Recognizer recognizer(int64_t batch, bool want_flow = false) {
    return {*file, streams_of(*file).at(0), *device, {.batch = batch, .want_flow = want_flow}};
  }
  std::string refusal(const StreamSpec& as) {
    return message_of([&] { Recognizer(*file, as, *device, {}); });
  }
};

// As a share of the largest value.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0, scale = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    largest = std::max(largest, std::fabs(double{a[k]} - double{b[k]}));
    scale = std::max(scale, std::fabs(double{a[k]}));
  }
  return largest / scale;
}

}  // namespace

TEST_CASE("a recogniser gives each clip the logits that the stream's graph has with the same weights") {
  const auto kind = GENERATE(StreamKind::spatial, StreamKind::temporal, StreamKind::stacked);
  Opened opened(tiny_stream(kind));
  Recognizer recognizer = opened.recognizer(3);
  const std::vector<uint8_t> clips = clips_of(opened.spec, 3);
  CHECK(recognizer.clip_bytes() * 3 == std::ssize(clips));
  CHECK(recognizer.classes() == 3);
  const std::vector<float> logits = recognizer.run(clips.data(), 3);

  Graph g;
  ParamStore params("cpu");  // weights lie as the recogniser's
  g.output("logits", stream(g, params, g.input("clip", clip_spec(opened.spec, 3)), opened.spec).logits);
  State state(*opened.device);
  params.initialise(state, Dtype::f32, 99);
  params.load(*opened.file, state, {{kParams, ""}});
  Session session(make_plan(g, {}), state);
  session.set("clip", clips);
  session.run();
  const std::vector<double> expected = session.get("logits");
  CHECK(difference(logits, {expected.begin(), expected.end()}) == 0);
  CHECK(*std::max_element(logits.begin(), logits.end()) > .01f);
}

TEST_CASE("part of a batch, and whatever was in it before, gives the same logits") {
  Opened opened(tiny_stream(StreamKind::stacked));
  Recognizer four = opened.recognizer(4), one = opened.recognizer(1);
  const std::vector<uint8_t> clips = clips_of(opened.spec, 4);
  const std::vector<float> all = four.run(clips.data(), 4);
  const std::vector<float> part = four.run(clips.data() + 2 * four.clip_bytes(), 2);
  REQUIRE(part.size() == 6);
  CHECK(difference(part, {all.begin() + 6, all.end()}) < 1e-5);
  for (int64_t k = 0; k < 4; ++k) {
    const std::vector<float> single = one.run(clips.data() + k * one.clip_bytes(), 1);
    CHECK(difference(single, {all.begin() + 3 * k, all.begin() + 3 * k + 3}) < 1e-5);
  }
  for (const int64_t count : {0, 5, -1})
    CHECK_THAT(message_of([&] { four.run(clips.data(), count); }), Contains("1 to 4 clips"));
}

TEST_CASE("flows of a stacked stream are there when wanted, of each clip its own, and of others never") {
  Opened stacked(tiny_stream(StreamKind::stacked));
  Recognizer recognizer = stacked.recognizer(2, true);
  const std::vector<uint8_t> clips = clips_of(stacked.spec, 2);
  recognizer.run(clips.data(), 2);
  const std::vector<Flow> first = recognizer.flows(0), second = recognizer.flows(1);
  REQUIRE(first.size() == 4);
  CHECK(first[0].size() == Size{32, 32});
  CHECK(first[0].uv != second[0].uv);
  recognizer.run(clips.data() + recognizer.clip_bytes(), 1);
  CHECK(difference(recognizer.flows(0)[3].uv, second[3].uv) < 1e-4);
  CHECK(stacked.recognizer(1).flows(0).empty());
  Opened spatial(tiny_stream(StreamKind::spatial));
  CHECK(spatial.recognizer(1, true).flows(0).empty());
}

TEST_CASE("weights of other classes, another size and another net are refused by name") {
  Opened opened(tiny_stream(StreamKind::spatial));
  StreamSpec other = opened.spec;
  other.classes.push_back("jump");
  CHECK_THAT(opened.refusal(other), Contains("spatial.fc8.weight") &&
                                        Contains("4 rows, one for each class") && Contains("got 3") &&
                                        Contains("another list of classes"));
  other = opened.spec;
  other.input = {64, 64};
  CHECK_THAT(opened.refusal(other),
             Contains("spatial.fc6.weight") && Contains("64x64 pixels") && Contains("another input size"));
  other = opened.spec;
  other.channels = 1. / 8;
  CHECK_THAT(opened.refusal(other), Contains("spatial.conv1_1.weight"));
  other = tiny_stream(StreamKind::stacked);
  CHECK_THAT(opened.refusal(other), Contains("a tensor 'motionnet.conv1.weight'"));
}
