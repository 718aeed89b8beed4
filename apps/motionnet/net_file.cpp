#include "apps/motionnet/net_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "apps/motionnet/train_config.h"

namespace millrace {
namespace {

constexpr const char* kTrue = "true";
constexpr const char* kFalse = "false";

const char* text(bool value) { return value ? kTrue : kFalse; }

std::string weight(const std::string& layer) { return "motionnet." + layer + ".weight"; }

const std::vector<int64_t>& shape_of(const SafetensorsReader& file, const std::string& name) {
  if (!file.has(name) || file.entry(name).shape.size() != 4) {
    fail(ErrorKind::data, {file.path().string(), "weights of a MotionNet, with '" + name + "'",
                           std::to_string(file.tensors().size()) + " other tensors", ""});
  }
  return file.entry(name).shape;
}

// What the metadata says under `key`, else `otherwise`.
std::string recorded(const SafetensorsReader& file, const std::string& key, const std::string& otherwise) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? otherwise : found->second;
}

bool recorded_bool(const SafetensorsReader& file, const std::string& key, bool otherwise) {
  const std::string value = recorded(file, key, text(otherwise));
  if (value == kTrue || value == kFalse) return value == kTrue;
  fail(ErrorKind::data, {file.path().string() + ": metadata " + key, "true or false", "'" + value + "'", ""});
}

MotionNetKind kind_of(const SafetensorsReader& file) {
  const std::string name = recorded(file, "net", "");
  for (MotionNetKind kind : {MotionNetKind::full, MotionNetKind::tiny}) {
    if (name == name_of(kind)) return kind;
  }
  return file.has(weight("conv4")) && !file.has(weight("conv5")) ? MotionNetKind::tiny : MotionNetKind::full;
}

// A factor that gives all widths of the file. The widest layer tells it best, but rounded: of 256 channels by
// .05 there are 13, and 13 / 256 of 128 would be 7 where .05 of them are 6.
double channels_of(const SafetensorsReader& file, MotionNetKind kind) {
  std::vector<std::pair<std::string, double>> layers{{"conv1", 64}, {"conv2", 128}, {"conv3", 256}};
  if (kind == MotionNetKind::full) layers.insert(layers.end(), {{"conv4", 512}, {"conv6", 1024}});
  double low = 0, high = HUGE_VAL, widest = 0;
  for (const auto& [layer, full] : layers) {
    const auto width = static_cast<double>(shape_of(file, weight(layer))[0]);
    if (width > 1) low = std::max(low, (width - .5) / full);
    high = std::min(high, (width + .5) / full);
    widest = width / full;
  }
  return low <= widest && widest < high ? widest : (low + high) / 2;
}

}  // namespace

std::string name_of(MotionNetKind kind) {
  return kind == MotionNetKind::tiny ? "tiny-motionnet" : "motionnet";
}

MotionNetKind parse_net(const std::string& name) {
  for (MotionNetKind kind : {MotionNetKind::full, MotionNetKind::tiny}) {
    if (name == name_of(kind)) return kind;
  }
  const char* hint = name == "tiny" ? "--preset tiny is a small run of the full net" : "";
  fail(ErrorKind::usage, {"--net", "motionnet or tiny-motionnet", "'" + name + "'", hint});
}

std::string flags_of(const MotionNetOptions& net) {
  std::string flags = "--net " + name_of(net.kind);
  if (!net.small_displacement) flags += " --no-small-displacement";
  if (!net.smooth_conv) flags += " --no-smooth-conv";
  return flags;
}

std::map<std::string, std::string> net_metadata(const MotionNetOptions& net) {
  return {{"net", name_of(net.kind)},
          {"small_displacement", text(net.small_displacement)},
          {"smooth_conv", text(net.smooth_conv)},
          {"frames", std::to_string(net.frames)},
          {"channels", fmt::format("{}", net.channels)}};
}

MotionNetOptions net_of_weights(const SafetensorsReader& file) {
  const std::vector<int64_t> conv1 = shape_of(file, weight("conv1"));
  if (conv1[1] < 6 || conv1[1] % 3 != 0) {
    fail(ErrorKind::data,
         {file.path().string() + ": " + weight("conv1"), "3 input channels for each of 2 or more frames",
          std::to_string(conv1[1]) + " input channels", ""});
  }
  MotionNetOptions net{.frames = conv1[1] / 3, .kind = kind_of(file)};
  const std::string channels = recorded(file, "channels", fmt::format("{}", channels_of(file, net.kind)));
  net.channels = std::strtod(channels.c_str(), nullptr);
  if (!(net.channels > 0 && net.channels <= kMaxChannels)) {
    fail(ErrorKind::data, {file.path().string() + ": metadata channels", "a factor above 0, at most 4",
                           "'" + channels + "'", ""});
  }
  net.small_displacement = recorded_bool(file, "small_displacement",
                                         net.kind == MotionNetKind::tiny || file.has(weight("conv1_1")));
  net.smooth_conv = recorded_bool(file, "smooth_conv", file.has(weight("smooth_conv2")));
  return net;
}

void check_same_layers(const SafetensorsReader& file, const MotionNetOptions& net) {
  const std::string expected = flags_of(net), found = flags_of(net_of_weights(file));
  if (expected == found) return;
  fail(ErrorKind::data, {file.path().string(), "weights of " + expected, "weights of " + found,
                         "the flags must be those that the weights were trained with"});
}

}  // namespace millrace
