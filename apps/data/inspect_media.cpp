#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "apps/data/inspectors.h"
#include "core/error.h"
#include "core/files.h"
#include "data/flow_files.h"
#include "data/frame_folder.h"
#include "data/image.h"
#include "data/lists.h"
#include "data/video.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr uint64_t kMaxBytes = uint64_t{1} << 31;

ordered_json begin(const char* kind, const InspectOptions& options, Size size) {
  return {{"kind", kind}, {"path", options.path.string()}, {"width", size.width}, {"height", size.height}};
}

ordered_json inspect_image(const InspectOptions& options, const Image& image) {
  ordered_json json = begin("image", options, image.size());
  const auto [least, largest] = std::minmax_element(image.pixels.begin(), image.pixels.end());
  double sum = 0;
  for (const uint8_t v : image.pixels) sum += v;
  json["min"] = *least;
  json["max"] = *largest;
  json["mean"] = sum / static_cast<double>(image.pixels.size());
  return json;
}

ordered_json inspect_flow(const InspectOptions& options, const Flow& flow) {
  ordered_json json = begin("flow", options, flow.size());
  double least = INFINITY, largest = 0, sum = 0, mean_u = 0, mean_v = 0;
  int64_t known = 0, not_finite = 0;
  for (size_t k = 0; k < flow.uv.size(); k += 2) {
    const float* uv = &flow.uv[k];
    not_finite += !std::isfinite(uv[0]) || !std::isfinite(uv[1]);
    if (!is_known(uv)) continue;
    const double length = std::hypot(double{uv[0]}, double{uv[1]});
    ++known;
    least = std::min(least, length);
    largest = std::max(largest, length);
    sum += length;
    mean_u += uv[0];
    mean_v += uv[1];
  }
  json["known"] = known;
  json["not_finite"] = not_finite;
  if (known > 0) {
    const auto n = static_cast<double>(known);
    json["length"] = {{"min", least}, {"max", largest}, {"mean", sum / n}};
    json["mean_u"] = mean_u / n;
    json["mean_v"] = mean_v / n;
  }
  return json;
}

ordered_json inspect_video(const InspectOptions& options) {
  const VideoIndex index = index_video(options.path.string(), [](int64_t, Image&) {});
  ordered_json json = begin("video", options, index.size);
  json["frames"] = index.frames;
  json["rate"] = index.rate > 0 ? ordered_json(index.rate) : ordered_json();
  json["damage"] = index.warnings;
  return json;
}

ordered_json inspect_folder(const InspectOptions& options) {
  const auto folder = list_frames(options.path);
  if (!folder) {
    fail(ErrorKind::data, {options.path.string(), "a run, a checkpoint or a folder of frames", "none of them",
                           "millrace-data check reads folders of clips"});
  }
  ordered_json json = begin("frames", options, read_image(folder->frames.front().string()).size());
  json["frames"] = folder->frames.size();
  json["first"] = folder->frames.front().filename().string();
  json["last"] = folder->frames.back().filename().string();
  json["flows"] =
      std::count_if(folder->truth.begin(), folder->truth.end(), [](const fs::path& p) { return !p.empty(); });
  return json;
}

// KITTI's flow is a PNG of 16 bits and three channels: bytes 24 and 25 of its header.
bool is_kitti_png(std::string_view bytes) {
  return bytes.starts_with("\x89PNG") && bytes.size() > 26 && bytes[24] == 16 && bytes[25] == 2;
}

}  // namespace

ordered_json inspect_media(const InspectOptions& options) {
  std::error_code error;
  if (fs::is_directory(options.path, error)) return inspect_folder(options);
  if (is_video_name(options.path)) return inspect_video(options);
  const std::string name = options.path.string(), bytes = read_file(options.path, kMaxBytes);
  if (bytes.starts_with("PIEH") || is_kitti_png(bytes) || options.path.extension() == ".flo")
    return inspect_flow(options, decode_flow(bytes, name));
  return inspect_image(options, decode_image(bytes, name));
}

void print_media(const ordered_json& json) {
  const std::string kind = json["kind"];
  fmt::print("{} of {}x{}", kind, json["width"].dump(), json["height"].dump());
  if (kind == "image") {
    fmt::print(", values {} to {}, mean {:.2f}\n", json["min"].dump(), json["max"].dump(),
               json["mean"].get<double>());
  } else if (kind == "flow") {
    fmt::print(", {} pixels known, {} not finite\n", json["known"].dump(), json["not_finite"].dump());
    if (json.contains("length"))
      fmt::print("length {:.4g} to {:.4g} px, mean {:.4g}; mean u {:.4g}, mean v {:.4g}\n",
                 json["length"]["min"].get<double>(), json["length"]["max"].get<double>(),
                 json["length"]["mean"].get<double>(), json["mean_u"].get<double>(),
                 json["mean_v"].get<double>());
  } else if (kind == "video") {
    fmt::print(", {} frames, {}\n", json["frames"].dump(),
               json["rate"].is_null() ? "rate not known"
                                      : fmt::format("{:.4g} a second", json["rate"].get<double>()));
    for (const auto& damage : json["damage"]) fmt::print("damage: {}\n", damage.get<std::string>());
  } else {
    fmt::print(", {} of them, {} to {}, {} with true flow\n", json["frames"].dump(),
               json["first"].get<std::string>(), json["last"].get<std::string>(), json["flows"].dump());
  }
}

}  // namespace millrace
