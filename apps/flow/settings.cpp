#include "apps/flow/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "core/error.h"
#include "data/source.h"
#include "data/video_writer.h"

namespace millrace {
namespace {

constexpr std::array kFormats = {"flo", "kitti", "jpg", "png", "mp4", "mkv", "avi"};
constexpr std::array kVideoFormats = {"mp4", "mkv", "avi"};
constexpr double kMaxBound = 1e6;
constexpr int64_t kMaxEvery = 1'000'000'000;

[[noreturn]] void refuse(const char* flag, const std::string& expected, const std::string& got) {
  fail(ErrorKind::usage, {flag, expected, got, ""});
}

void check_formats(FlowSettings& s) {
  std::vector<std::string> formats;
  for (std::string format : s.formats) {
    if (format == "video") format = "mp4";
    if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end())
      refuse("--format", "flo, kitti, jpg, png, video (mp4), mkv or avi, separated by commas",
             "'" + format + "'");
    if (std::find(formats.begin(), formats.end(), format) == formats.end()) formats.push_back(format);
  }
  s.formats = formats;
  if (video_format(s)) require_video_writer();
}

void check_data(const FlowSettings& s) {
  if (s.weights.empty()) refuse("--weights", "a .safetensors file, a checkpoint or a run", "nothing");
  if (s.data[0].empty()) refuse("--data", "a video, a folder, a list, synthetic: or two images", "nothing");
  if ((!s.data_root.empty() || s.skip_missing) && !is_list_spec(s.data[0]))
    refuse(s.skip_missing ? "--skip-missing" : "--data-root",
           "a list (.txt, .lst, .list or hmdb51:) in --data", "'" + s.data[0] + "'");
  std::error_code error;
  for (const std::string& image : s.data) {
    if (s.data.size() == 2 && std::filesystem::is_directory(image, error))
      refuse("--data", "two images, or one video, folder or list",
             "two, of which '" + image + "' is a folder");
  }
}

}  // namespace

bool FlowSettings::has_format(const std::string& format) const {
  return std::find(formats.begin(), formats.end(), format) != formats.end();
}

FlowByteMapping FlowSettings::mapping() const {
  return {.bound = bound.value_or(20), .rounding = parse_rounding(rounding.value_or("round"))};
}

std::optional<FlowByteMapping> FlowSettings::given_mapping() const {
  if (!bound && !rounding) return std::nullopt;
  return mapping();
}

std::optional<std::string> video_format(const FlowSettings& settings) {
  for (const char* format : kVideoFormats) {
    if (settings.has_format(format)) return format;
  }
  return std::nullopt;
}

void check_settings(FlowSettings& s) {
  check_formats(s);
  check_data(s);
  const auto at_least = [](const char* flag, int64_t value, int64_t least) {
    if (value < least) refuse(flag, std::to_string(least) + " or more", std::to_string(value));
  };
  if (s.every < 1 || s.every > kMaxEvery) refuse("--every", "1 to 1e9", std::to_string(s.every));
  at_least("--epe-border", s.border, 0);
  if (!(s.max_flow >= 0)) refuse("--max-flow", "0 or more", fmt::format("{}", s.max_flow));
  if (s.fps < 1 || s.fps > 1000) refuse("--fps", "1 to 1000", std::to_string(s.fps));
  if (s.quality < 1 || s.quality > 100) refuse("--quality", "1 to 100", std::to_string(s.quality));
  if (s.bound && !(*s.bound > 0 && *s.bound <= kMaxBound))
    refuse("--bound", "pixels above 0 and at most 1e6", fmt::format("{}", *s.bound));
  if (s.rounding && *s.rounding != "round" && *s.rounding != "truncate")
    refuse("--rounding", "round or truncate", "'" + *s.rounding + "'");
}

}  // namespace millrace
