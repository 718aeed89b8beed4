// What streams are: their graphs, and what their files say of them.
#include "apps/actions/stream.h"
#include "layers/flow_to_input.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using namespace millrace::test;

namespace {

StreamSpec narrow(StreamKind kind) {
  return {.kind = kind,
          .classes = {"Archery", "a \"quoted\", name", "Höhe"},
          .input = {64, 96},
          .resize = {128, 170},
          .channels = 1. / 64,
          .flows = 2,
          .mean = {1, 2.5, 3},
          .flow_bound = 15.5,
          .quantise = true,
          .replicate = true,
          .motionnet = {.frames = 3, .channels = .05, .kind = MotionNetKind::tiny, .smooth_conv = false},
          .provenance = "made up\nfor a test"};
}

void write_metadata(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata) {
  write_safetensors(path, {.tensors = {}, .metadata = metadata}, {});
}

std::map<std::string, std::string> with(const StreamSpec& spec, const std::string& from,
                                        const std::string& to) {
  std::map<std::string, std::string> metadata = stream_metadata(spec);
  std::string& text = metadata.at("stream." + scope_of(spec));
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
  return metadata;
}

}  // namespace

TEST_CASE("clips are frames of three channels, or flows of two") {
  const StreamSpec spatial = narrow(StreamKind::spatial), temporal = narrow(StreamKind::temporal),
                   stacked = narrow(StreamKind::stacked);
  CHECK(clip_spec(spatial, 5) == Spec{{5, 64, 96, 3}, Dtype::u8});
  CHECK(clip_spec(temporal, 5) == Spec{{5, 64, 96, 4}, Dtype::u8});
  CHECK(clip_spec(stacked, 5) == Spec{{5, 64, 96, 9}, Dtype::u8});
  CHECK(scope_of(spatial) == "spatial");
  CHECK(scope_of(temporal) == "temporal");
  CHECK(scope_of(stacked) == "temporal");
}

TEST_CASE("a stream's graph goes from its clip to logits, with the parameters of its scopes") {
  const auto kind = GENERATE(StreamKind::spatial, StreamKind::temporal, StreamKind::stacked);
  const StreamSpec spec = narrow(kind);
  Graph g;
  ParamStore params;
  const StreamValues values = stream(g, params, g.input("clip", clip_spec(spec, 2)), spec);
  CHECK(g.shape(values.logits) == Shape{2, 3});
  CHECK(g.shape(values.images) == clip_spec(spec, 2).shape);
  CHECK(values.flows.has_value() == (kind == StreamKind::stacked));
  for (const FlatSlice& slice : params.layout().slices) {
    INFO(slice.name);
    const bool of_stream = slice.name.rfind(scope_of(spec) + ".", 0) == 0;
    CHECK((of_stream || (kind == StreamKind::stacked && slice.name.rfind("motionnet.", 0) == 0)));
  }
  for (const Node& node : g.nodes()) {
    if (const auto* op = dynamic_cast<const FlowToInput*>(node.op.get()))
      CHECK((op->attrs.quantise && op->attrs.replicate));
  }
}

TEST_CASE("a spec survives the metadata of a file, and a joined file has both, spatial first") {
  const TemporaryFolder folder;
  const auto kind = GENERATE(StreamKind::temporal, StreamKind::stacked);
  const StreamSpec spatial = narrow(StreamKind::spatial), temporal = narrow(kind);
  std::map<std::string, std::string> both = stream_metadata(temporal);
  both.merge(stream_metadata(spatial));
  write_metadata(folder / "both", both);
  const std::vector<StreamSpec> specs = streams_of(SafetensorsReader(folder / "both"));
  REQUIRE(specs.size() == 2);
  CHECK(specs[0].kind == StreamKind::spatial);
  CHECK(specs[0].mean == spatial.mean);
  CHECK(specs[1].kind == kind);
  for (const StreamSpec& s : specs) {
    CHECK(s.classes == spatial.classes);
    CHECK(s.input == spatial.input);
    CHECK(s.resize == spatial.resize);
    CHECK(s.channels == spatial.channels);
    CHECK(s.provenance == spatial.provenance);
  }
  CHECK(specs[1].flows == 2);
  if (kind == StreamKind::temporal) {
    CHECK(specs[1].flow_bound == 15.5);
    return;
  }
  CHECK((specs[1].quantise && specs[1].replicate));
  const MotionNetOptions& net = specs[1].motionnet;
  CHECK(net.frames == 3);
  CHECK(net.channels == .05);
  CHECK(net.kind == MotionNetKind::tiny);
  CHECK(net.small_displacement);
  CHECK_FALSE(net.smooth_conv);
}

TEST_CASE("metadata that is of no stream is refused by file, field and value") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::map<std::string, std::string>& metadata) {
    write_metadata(folder / "file", metadata);
    return message_of([&] { streams_of(SafetensorsReader(folder / "file")); });
  };
  CHECK_THAT(refused({}), Catch::Contains("stream.spatial") && Catch::Contains("millrace-data import"));
  CHECK_THAT(refused({{"stream.spatial", "[1"}}), Catch::Contains("a JSON object"));
  CHECK_THAT(refused({{"stream.spatial", "{}"}}), Catch::Contains("kind") && Catch::Contains("nothing"));

  const StreamSpec stacked = narrow(StreamKind::stacked), spatial = narrow(StreamKind::spatial);
  struct Change {
    const char *from, *to, *expected;
  };
  for (const Change& c :
       std::initializer_list<Change>{{"\"stacked\"", "\"spatial\"", "mean"},
                                     {"\"stacked\"", "\"optical\"", "spatial, temporal or stacked"},
                                     {"[64,96]", "[64,97]", "multiples of 32"},
                                     {"[64,96]", "[64,-96]", "multiples of 32"},
                                     {"[64,96]", "[64,9e300]", "height and width"},
                                     {"[64,96]", "[64]", "height and width"},
                                     {"[64,96]", "[32768,32]", "at most 8192"},
                                     {"[128,170]", "[0,170]", "resize"},
                                     {"\"flows\":2", "\"flows\":0", "1 to 256"},
                                     {"\"flows\":2", "\"flows\":9223372036854775807", "flows"},
                                     {"\"flows\":2", "\"flows\":2.5", "an integer"},
                                     {"\"quantise\":true", "\"quantise\":1", "true or false"},
                                     {"\"tiny-motionnet\"", "\"huge\"", "motionnet or tiny-motionnet"},
                                     {"\"Archery\"", "\"\"", "a name for each label"},
                                     {"\"Archery\"", "\"Höhe\"", "more than once"},
                                     {"\"Archery\"", "7", "a list of texts"}}) {
    INFO(c.to);
    const std::string message = refused(with(stacked, c.from, c.to));
    CHECK_THAT(message, Catch::Contains(c.expected) && Catch::Contains((folder / "file").string()));
  }
  CHECK_THAT(refused(with(spatial, "[1.0,2.5,3.0]", "[1,2]")), Catch::Contains("three numbers"));
  CHECK_THAT(refused(with(spatial, "[1.0,2.5,3.0]", "[1,2,256]")), Catch::Contains("0 to 255"));
  CHECK_THAT(refused({{"stream.spatial", stream_metadata(stacked).at("stream.temporal")}}),
             Catch::Contains("a spatial stream") && Catch::Contains("stacked"));
}

TEST_CASE("a spec that makes no network is refused before a graph or a file is made of it") {
  StreamSpec spec = narrow(StreamKind::stacked);
  spec.motionnet.frames = 11;
  CHECK_THROWS_WITH(stream_metadata(spec),
                    Catch::Contains("motionnet.frames") && Catch::Contains("one more"));
  spec = narrow(StreamKind::stacked);
  spec.motionnet.kind = MotionNetKind::full;
  spec.input = {32, 64};
  CHECK_THROWS_WITH(stream_metadata(spec), Catch::Contains("at least 64"));
  spec = narrow(StreamKind::spatial);
  spec.classes = {"\xff"};
  CHECK_THROWS_WITH(stream_metadata(spec), Catch::Contains("UTF-8"));
  spec.classes.clear();
  Graph g;
  ParamStore params;
  const Value clip = g.input("clip", clip_spec(spec, 1));
  CHECK_THROWS_WITH(stream(g, params, clip, spec), Catch::Contains("at least one class"));
}
