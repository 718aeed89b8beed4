// How good scores are: accuracies, and names for them that say what was measured.
//
// All accuracies are per cent, as the paper writes them. The class of a row is that of its highest score; of
// equal ones the first counts, as MATLAB's and numpy's arg-max have it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/actions/scores.h"

namespace millrace {

int64_t best_class(std::span<const float> scores);
// Classes from the best to the worst; equal scores in the order of the classes.
std::vector<int64_t> ranking(std::span<const float> scores);

// Wilson's interval of 95 % for a share, per cent: holds for few videos and near 0 and 100 too.
struct Interval {
  double low = 0, high = 0;
};
Interval wilson_interval(int64_t correct, int64_t count);

struct Accuracy {
  std::vector<std::string> classes;  // by label
  int64_t videos = 0;
  int64_t correct = 0;
  int64_t correct5 = 0;            // whose label is among the five best
  double top1 = 0;                 // over videos
  double mean_class = 0;           // mean of the classes' accuracies; those without a video do not count
  std::optional<double> top5;      // none with five classes or fewer, where it is 100 of itself
  Interval interval;               // of top1
  int64_t ties = 0;                // videos whose highest score several classes share
  int64_t empty_classes = 0;       // classes without a video
  std::vector<int64_t> confusion;  // [label * classes + answer], counts of videos

  struct Class {
    int64_t videos = 0, correct = 0;
    double percent() const {
      return videos == 0 ? 0 : 100. * static_cast<double>(correct) / static_cast<double>(videos);
    }
  };
  std::vector<Class> per_class;
};
Accuracy accuracy(const Scores& scores);

// --- names
// ------------------------------------------------------------------------------------------------------

// How many views of a video were averaged. `video`: over the whole video; `clip`: one clip counts by itself,
// as validation in training has it.
enum class Level { video, clip };
struct Protocol {
  Level level = Level::video;
  int64_t clips = 25, crops = 10;  // 0: not known, as of others' score files
};
std::string protocol_text(const Protocol& protocol);  // "video@25x10"; "video" where the views are not known

// Of "video@25x10"; nothing for text that protocol_text does not write.
std::optional<Protocol> parse_protocol(const std::string& text);

enum class Metric { top1, mean_class, top5 };
std::string metric_name(Metric metric, const Protocol& protocol);  // "top1/video@25x10", "top1/clip@1x1"

// Of the splits' values; none where a split has none.
std::optional<double> mean_over_splits(const std::vector<Accuracy>& splits, Metric metric);

// An object whose keys are metric names; `videos`, `correct`, `top1_interval` (per cent), `ties`,
// `classes_without_videos` and `protocol` beside them. Of several splits each metric has its name with
// /split1, /split2, ..., and with /mean the mean over splits; the others are lists.
nlohmann::json accuracy_json(const std::vector<Accuracy>& splits, const Protocol& protocol);
// The same for people, several lines.
std::string accuracy_text(const std::vector<Accuracy>& splits, const Protocol& protocol);

}  // namespace millrace
