#include "apps/actions/predict_result.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/support/text.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr size_t kMostSegments = 20;  // in text

json seconds(int64_t frame, double rate) {
  return rate > 0 ? json(static_cast<double>(frame) / rate) : json();
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
  return fmt::format("{}", fmt::join(parts, between));
}

// Names may come from anywhere: no control characters reach the terminal.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < ' ' || c == 0x7f; }, '?');
  return text;
}

std::string how_text(const PredictionRules& rules) {
  if (rules.streams.size() == 1) return fmt::format("{} stream, {} views", rules.streams[0], rules.views);
  return fmt::format("{} by {} {}, {} views", joined(rules.streams, " + "), fusion_name(rules.fusion.fusion),
                     weights_text(rules.fusion.weights), rules.views);
}

std::string segments_text(const Prediction& p, const PredictionRules& rules) {
  std::string text = fmt::format("over time, {} of {} every {}:\n", counted(p.windows, "window"),
                                 counted(p.steps.frames, "frame"), p.steps.stride);
  for (size_t k = 0; k < std::min(p.segments.size(), kMostSegments); ++k) {
    const Segment& s = p.segments[k];
    text += fmt::format("  {} to {}  {}  {:.1f} %\n", time_text(s.frames.first, p.rate),
                        time_text(s.frames.end, p.rate), plain(rules.classes[s.label]), 100 * s.share);
  }
  if (p.segments.size() > kMostSegments) {
    text += fmt::format("  and {} more, all in --json and with --out in timeline.csv\n",
                        p.segments.size() - kMostSegments);
  }
  return text;
}

}  // namespace

void Segments::add(const FrameWindow& window, size_t label, double share) {
  if (!segments_.empty()) {
    const int64_t border = (last_.first + last_.end + window.first + window.end) / 4;
    segments_.back().frames.end = border;
    Segment& open = segments_.back();
    if (open.label == label) {
      open.frames.end = window.end;
      open.share += (share - open.share) / static_cast<double>(++open.windows);
    } else {
      segments_.push_back({{border, window.end}, label, share, 1});
    }
  } else {
    segments_.push_back({window, label, share, 1});
  }
  last_ = window;
}

std::string prediction_text(const Prediction& p, const PredictionRules& rules, const Screen& screen) {
  std::string length = counted(p.frames, "frame");
  if (p.rate > 0) length += fmt::format(", {:.1f} s", static_cast<double>(p.frames) / p.rate);
  std::string text = fmt::format("{}: {}; {}\n", plain(p.name), length, how_text(rules));
  std::vector<RankedClass> top = top_classes(p.verdict, rules.classes, rules.top);
  for (RankedClass& c : top) c.name = plain(c.name);
  text += ranking_text(top, screen);
  if (p.windows > 0) text += segments_text(p, rules);
  for (const std::string& note : p.notes) text += "  note: " + plain(note) + "\n";
  for (const auto& [what, path] : p.files) text += "  " + plain(path) + "\n";
  return text;
}

json prediction_json(const Prediction& p, const PredictionRules& rules) {
  json j{{"video", p.name},
         {"path", p.path},
         {"frames", p.frames},
         {"fps", p.rate > 0 ? json(p.rate) : json()},
         {"seconds", seconds(p.frames, p.rate)},
         {"views", rules.views},
         {"streams", rules.streams},
         {"classes", json::array()},
         {"notes", p.notes}};
  if (rules.streams.size() > 1) {
    j["fusion"] = fusion_name(rules.fusion.fusion);
    j["weights"] = rules.fusion.weights;
  }
  for (const RankedClass& c : top_classes(p.verdict, rules.classes, rules.top))
    j["classes"].push_back({{"class", c.name}, {"share", c.share}, {"score", c.score}});
  for (const auto& [what, path] : p.files) j["files"][what] = path;
  if (p.windows == 0) return j;
  j["windows"] = p.windows;
  j["window_frames"] = p.steps.frames;
  j["stride_frames"] = p.steps.stride;
  j["segments"] = json::array();
  for (const Segment& s : p.segments) {
    j["segments"].push_back({{"start_frame", s.frames.first},
                             {"end_frame", s.frames.end},
                             {"start_s", seconds(s.frames.first, p.rate)},
                             {"end_s", seconds(s.frames.end, p.rate)},
                             {"class", rules.classes[s.label]},
                             {"share", s.share}});
  }
  return j;
}

}  // namespace millrace
