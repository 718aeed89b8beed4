#include "apps/actions/accuracy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>

#include "apps/support/text.h"
#include "core/error.h"
#include "data/csv.h"

namespace millrace {
namespace {

using Json = nlohmann::json;

constexpr int64_t kBest = 5;  // of top-5

double percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100. * static_cast<double>(part) / static_cast<double>(whole);
}

// Classes that come before `label` in the ranking.
int64_t rank_of(int64_t label, std::span<const float> scores) {
  int64_t before = 0;
  for (int64_t c = 0; c < std::ssize(scores); ++c) {
    before += scores[c] > scores[label] || (scores[c] == scores[label] && c < label);
  }
  return before;
}

std::optional<double> value_of(const Accuracy& a, Metric metric) {
  switch (metric) {
    case Metric::top1:
      return a.top1;
    case Metric::mean_class:
      return a.mean_class;
    case Metric::top5:
      return a.top5;
  }
  return {};
}

constexpr Metric kMetrics[] = {Metric::top1, Metric::mean_class, Metric::top5};

}  // namespace

int64_t best_class(std::span<const float> scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

std::vector<int64_t> ranking(std::span<const float> scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  return order;
}

Interval wilson_interval(int64_t correct, int64_t count) {
  if (count == 0) return {0, 100};
  constexpr double z = 1.959963984540054;  // 97.5 % of the normal distribution
  const double n = static_cast<double>(count), p = static_cast<double>(correct) / n;
  const double centre = p + z * z / (2 * n);
  const double spread = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 100 / (1 + z * z / n);
  return {std::max(0., scale * (centre - spread)), std::min(100., scale * (centre + spread))};
}

Accuracy accuracy(const Scores& scores) {
  const auto classes = std::ssize(scores.classes);
  Accuracy a;
  a.classes = scores.classes;
  a.videos = std::ssize(scores.rows);
  a.confusion.assign(static_cast<size_t>(classes * classes), 0);
  a.per_class.resize(static_cast<size_t>(classes));
  std::unordered_map<std::string_view, int64_t> labels;
  for (int64_t c = 0; c < classes; ++c) labels.emplace(scores.classes[c], c);
  for (const Scores::Row& row : scores.rows) {
    const auto found = labels.find(row.label);
    if (found == labels.end()) {
      fail(ErrorKind::data, {scores.name.empty() ? "scores" : scores.name,
                             "a class as label of " + shown(row.video), shown(row.label), ""});
    }
    const int64_t label = found->second, answer = best_class(row.logits);
    ++a.confusion[label * classes + answer];
    ++a.per_class[label].videos;
    a.per_class[label].correct += answer == label;
    a.correct += answer == label;
    a.correct5 += rank_of(label, row.logits) < kBest;
    a.ties += std::count(row.logits.begin(), row.logits.end(), row.logits[answer]) > 1;
  }
  a.top1 = percent(a.correct, a.videos);
  if (classes > kBest) a.top5 = percent(a.correct5, a.videos);
  a.interval = wilson_interval(a.correct, a.videos);
  for (const Accuracy::Class& c : a.per_class) {
    a.empty_classes += c.videos == 0;
    a.mean_class += c.percent();
  }
  if (a.empty_classes < classes) a.mean_class /= static_cast<double>(classes - a.empty_classes);
  return a;
}

std::string protocol_text(const Protocol& protocol) {
  const char* level = protocol.level == Level::video ? "video" : "clip";
  if (protocol.clips == 0 || protocol.crops == 0) return level;
  return fmt::format("{}@{}x{}", level, protocol.clips, protocol.crops);
}

std::optional<Protocol> parse_protocol(const std::string& text) {
  Protocol protocol{.level = text.starts_with("clip") ? Level::clip : Level::video, .clips = 0, .crops = 0};
  if (const size_t at = text.find('@'); at != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto clips = std::from_chars(text.data() + at + 1, end, protocol.clips);
    if (clips.ptr != end) std::from_chars(clips.ptr + 1, end, protocol.crops);
  }
  if (protocol_text(protocol) != text) return {};
  return protocol;
}

std::string metric_name(Metric metric, const Protocol& protocol) {
  const char* name = metric == Metric::top1 ? "top1" : metric == Metric::mean_class ? "mean_class" : "top5";
  return fmt::format("{}/{}", name, protocol_text(protocol));
}

std::optional<double> mean_over_splits(const std::vector<Accuracy>& splits, Metric metric) {
  double sum = 0;
  for (const Accuracy& split : splits) {
    const std::optional<double> value = value_of(split, metric);
    if (!value) return {};
    sum += *value;
  }
  if (splits.empty()) return {};
  return sum / static_cast<double>(splits.size());
}

nlohmann::json accuracy_json(const std::vector<Accuracy>& splits, const Protocol& protocol) {
  Json json{{"protocol", protocol_text(protocol)}};
  for (const Metric metric : kMetrics) {
    const std::string name = metric_name(metric, protocol);
    const std::optional<double> mean = mean_over_splits(splits, metric);
    if (!mean) continue;
    if (splits.size() == 1) {
      json[name] = *mean;
      continue;
    }
    for (size_t k = 0; k < splits.size(); ++k) {
      json[fmt::format("{}/split{}", name, k + 1)] = *value_of(splits[k], metric);
    }
    json[name + "/mean"] = *mean;
  }
  Json counts{{"videos", Json::array()},
              {"correct", Json::array()},
              {"top1_interval", Json::array()},
              {"ties", Json::array()},
              {"classes_without_videos", Json::array()}};
  for (const Accuracy& a : splits) {
    counts["videos"].push_back(a.videos);
    counts["correct"].push_back(a.correct);
    counts["top1_interval"].push_back({a.interval.low, a.interval.high});
    counts["ties"].push_back(a.ties);
    counts["classes_without_videos"].push_back(a.empty_classes);
  }
  for (const auto& [key, list] : counts.items()) json[key] = splits.size() == 1 ? list[0] : list;
  return json;
}

namespace {

std::string split_text(const Accuracy& a, const Protocol& protocol) {
  std::string text = fmt::format("{:<26} {:6.2f} %  ({} of {}; 95 % interval {:.2f} to {:.2f})\n",
                                 metric_name(Metric::top1, protocol), a.top1, a.correct,
                                 counted(a.videos, "video"), a.interval.low, a.interval.high);
  const int64_t present = std::ssize(a.classes) - a.empty_classes;
  text += fmt::format("{:<26} {:6.2f} %  (of {} classes", metric_name(Metric::mean_class, protocol),
                      a.mean_class, present);
  text += a.empty_classes > 0
              ? fmt::format("; {} {} no video)\n", a.empty_classes, a.empty_classes == 1 ? "has" : "have")
              : ")\n";
  if (a.top5)
    text += fmt::format("{:<26} {:6.2f} %\n", metric_name(Metric::top5, protocol), *a.top5);
  else {
    text += fmt::format("{:<26}         (left out: with {} classes it says nothing)\n",
                        metric_name(Metric::top5, protocol), a.classes.size());
  }
  if (a.ties > 0) {
    text += fmt::format("{} whose best score several classes share: the first of them is the answer\n",
                        counted(a.ties, "video"));
  }
  return text;
}

}  // namespace

std::string accuracy_text(const std::vector<Accuracy>& splits, const Protocol& protocol) {
  if (splits.size() == 1) return split_text(splits[0], protocol);
  std::string text;
  for (size_t k = 0; k < splits.size(); ++k) {
    text += fmt::format("split {}:\n{}", k + 1, split_text(splits[k], protocol));
  }
  text += "mean of the splits:\n";
  for (const Metric metric : kMetrics) {
    if (const auto mean = mean_over_splits(splits, metric)) {
      text += fmt::format("{:<26} {:6.2f} %\n", metric_name(metric, protocol) + "/mean", *mean);
    }
  }
  return text;
}

}  // namespace millrace
