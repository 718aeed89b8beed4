#include "apps/data/import_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <regex>
#include <utility>

#include "core/error.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

// Names of dicts and modules that weights are packed into; what is under another name ("optimizer",
// "teacher") is left alone.
constexpr std::array<std::string_view, 13> kWrappers = {
    "state_dict", "model_state_dict", "model",      "module",  "net",      "network",  "backbone",
    "base_model", "weights",          "parameters", "spatial", "temporal", "motionnet"};

// The convolutions of torchvision's vgg16.features, by their place among all of its layers.
constexpr std::pair<int, const char*> kFeatures[] = {
    {0, "conv1_1"},  {2, "conv1_2"},  {5, "conv2_1"},  {7, "conv2_2"},  {10, "conv3_1"},
    {12, "conv3_2"}, {14, "conv3_3"}, {17, "conv4_1"}, {19, "conv4_2"}, {21, "conv4_3"},
    {24, "conv5_1"}, {26, "conv5_2"}, {28, "conv5_3"}};
constexpr std::pair<int, const char*> kClassifier[] = {{0, "fc6"}, {3, "fc7"}, {6, "fc8"}};

// The last layer, which everybody renames for their own classes: Caffe's users, TSN, two-stream-pytorch.
bool is_last_layer(const std::string& layer) {
  static const std::regex kFc8("fc8([-_].*)?|fc-action|fc_action|new_fc");
  return std::regex_match(layer, kFc8);
}

bool is_vgg16_layer(const std::string& layer) {
  static const std::regex kConvolution("conv([12]_[12]|[345]_[123])");
  return std::regex_match(layer, kConvolution) || layer == "fc6" || layer == "fc7" || layer == "fc8";
}

bool is_motionnet_layer(const std::string& layer) {
  static const std::regex kLayer(
      "conv[1-6](_1)?|conv_pr[2-6]|deconv[2-5]|smooth_conv[2-5]|upsample_flow(3to2|4to3|5to4|6to5)");
  return std::regex_match(layer, kLayer);
}

template <size_t N>
std::string layer_at(const std::pair<int, const char*> (&table)[N], const std::string& place) {
  for (const auto& [number, layer] : table)
    if (std::to_string(number) == place) return layer;
  return "";
}

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> parts{""};
  for (const char c : name) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

[[noreturn]] void fail_relative(const WeightFile& file, const std::string& name, const char* net) {
  fail(ErrorKind::data,
       {file.path().string() + ", tensor " + in_quotes(name), "layers of VGG16 (configuration D)", net,
        "Only VGG16 without batch normalisation can be imported"});
}

// "features.0" of torchvision in `parts`, whose last two are its number and "weight".
void name_torchvision(const WeightFile& file, const std::vector<std::string>& parts, KnownTensor* known) {
  const std::string &module = parts[parts.size() - 3], &number = parts[parts.size() - 2];
  const std::string layer =
      module == "features" ? layer_at(kFeatures, number) : layer_at(kClassifier, number);
  const WeightTensor& tensor = file.tensors()[known->tensor];
  if (layer.empty() && module == "features") fail_relative(file, tensor.name, "another VGG");
  if (layer.empty()) return;
  known->vgg16 = layer + "." + parts.back();
  known->torchvision = true;
}

// `layer` as it is named in Caffe's files.
void name_caffe(std::string layer, const std::string& what, KnownTensor* known) {
  constexpr std::string_view kSuffix = "_vgg16";
  const bool merged = layer.ends_with(kSuffix);
  if (merged) layer.resize(layer.size() - kSuffix.size());
  if (is_last_layer(layer)) layer = "fc8";
  if (is_vgg16_layer(layer)) known->vgg16 = layer + "." + what;
  if (!merged && is_motionnet_layer(layer)) known->motionnet = layer + "." + what;
}

std::optional<KnownTensor> know(const WeightFile& file, size_t tensor) {
  KnownTensor known{.tensor = tensor};
  std::vector<std::string> parts = split(file.tensors()[tensor].name);
  const auto is_wrapper = [](const std::string& part) {
    return std::find(kWrappers.begin(), kWrappers.end(), part) != kWrappers.end();
  };
  std::string scope;
  while (parts.size() > 2 && is_wrapper(parts.front())) {
    scope = parts.front();
    parts.erase(parts.begin());
  }
  if (parts.back() == "running_mean" && parts.front() == "features")
    fail_relative(file, file.tensors()[tensor].name, "batch normalisation");
  if (parts.size() < 2 || (parts.back() != "weight" && parts.back() != "bias")) return {};
  if (parts.size() == 3 && (parts[0] == "features" || parts[0] == "classifier")) {
    name_torchvision(file, parts, &known);
  } else if (parts.size() == 2 || (parts.size() == 3 && parts[0] == "cls_head")) {
    const std::string& layer = parts[parts.size() - 2];
    name_caffe(layer == "fc_cls" ? "fc8" : layer, parts.back(), &known);
  }
  if (scope == "motionnet") known.vgg16.clear();  // our own names say which net it is
  if (scope == "spatial" || scope == "temporal") known.motionnet.clear();
  if (known.vgg16.empty() && known.motionnet.empty()) return {};
  return known;
}

}  // namespace

bool KnownTensors::torchvision() const {
  return std::any_of(known.begin(), known.end(), [](const KnownTensor& t) { return t.torchvision; });
}
bool KnownTensors::any_vgg16_only() const {
  return std::any_of(known.begin(), known.end(), [](const KnownTensor& t) { return t.motionnet.empty(); });
}
bool KnownTensors::any_motionnet_only() const {
  return std::any_of(known.begin(), known.end(), [](const KnownTensor& t) { return t.vgg16.empty(); });
}

KnownTensors known_tensors(const WeightFile& file) {
  KnownTensors result;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    if (const std::optional<KnownTensor> known = know(file, i)) {
      result.known.push_back(*known);
    } else {
      result.unknown.push_back(i);
    }
  }
  return result;
}

}  // namespace millrace
