// Stored flow as clips: what motionnet-flow and others write, found, read as bytes, refused.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/files.h"
#include "data/flow_files.h"
#include "data/flow_folder.h"
#include "data/flow_jpeg.h"
#include "data/loader.h"
#include "data/source.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

constexpr Size kSize = {16, 24};

// The same everywhere, as JPEG keeps to the byte.
Flow flow_of(float u, float v, Size size = kSize) {
  Flow flow;
  flow.reshape(size);
  for (size_t k = 0; k < flow.uv.size(); k += 2) {
    flow.uv[k] = u;
    flow.uv[k + 1] = v;
  }
  return flow;
}

struct Pairs {
  int64_t flows = 3;
  double bound = 20;
  bool sidecar = true;
};
// Pair k is (k, -2 k) pixels.
void write_pairs(const fs::path& folder, const Pairs& pairs = {}) {
  fs::create_directories(folder);
  const FlowJpegInfo info{
      .mapping = {.bound = pairs.bound}, .size = kSize, .flows = pairs.flows, .source = ""};
  for (int64_t k = 1; k <= pairs.flows; ++k)
    write_flow_jpegs(folder, k, flow_of(static_cast<float>(k), static_cast<float>(-2 * k)), info);
  if (pairs.sidecar) write_file_atomically(folder / kFlowJsonFile, flow_json(info));
}

struct Opened {
  SourcePtr source;
  std::vector<std::string> warnings;
};
Opened open(SourceOptions options) {
  Opened opened;
  options.flow = true;
  options.warn = [&](const std::string& text) { opened.warnings.push_back(text); };
  opened.source = open_source(options);
  return opened;
}
std::string failure(const SourceOptions& options) {
  return message_of([&] { open(options); });
}
// x and y of the first pixel of flow k.
std::pair<int, int> bytes(const ClipSource& source, int64_t k) {
  const Clip clip = source.read({.item = 0, .first = k, .count = 1});
  REQUIRE(clip.frames[0].channels == 2);
  return {clip.frames[0].pixels[0], clip.frames[0].pixels[1]};
}
std::pair<int, int> expected(double k, double bound = 20) {
  return {flow_to_byte(k, {.bound = bound}), flow_to_byte(-2 * k, {.bound = bound})};
}

}  // namespace

TEST_CASE("pairs of JPEGs are frames of two bytes") {
  const TemporaryFolder folder;
  write_pairs(folder / "out/bow/a");
  write_pairs(folder / "out/run/b", {.flows = 5, .sidecar = false});
  std::ofstream(folder / "out/run/b/flow.mp4") << "a film of it, for people";
  const Opened opened = open({.spec = folder / "out", .labelled = true});
  const ClipSource& source = *opened.source;
  CHECK(opened.warnings.empty());
  REQUIRE(source.size() == 2);
  CHECK(source.name(0) == "bow/a");
  CHECK(source.channels() == 2);
  CHECK(source.length(0) == 3);
  CHECK(source.length(1) == 5);
  CHECK(source.label(1) == 1);
  CHECK_FALSE(source.has_truth());
  for (int64_t k = 0; k < 3; ++k) CHECK(bytes(source, k) == expected(static_cast<double>(k + 1)));
  // The last is repeated where a clip needs more.
  const Clip clip = source.read({.item = 0, .first = 1, .count = 4});
  REQUIRE(clip.frames.size() == 4);
  CHECK(clip.frames[1].pixels == clip.frames[3].pixels);
  CHECK(short_items(source, 4) == 1);
}

TEST_CASE("all that motionnet-flow writes is read, and gives the same bytes") {
  const TemporaryFolder folder;
  for (const char* kind : {"flo", "kitti"}) fs::create_directories(folder / kind);
  for (int k = 1; k <= 3; ++k) {
    const Flow flow = flow_of(static_cast<float>(k), static_cast<float>(-2 * k));
    write_flo(folder / fmt::format("flo/flow_{:05}.flo", k), flow);
    write_kitti_png(folder / fmt::format("kitti/kitti_{:05}.png", k), flow);
    // Pictures in colours beside them are not read.
    Image picture;
    picture.reshape(kSize, 3);
    write_png(folder / fmt::format("flo/flow_{:05}.png", k), picture);
  }
  for (const char* kind : {"flo", "kitti"}) {
    const Opened opened = open({.spec = folder / kind});
    CHECK(opened.source->length(0) == 3);
    for (int64_t k = 0; k < 3; ++k) CHECK(bytes(*opened.source, k) == expected(static_cast<double>(k + 1)));
    CHECK(bytes(*open({.spec = folder / kind, .flow_bound = 8}).source, 2) == expected(3, 8));
  }
  Flow unknown = flow_of(0, 0);
  unknown.uv[7] = kUnknownFlow;
  write_flo(folder / "flo/flow_00002.flo", unknown);
  const Opened opened = open({.spec = folder / "flo"});
  CHECK_THAT(message_of([&] { bytes(*opened.source, 1); }),
             Contains("flow_00002.flo] expected flow that is known"));
}

TEST_CASE("another bound than the one written is brought to it, and said") {
  const TemporaryFolder folder;
  write_pairs(folder / "a", {.bound = 40});
  const Opened opened = open({.spec = folder / "a"});
  REQUIRE(opened.warnings.size() == 1);
  CHECK_THAT(opened.warnings[0], Contains("flow.json has another bound than 20"));
  for (int64_t k = 0; k < 3; ++k) {
    const auto found = bytes(*opened.source, k), wanted = expected(static_cast<double>(k + 1));
    CHECK(std::abs(found.first - wanted.first) <= 1);
    CHECK(std::abs(found.second - wanted.second) <= 1);
  }
  CHECK(open({.spec = folder / "a", .flow_bound = 40}).warnings.empty());
}

TEST_CASE("names that others give their pairs") {
  const TemporaryFolder folder;
  write_pairs(folder / "a", {.flows = 2, .sidecar = false});
  for (int k = 1; k <= 2; ++k) {
    for (const char* c : {"x", "y"})
      fs::rename(folder / fmt::format("a/flow_{}_{:05}.jpg", c, k),
                 folder / fmt::format("a/{}_{:05}.jpg", c, k - 1));
  }
  const Opened opened = open({.spec = folder / "a"});
  CHECK(opened.source->length(0) == 2);
  CHECK(bytes(*opened.source, 1) == expected(2));
}

TEST_CASE("a list of videos finds their flow below motionnet-flow's folder") {
  const TemporaryFolder folder;
  write_pairs(folder / "out/Bow/v_Bow_g01_c01", {.flows = 3});
  write_pairs(folder / "out/v_Run_g01_c02", {.flows = 4});
  // The video beside its flow is not taken for it.
  std::ofstream(folder / "out/Bow/v_Bow_g01_c01.avi") << "RIFF";
  std::ofstream(folder / "list.txt") << "Bow/v_Bow_g01_c01.avi 1\nRun/v_Run_g01_c02.avi 2\n";
  SourceOptions options{.spec = folder / "list.txt", .data_root = folder / "out", .labelled = true};
  const Opened opened = open(options);
  REQUIRE(opened.source->size() == 2);
  CHECK(opened.source->classes() == std::vector<std::string>{"Bow", "Run"});
  CHECK(opened.source->length(0) == 3);
  CHECK(opened.source->length(1) == 4);
  CHECK(opened.source->label(1) == 1);
  // TSN's lists count frames, one more than flows, or flows.
  std::ofstream(folder / "tsn.txt") << "Bow/v_Bow_g01_c01 4 0\nv_Run_g01_c02 4 1\n";
  CHECK(open({.spec = folder / "tsn.txt", .data_root = folder / "out"}).source->size() == 2);
  std::ofstream(folder / "tsn.txt") << "Bow/v_Bow_g01_c01 5 0\nv_Run_g01_c02 4 1\n";
  CHECK_THAT(failure({.spec = folder / "tsn.txt", .data_root = folder / "out"}), Contains("3 instead of 5"));
  std::ofstream(folder / "list.txt") << "Bow/v_Bow_g01_c01.avi 1\nRun/v_Run_g01_c03.avi 2\n";
  CHECK_THAT(failure(options),
             Contains("expected its 2 folders of flow below") && Contains("1 missing: line 2"));
}

TEST_CASE("flow that is not whole is named") {
  const TemporaryFolder folder;
  const fs::path a = folder / "a";
  const auto anew = [&](const Pairs& pairs = {}) {
    fs::remove_all(a);
    write_pairs(a, pairs);
  };
  anew({.flows = 4});
  fs::remove(a / "flow_y_00002.jpg");
  CHECK_THAT(failure({.spec = a}),
             Contains("pictures of u and v (x and y) of flow 2, got flow_x_00002.jpg without that of v"));
  fs::remove(a / "flow_x_00002.jpg");
  CHECK_THAT(failure({.spec = a}), Contains("expected flow 2 after flow_x_00001.jpg, got flow_x_00003.jpg"));
  anew();
  fs::remove(a / "flow_x_00003.jpg");
  CHECK_THAT(failure({.spec = a}), Contains("flow_y_00003.jpg without that of u"));
  fs::remove(a / "flow_y_00003.jpg");
  CHECK_THAT(failure({.spec = a}), Contains("3 pairs of pictures, as flow.json says, got 2"));
  anew();
  std::ofstream(a / "flow.json") << "{}";
  CHECK_THAT(failure({.spec = a}), Contains("flow.json"));
  anew();
  fs::copy_file(a / "flow_x_00001.jpg", a / "flow_x_1.jpg");
  CHECK_THAT(failure({.spec = a}), Contains("each number once, got flow_x_00001.jpg and flow_x_1.jpg"));
  anew({.flows = 3, .sidecar = false});
  fs::resize_file(a / "flow_y_00002.jpg", 200);
  const Opened cut = open({.spec = a});
  CHECK_THAT(message_of([&] { bytes(*cut.source, 1); }), Contains("flow_y_00002.jpg"));
  // Among others a broken folder is left out.
  write_pairs(folder / "b");
  fs::remove(a / "flow_x_00001.jpg");
  const Opened rest = open({.spec = folder.path()});
  CHECK(rest.source->size() == 1);
  REQUIRE(rest.warnings.size() == 1);
  CHECK_THAT(rest.warnings[0], Contains("flow_y_00001.jpg without that of u; left out"));
}

TEST_CASE("flow of two sizes in one clip is an error") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "a");
  write_flo(folder / "a/flow_00001.flo", flow_of(1, 1));
  write_flo(folder / "a/flow_00002.flo", flow_of(1, 1, {8, 8}));
  const Opened opened = open({.spec = folder / "a"});
  CHECK_THAT(message_of([&] { opened.source->read({.item = 0, .first = 0, .count = 2}); }),
             Contains("flow_00002.flo] expected 24x16 pixels as the frames before, got 8x8"));
}

TEST_CASE("what holds no flow says so") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "a");
  std::ofstream(folder / "a/img_00001.ppm") << "P6 1 1 255\nabc";
  CHECK_THAT(failure({.spec = folder / "a"}), Contains("folders of stored flow (flow_x_00001.jpg"));
  CHECK_THAT(failure({.spec = folder / "a/img_00001.ppm"}), Contains("motionnet-flow --out"));
  CHECK_THAT(failure({.spec = "synthetic:"}), Contains("expected stored flow"));
  std::ofstream(folder / "list.txt") << "a\n";
  CHECK_THAT(failure({.spec = folder / "list.txt"}), Contains("(a folder without flow)"));
}

TEST_CASE("the loader gives flow two channels each, and mirrors it") {
  const TemporaryFolder folder;
  write_pairs(folder / "set/bow/a", {.flows = 6});
  write_pairs(folder / "set/run/b", {.flows = 6});
  const Opened opened = open({.spec = folder / "set", .labelled = true});
  LoaderOptions options{.batch = 2,
                        .frames = 3,
                        .geometry = {.network = kSize, .crop = Crop::none},
                        .want_labels = true,
                        .shuffle = false,
                        .random_start = false};
  for (const double mirrored : {0., 1.}) {
    options.geometry.mirror = mirrored;
    Loader loader(opened.source, options);
    const Batch batch = loader.next();
    CHECK(batch.labels[1] == 1);
    const int64_t values = kSize.height * kSize.width * 6;
    for (int64_t sample = 0; sample < 2; ++sample) {
      for (int64_t k = 0; k < 3; ++k) {  // centre_start(6, 3) is 2: flows 3, 4, 5
        const auto [x, y] = expected(static_cast<double>(k + 3));
        for (const int64_t pixel : {int64_t{0}, values / 6 - 1}) {
          const uint8_t* found = batch.frames + sample * values + 6 * pixel + 2 * k;
          CHECK(found[0] == (mirrored > 0 ? 255 - x : x));
          CHECK(found[1] == y);
        }
      }
    }
  }
  options.want_truth = true;
  CHECK_THAT(message_of([&] { Loader(opened.source, options); }), Contains("stored flow instead of frames"));
}
