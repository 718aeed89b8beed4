#include "apps/flow/settings.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "data/video_writer.h"

namespace millrace {
namespace {

constexpr std::array kFormats = {"flo", "kitti", "jpg", "png", "mp4", "mkv", "avi"};
constexpr std::array kVideoFormats = {"mp4", "mkv", "avi"};
constexpr double kMaxBound = 1e6;

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
  const auto at_least = [](const char* flag, int64_t value, int64_t least) {
    if (value < least) refuse(flag, std::to_string(least) + " or more", std::to_string(value));
  };
  at_least("--every", s.every, 1);
  at_least("--epe-border", s.border, 0);
  if (!(s.max_flow >= 0)) refuse("--max-flow", "0 or more", std::to_string(s.max_flow));
  if (s.fps < 1 || s.fps > 1000) refuse("--fps", "1 to 1000", std::to_string(s.fps));
  if (s.quality < 1 || s.quality > 100) refuse("--quality", "1 to 100", std::to_string(s.quality));
  if (s.bound && !(*s.bound > 0 && *s.bound <= kMaxBound))
    refuse("--bound", "pixels above 0 and at most 1e6", std::to_string(*s.bound));
  if (s.rounding && *s.rounding != "round" && *s.rounding != "truncate")
    refuse("--rounding", "round or truncate", "'" + *s.rounding + "'");
}

}  // namespace millrace
