// millrace-data import: other programs' weights, whatever they call them, and what is refused.
#include <stdlib.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "apps/actions/recognizer.h"
#include "apps/motionnet/net_file.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/stream_file.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

struct Weights {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

std::vector<Weights> weights_of(const fs::path& path) {
  const SafetensorsReader file(path);
  std::vector<Weights> all;
  for (const TensorEntry& entry : file.tensors()) {
    all.push_back({entry.name, entry.shape, std::vector<float>(static_cast<size_t>(entry.count()))});
    file.read(entry.name, std::span(all.back().values));
  }
  return all;
}

// A stream's weights without the first part of their names.
std::vector<Weights> stream_weights(const TemporaryFolder& folder, const StreamSpec& spec) {
  write_stream(folder / "stream.safetensors", spec);
  return weights_of(folder / "stream.safetensors");
}

std::string layer_of(const Weights& w) {
  const size_t first = w.name.find('.');
  return w.name.substr(first + 1, w.name.rfind('.') - first - 1);
}

void append_number(std::string* out, uint64_t value) {
  for (; value > 127; value >>= 7) *out += static_cast<char>(value | 128);
  *out += static_cast<char>(value);
}

void append_field(std::string* out, uint64_t number, const std::string& payload) {
  append_number(out, number << 3 | 2);
  append_number(out, payload.size());
  *out += payload;
}

// As Caffe snapshots them: a layer a message, weights first.
using Rename = std::function<std::string(const Weights&)>;
void write_caffe(const fs::path& path, const std::vector<Weights>& all, const Rename& rename) {
  std::map<std::string, std::string> blobs;  // by layer
  for (const char* what : {".weight", ".bias"}) {
    for (const Weights& w : all) {
      if (!w.name.ends_with(what)) continue;
      std::string shape, blob, data(w.values.size() * sizeof(float), char{0});
      for (const int64_t extent : w.shape) append_number(&shape, static_cast<uint64_t>(extent));
      std::memcpy(data.data(), w.values.data(), data.size());
      append_field(&blob, 7, [&] {
        std::string dims;
        append_field(&dims, 1, shape);
        return dims;
      }());
      append_field(&blob, 5, data);
      append_field(&blobs[rename(w)], 7, blob);
    }
  }
  std::string net;
  append_field(&net, 1, "net");
  for (const auto& [name, payload] : blobs) {
    const char* type = name.starts_with("fc") ? "InnerProduct" : "Convolution";
    std::string layer;
    append_field(&layer, 1, name);
    append_field(&layer, 2, type);
    append_field(&net, 100, layer + payload);
  }
  write_file_atomically(path, net);
}

void write_named(const fs::path& path, const std::vector<Weights>& all) {
  SafetensorsContent content;
  for (const Weights& w : all) content.tensors.push_back({.name = w.name, .dtype = "F32", .shape = w.shape});
  write_safetensors(
      path, content, [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
        const auto w =
            std::find_if(all.begin(), all.end(), [&](const Weights& x) { return x.name == entry.name; });
        std::memcpy(chunk.data(), reinterpret_cast<const char*>(w->values.data()) + offset, chunk.size());
      });
}

Result import(const fs::path& file, const fs::path& out, const std::vector<std::string>& more = {}) {
  return Process("millrace-data", join({"import", file.string(), "--out", out.string()}, more)).wait();
}

json require_import(const fs::path& file, const fs::path& out, std::vector<std::string> more = {}) {
  more.push_back("--json");
  const Result result = import(file, out, more);
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

void require_same(const std::vector<Weights>& a, const std::vector<Weights>& b) {
  REQUIRE(a.size() == b.size());
  for (const Weights& w : a) {
    INFO(w.name);
    const auto other = std::find_if(b.begin(), b.end(), [&](const Weights& x) { return x.name == w.name; });
    REQUIRE(other != b.end());
    CHECK(other->shape == w.shape);
    CHECK((other->values == w.values));
  }
}

const Weights& find(const std::vector<Weights>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Weights& w) { return w.name == name; });
  REQUIRE(found != all.end());
  return *found;
}

// The image that tests/golden/weights.py makes.
std::vector<uint8_t> golden_image() {
  std::vector<uint8_t> image;
  for (int row = 0; row < 32; ++row)
    for (int column = 0; column < 64; ++column)
      for (int channel = 0; channel < 3; ++channel)
        image.push_back(
            static_cast<uint8_t>((row * 7 + column * 3 + channel * 50 + row * column % 31) % 256));
  return image;
}

fs::path golden_file() { return fs::path(MILLRACE_GOLDEN) / "torchvision.pth"; }

}  // namespace

TEST_CASE("a VGG16 of torchvision, its normalisation folded in, gives PyTorch's logits on raw frames") {
  const TemporaryFolder folder;
  const fs::path out = folder / "spatial.safetensors";
  const json report = require_import(golden_file(), out, {"--input", "32x64"});
  CHECK(report["as"] == "vgg16-spatial");
  CHECK(report["normalisation"] == "torchvision");
  CHECK(report["format"] == "pytorch");
  CHECK(report["partial"] == false);
  CHECK(report["matched"].size() == 32);
  CHECK(report["matched"][0]["from"] == "features.0.weight");
  CHECK(report["matched"][0]["dtype"] == "F16");
  const SafetensorsReader file(out);
  const std::vector<StreamSpec> specs = streams_of(file);
  REQUIRE(specs.size() == 1);
  CHECK(specs[0].classes == std::vector<std::string>{"0", "1", "2", "3", "4"});
  CHECK(specs[0].channels == 1. / 32);
  CHECK(specs[0].mean[0] == Approx(255 * .406));
  CHECK_THAT(specs[0].provenance, Contains("torchvision.pth"));
  const auto device = make_device("cpu");
  const std::vector<float> logits = Recognizer(file, specs[0], *device, {}).run(golden_image().data(), 1);
  // Printed by tests/golden/weights.py: PyTorch, in double precision, on normalised R, G, B.
  const std::vector<double> expected{-0.1365808, -0.2074360, -0.0055345, -0.0630122, 0.4617156};
  REQUIRE(logits.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) CHECK(logits[i] == Approx(expected[i]).margin(2e-6));
}

TEST_CASE("a VGG16 of Caffe keeps every number, whatever its last layer is called") {
  const TemporaryFolder folder;
  const std::vector<Weights> weights = stream_weights(folder, tiny_stream(StreamKind::spatial));
  const auto rename = [](const Weights& w) { return layer_of(w) == "fc8" ? "fc8-1" : layer_of(w); };
  write_caffe(folder / "net.caffemodel", weights, rename);
  write_file_atomically(folder / "classes.txt", "1 Fall\n2 Run\n3 Wave\n");
  const fs::path out = folder / "out.safetensors";
  const Result result = import(folder / "net.caffemodel", out,
                               {"--classes", (folder / "classes.txt").string(), "--input", "32x64"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.out, Contains("fc8-1.weight") && Contains("spatial.fc8.weight") &&
                             Contains("32 of 32 parameters as vgg16-spatial") &&
                             Contains("3 classes, named by"));
  require_same(weights_of(out), weights);
  const StreamSpec spec = streams_of(SafetensorsReader(out)).at(0);
  CHECK(spec.classes == std::vector<std::string>{"Fall", "Run", "Wave"});
  CHECK(spec.mean == std::array<double, 3>{104, 117, 123});
  CHECK((spec.input == Size{32, 64}));
}

TEST_CASE("the authors' merged file is a stacked stream: plain names are MotionNet's") {
  const TemporaryFolder folder;
  StreamSpec stacked = tiny_stream(StreamKind::stacked);
  const std::vector<Weights> weights = stream_weights(folder, stacked);
  write_caffe(folder / "merged.caffemodel", weights, [](const Weights& w) {
    return w.name.starts_with("temporal.") ? layer_of(w) + "_vgg16" : layer_of(w);
  });
  const fs::path out = folder / "out.safetensors";
  const json report = require_import(folder / "merged.caffemodel", out);
  CHECK(report["as"] == "hidden");
  CHECK(report["unmatched"].empty());
  require_same(weights_of(out), weights);
  const SafetensorsReader file(out);
  const StreamSpec spec = streams_of(file).at(0);
  CHECK(spec.kind == StreamKind::stacked);
  CHECK(spec.flows == 4);
  CHECK((spec.input == Size{64, 64}));
  CHECK(net_of_weights(file).frames == 5);
  const auto device = make_device("cpu");
  Recognizer(file, spec, *device, {});  // takes all that it needs from the file
}

TEST_CASE("MotionNet alone, and a temporal VGG16, are told apart by their names") {
  const TemporaryFolder folder;
  const std::vector<Weights> weights = stream_weights(folder, tiny_stream(StreamKind::stacked));
  std::vector<Weights> motionnet, temporal;
  for (const Weights& w : weights) (w.name.starts_with("motionnet.") ? motionnet : temporal).push_back(w);
  write_caffe(folder / "motionnet.caffemodel", motionnet, layer_of);
  write_caffe(folder / "temporal.caffemodel", temporal, layer_of);
  const fs::path out = folder / "out.safetensors";
  CHECK(require_import(folder / "motionnet.caffemodel", out)["as"] == "motionnet");
  require_same(weights_of(out), motionnet);
  CHECK(flags_of(net_of_weights(SafetensorsReader(out))) == "--net motionnet");
  CHECK(require_import(folder / "temporal.caffemodel", out)["as"] == "vgg16-temporal");
  require_same(weights_of(out), temporal);
  CHECK(streams_of(SafetensorsReader(out)).at(0).flows == 4);
}

TEST_CASE("flow weights of two-stream-pytorch have its normalisation folded in, bias and all") {
  const TemporaryFolder folder;
  const std::vector<Weights> weights = stream_weights(folder, tiny_stream(StreamKind::temporal));
  write_caffe(folder / "net.caffemodel", weights, layer_of);
  const fs::path out = folder / "out.safetensors";
  require_import(folder / "net.caffemodel", out, {"--normalisation", "torchvision", "--input", "32x64"});
  const std::vector<Weights> got = weights_of(out);
  const auto &theirs = find(weights, "temporal.conv1_1.weight").values,
             &ours = find(got, "temporal.conv1_1.weight").values;
  const auto &bias = find(weights, "temporal.conv1_1.bias").values,
             &our_bias = find(got, "temporal.conv1_1.bias").values;
  const size_t each = theirs.size() / bias.size();
  for (size_t o = 0; o < bias.size(); ++o) {
    // The same for flow bytes of 200 all over: (200 / 255 - .5) / .226 there, 200 - 128 here.
    double there = bias[o], here = our_bias[o];
    for (size_t i = 0; i < each; ++i) {
      there += theirs[o * each + i] * (200. / 255 - .5) / .226;
      here += ours[o * each + i] * (200. - 128);
    }
    CHECK(here == Approx(there).margin(1e-5));
  }
}

TEST_CASE("PyTorch's wrappers are looked through, and other things in a checkpoint left out") {
  const TemporaryFolder folder;
  std::vector<Weights> weights = stream_weights(folder, tiny_stream(StreamKind::spatial));
  const std::vector<Weights> plain = weights;
  for (Weights& w : weights)
    w.name = "state_dict.module.base_model." + layer_of(w) + w.name.substr(w.name.rfind('.'));
  weights.push_back({"optimizer.state.0.momentum_buffer", {2}, {1, 2}});
  weights.push_back({"teacher.conv1_1.weight", {2}, {1, 2}});
  write_named(folder / "in.safetensors", weights);
  const json report = require_import(folder / "in.safetensors", folder / "out", {"--input", "32x64"});
  CHECK(report["unmatched"].size() == 2);
  require_same(weights_of(folder / "out"), plain);
}

TEST_CASE("a file with a part of the layers gives a partial checkpoint, and says which") {
  const TemporaryFolder folder;
  std::vector<Weights> weights = stream_weights(folder, tiny_stream(StreamKind::spatial));
  std::erase_if(weights, [](const Weights& w) { return layer_of(w).starts_with("fc"); });
  write_caffe(folder / "in.caffemodel", weights, layer_of);
  const Result result = import(folder / "in.caffemodel", folder / "out");
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.out, Contains("not in the file") && Contains("spatial.fc6.weight  [256,1568]") &&
                             Contains("PARTIAL") && Contains("no classes"));
  require_same(weights_of(folder / "out"), weights);
}

TEST_CASE("weights that fit no network are refused with the reason, and leave the old file") {
  const TemporaryFolder folder;
  const std::vector<Weights> weights = stream_weights(folder, tiny_stream(StreamKind::spatial));
  write_caffe(folder / "good.caffemodel", weights, layer_of);
  write_file_atomically(folder / "out", "old");
  write_file_atomically(folder / "two.txt", "fall\nrun\n");
  const auto refused = [&](const std::string& file, const std::vector<std::string>& more,
                           const std::vector<std::string>& parts, int code = 3) {
    require_failure(import(folder / file, folder / "out", more), {.code = code, .parts = parts});
    CHECK(bytes_of(folder / "out") == "old");
  };
  refused("good.caffemodel", {}, {"fc6.weight", "square", "--input"});
  refused("good.caffemodel", {"--input", "64x64"}, {"fc6.weight", "belongs to one size of image", "64x64"});
  refused("good.caffemodel", {"--input", "32x64", "--classes", (folder / "two.txt").string()},
          {"2 classes", "two.txt", "weights of 3 classes"});
  refused("good.caffemodel", {"--input", "32x64", "--as", "vgg16-temporal"},
          {"conv1_1.weight", "3 input channels"});
  refused("good.caffemodel", {"--as", "motionnet"}, {"conv1 of MotionNet", "none"});

  std::vector<Weights> bad = weights;
  for (Weights& w : bad)
    if (w.name == "spatial.conv3_2.weight") w.values[7] = std::numeric_limits<float>::quiet_NaN();
  write_caffe(folder / "nan.caffemodel", bad, layer_of);
  refused("nan.caffemodel", {"--input", "32x64"}, {"conv3_2.weight", "finite", "nan at element 7"});
  bad = weights;
  for (Weights& w : bad) {
    if (w.name != "spatial.conv3_2.weight") continue;
    std::swap(w.shape[0], w.shape[2]);
    std::swap(w.shape[1], w.shape[3]);
  }
  write_caffe(folder / "axes.caffemodel", bad, layer_of);
  refused("axes.caffemodel", {"--input", "32x64"}, {"conv3_2.weight", "[16,16,3,3]", "[3,3,16,16]"});
  bad = weights;
  bad.push_back({"model.fc8.bias", {3}, {1, 2, 3}});
  write_named(folder / "twice.safetensors", bad);
  refused("twice.safetensors", {"--input", "32x64"},
          {"'model.fc8.bias'", "'spatial.fc8.bias'", "for the same"});
  write_named(folder / "bn.safetensors", {{"features.0.weight", {2, 3, 3, 3}, std::vector<float>(54)},
                                          {"features.1.running_mean", {2}, {0, 0}}});
  refused("bn.safetensors", {}, {"running_mean", "batch normalisation"});
  write_named(folder / "other.safetensors", {{"layer1.0.conv1.weight", {1}, {0}}});
  refused("other.safetensors", {}, {"tensors of VGG16 or MotionNet", "1 tensors of other names"});
}

TEST_CASE("files that are broken or hostile, and options that cannot be meant, stop an import in one line") {
  const TemporaryFolder folder;
  const auto refused = [&](const fs::path& file, const fs::path& out, const std::vector<std::string>& more,
                           const Expected& expected) { require_failure(import(file, out, more), expected); };
  const fs::path corpus = fs::path(MILLRACE_GOLDEN).parent_path() / "fuzz/corpus", out = folder / "out";
  refused(corpus / "torch/runs-a-command", out, {}, {3, {"wants to run 'os.system'"}});
  refused(corpus / "caffemodel/layer-of-2-64", out, {}, {3, {"18446744073709551615 bytes"}});
  refused(folder / "none.pth", out, {}, {3, {"none.pth"}});
  refused(golden_file(), out, {"--as", "vgg19"}, {2, {"--as", "vgg16-temporal", "'vgg19'"}});
  refused(golden_file(), out, {"--normalisation", "inception"}, {2, {"--normalisation", "torchvision"}});
  refused(golden_file(), out, {"--input", "33x64"}, {2, {"input", "multiples of 32"}});
  refused(golden_file(), folder.path(), {}, {2, {"--out", "a folder"}});
  fs::copy_file(golden_file(), folder / "same.pth");
  refused(folder / "same.pth", folder / "same.pth", {"--input", "32x64"}, {2, {"--out", "another file"}});
  CHECK_FALSE(fs::exists(out));
}

TEST_CASE("a disk that fails, at any change of it, leaves the old file and nothing half written") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "out", "old");
  int changes = 0;
  for (;; ++changes) {
    ::setenv("MILLRACE_FAIL_WRITE", std::to_string(changes + 1).c_str(), 1);
    const Result result = import(golden_file(), folder / "out", {"--input", "32x64"});
    ::unsetenv("MILLRACE_FAIL_WRITE");
    if (result.code == 0) break;
    INFO("change " << changes + 1 << ": " << result.err);
    CHECK(result.code == 1);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"out"});
    if (bytes_of(folder / "out") != "old") break;  // only the folder's sync came after the new name
  }
  CHECK(changes >= 3);  // opened, written, synced, renamed
  CHECK(SafetensorsReader(folder / "out").tensors().size() == 32);
}

TEST_CASE("inspect shows every tensor of a .pth and of a .caffemodel with its shape") {
  const fs::path corpus = fs::path(MILLRACE_GOLDEN).parent_path() / "fuzz/corpus";
  const auto inspect = [](const fs::path& file, const std::vector<std::string>& more) {
    return Process("millrace-data", join({"inspect", file.string()}, more)).wait();
  };
  const TemporaryFolder folder;
  fs::copy_file(corpus / "caffemodel/layers-of-2014", folder / "net.caffemodel");
  const json caffe = parse_only_line(inspect(folder / "net.caffemodel", {"--json"}).out);
  CHECK(caffe["kind"] == "caffemodel");
  CHECK(caffe["tensors"][0]["name"] == "conv1.weight");
  CHECK(caffe["tensors"][0]["shape"] == json{2, 3, 1, 2});
  const json torch = parse_only_line(inspect(corpus / "torch/stream-nested", {"--json", "--stats"}).out);
  CHECK(torch["kind"] == "pytorch-stream");
  CHECK(torch["tensors"][0]["name"] == "state_dict.module.half");
  CHECK(torch["tensors"][0]["max"] == 1.25);
  CHECK_THAT(inspect(golden_file(), {}).out,
             Contains("classifier.6.weight") && Contains("[5, 128]") && Contains("32 tensors"));
  require_failure(inspect(corpus / "torch/runs-a-command", {}), {3, {"wants to run 'os.system'"}});
}

TEST_CASE("real weights: the trunk of vgg16-edges is imported whole, and inspect shows it") {
  const auto data = test_data("vgg16-edges/vgg16_conv.safetensors");
  if (!data) return;
  const TemporaryFolder folder;
  const json report = require_import(*data, folder / "out.safetensors");
  CHECK(report["matched"].size() == 26);
  CHECK(report["missing"].size() == 6);
  CHECK(report["normalisation"] == "caffe");
  const Result shown =
      Process("millrace-data", {"inspect", "--json", (folder / "out.safetensors").string()}).wait();
  REQUIRE(shown.code == 0);
  const json inspected = parse_only_line(shown.out);
  CHECK(inspected["tensors"].size() == 26);
  CHECK(inspected["values"] == 14714688);
}
