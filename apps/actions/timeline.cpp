#include "apps/actions/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "data/csv.h"

namespace millrace {
namespace {

constexpr double kMostFrames = 1e12;  // whole numbers far beyond any video, exact in a double

}  // namespace

int64_t window_count(int64_t length, const WindowSteps& steps) {
  if (length <= steps.frames) return 1;
  return (length - steps.frames + steps.stride - 1) / steps.stride + 1;
}

FrameWindow window_at(int64_t number, int64_t length, const WindowSteps& steps) {
  const int64_t frames = std::min(steps.frames, length);
  const int64_t first = std::min(number * steps.stride, length - frames);
  return {first, first + frames};
}

int64_t frames_of_span(const std::string& flag, const std::string& text, double rate) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string unit(rest, end);
  const bool frames = unit == "f";
  if (error != std::errc() || !(unit.empty() || unit == "s" || frames) || !(value > 0) ||
      !(value <= kMostFrames) || (frames && value != std::floor(value))) {
    fail(ErrorKind::usage,
         {flag, "seconds, such as 2 or 2.5s, or frames, such as 64f", "'" + text + "'", ""});
  }
  if (frames) return static_cast<int64_t>(value);
  if (!(rate > 0)) {
    fail(ErrorKind::usage, {flag, "frames, such as 64f, or --fps", "'" + text + "', which is seconds",
                            "A folder of frames does not say how many make a second"});
  }
  return std::max<int64_t>(1, std::llround(std::min(value * rate, kMostFrames)));
}

std::string time_text(int64_t frame, double rate) {
  if (!(rate > 0)) return fmt::format("frame {}", frame);
  const int64_t tenths = std::llround(10 * static_cast<double>(frame) / rate);
  const int64_t minutes = tenths / 600;
  const std::string seconds = fmt::format("{:02}.{}", tenths / 10 % 60, tenths % 10);
  if (minutes < 60) return fmt::format("{}:{}", minutes, seconds);
  return fmt::format("{}:{:02}:{}", minutes / 60, minutes % 60, seconds);
}

TimelineCsv::TimelineCsv(const std::filesystem::path& path, const std::vector<std::string>& classes,
                         Video video)
    : file_(path), video_(video) {
  std::string header = "start_s,end_s,start_frame,end_frame";
  for (const std::string& name : classes) header += "," + csv_field(name);
  file_.write(header + "\n");
}

void TimelineCsv::add(const FrameWindow& window, const std::vector<double>& shares) {
  const auto seconds = [&](int64_t frame) {
    return video_.rate > 0 ? fmt::format("{:.3f}", static_cast<double>(frame) / video_.rate) : std::string();
  };
  std::string line =
      fmt::format("{},{},{},{}", seconds(window.first), seconds(window.end), window.first, window.end);
  for (const double share : shares) line += fmt::format(",{:.6g}", share);
  file_.write(line + "\n");
}

}  // namespace millrace
