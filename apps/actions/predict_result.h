// What twostream-predict says of a video.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/actions/ranking.h"
#include "apps/actions/timeline.h"

namespace millrace {

// A stretch of a video through which one class leads.
struct Segment {
  FrameWindow frames;
  size_t label = 0;
  double share = 0;  // mean over its windows
  int64_t windows = 0;
};

// Joins windows, which come in order, into segments. Where neighbours overlap, the time between their middles
// is halved.
class Segments {
 public:
  void add(const FrameWindow& window, size_t label, double share);
  const std::vector<Segment>& all() const { return segments_; }

 private:
  std::vector<Segment> segments_;
  FrameWindow last_;
};

// The same for all videos.
struct PredictionRules {
  std::vector<std::string> classes;
  std::vector<std::string> streams;  // "spatial", "temporal", "stacked"
  std::string views;                 // "5x1"
  FusionRule fusion;                 // not used with one stream
  int64_t top = 5;
};

struct Prediction {
  std::string name, path;
  int64_t frames = 0;
  double rate = 0;      // frames per second; 0: not known
  Verdict verdict;      // of the whole video
  int64_t windows = 0;  // 0: the video was seen as a whole
  WindowSteps steps;
  std::vector<Segment> segments;
  std::vector<std::string> notes;  // what a reader should know: "shorter than a clip ..."
  std::vector<std::pair<std::string, std::string>> files;  // "strip", path
};

std::string prediction_text(const Prediction& prediction, const PredictionRules& rules, const Screen& screen);
// One object; its keys are documented in docs/actions.md.
nlohmann::json prediction_json(const Prediction& prediction, const PredictionRules& rules);

}  // namespace millrace
