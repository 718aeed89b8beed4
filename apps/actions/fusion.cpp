#include "apps/actions/fusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "apps/support/text.h"
#include "core/error.h"
#include "core/log.h"
#include "data/csv.h"

namespace millrace {
namespace {

constexpr double kTemporalWeight = 1.5;

constexpr std::array<std::pair<LateFusion, const char*>, 3> kNames = {
    {{LateFusion::relu_l1, "relu-l1"}, {LateFusion::logits, "logits"}, {LateFusion::softmax, "softmax"}}};

// What a stream's row adds before its weight; false where that is nothing.
bool normalise(const std::vector<float>& row, LateFusion fusion, std::vector<double>& result) {
  result.assign(row.begin(), row.end());
  double sum = 0;
  switch (fusion) {
    case LateFusion::logits:
      return true;
    case LateFusion::relu_l1:
      for (double& v : result) sum += v = std::max(v, 0.);
      break;
    case LateFusion::softmax: {
      const double largest = *std::max_element(result.begin(), result.end());
      for (double& v : result) sum += v = std::exp(v - largest);
      break;
    }
  }
  if (sum == 0) return false;
  for (double& v : result) v /= sum;
  return true;
}

using Index = std::unordered_map<std::string_view, size_t>;

Index index_of(const std::vector<std::string>& names) {
  Index index;
  for (size_t k = 0; k < names.size(); ++k) index.emplace(names[k], k);
  return index;
}

std::vector<std::string> videos_of(const Scores& scores) {
  std::vector<std::string> names;
  names.reserve(scores.rows.size());
  for (const Scores::Row& row : scores.rows) names.push_back(row.video);
  return names;
}

std::string file_of(const Scores& scores) { return scores.name.empty() ? "scores" : scores.name; }

std::string first_of(const std::vector<std::string>& names) {
  constexpr size_t kMost = 3;
  std::string text;
  for (size_t k = 0; k < std::min(names.size(), kMost); ++k) {
    text += (k == 0 ? "" : ", ") + shown(names[k]);
  }
  return text + (names.size() > kMost ? ", ..." : "");
}

struct Names {
  const char* one;
  const char* several;
  std::vector<std::string> of, like;  // in this file, and in the one it is compared with
};

// For each of `like` its place among `of`, which hold the same names.
std::vector<size_t> places(const Names& names, const Scores& scores, const Scores& like) {
  const Index here = index_of(names.of), there = index_of(names.like);
  std::vector<std::string> missing, extra;
  for (const std::string& n : names.like) {
    if (!here.contains(n)) missing.push_back(n);
  }
  for (const std::string& n : names.of) {
    if (!there.contains(n)) extra.push_back(n);
  }
  if (!missing.empty() || !extra.empty()) {
    std::string got;
    if (!missing.empty()) {
      got = fmt::format("{} of its {} {} missing: {}", missing.size(), names.like.size(), names.several,
                        first_of(missing));
    }
    if (!extra.empty()) {
      got += fmt::format("{}{} {} that it has not: {}", got.empty() ? "" : "; ", extra.size(),
                         extra.size() == 1 ? names.one : names.several, first_of(extra));
    }
    fail(ErrorKind::data, {file_of(scores), fmt::format("the {} of {}", names.several, file_of(like)), got,
                           "Only scores of the same videos and classes go together"});
  }
  std::vector<size_t> result;
  result.reserve(names.like.size());
  for (const std::string& n : names.like) result.push_back(here.at(n));
  return result;
}

void check_labels(const Scores& scores, const Scores& like) {
  size_t different = 0, first = 0;
  for (size_t k = like.rows.size(); k-- > 0;) {
    if (scores.rows[k].label == like.rows[k].label) continue;
    ++different;
    first = k;
  }
  if (different == 0) return;
  fail(ErrorKind::data, {file_of(scores),
                         fmt::format("label {} of {} as {} has it", shown(like.rows[first].label),
                                     shown(like.rows[first].video), file_of(like)),
                         fmt::format("{}, and {} in all", shown(scores.rows[first].label),
                                     counted(static_cast<int64_t>(different), "different label")),
                         ""});
}

}  // namespace

const char* fusion_name(LateFusion fusion) {
  for (const auto& [value, name] : kNames) {
    if (value == fusion) return name;
  }
  return "unknown";
}

LateFusion parse_fusion(const std::string& text) {
  for (const auto& [value, name] : kNames) {
    if (name == text) return value;
  }
  fail(ErrorKind::usage, {"--fusion", kFusionNames, shown(text), ""});
}

LateFusion choose_fusion(std::optional<LateFusion> asked, int64_t classes) {
  if (classes != 2) return asked.value_or(LateFusion::relu_l1);
  if (!asked) {
    log_info("two classes: fused by softmax, because by relu-l1 the heavier stream would decide alone");
    return LateFusion::softmax;
  }
  if (*asked == LateFusion::relu_l1) {
    log_warning(
        "relu-l1 of two classes: where each stream's logits are of opposite signs, the heavier stream "
        "decides alone; --fusion softmax takes both into account");
  }
  return *asked;
}

std::vector<double> default_weights(int64_t streams) {
  if (streams == 2) return {1, kTemporalWeight};
  return std::vector<double>(static_cast<size_t>(streams), 1.);
}

std::vector<double> parse_weights(const std::string& text, int64_t streams) {
  std::vector<double> weights;
  bool good = true;
  for (std::string_view rest = text;;) {
    const std::string_view word = rest.substr(0, rest.find(':'));
    double value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    good = good && error == std::errc{} && end == word.data() + word.size() && std::isfinite(value) &&
           value >= 0;
    weights.push_back(value);
    if (word.size() == rest.size()) break;
    rest.remove_prefix(word.size() + 1);
  }
  good = good && std::any_of(weights.begin(), weights.end(), [](double w) { return w > 0; });
  if (good && std::ssize(weights) == streams) return weights;
  fail(ErrorKind::usage, {"--weights",
                          fmt::format("{}, one a stream, not negative and not all 0, as in {}",
                                      counted(streams, "number"), weights_text(default_weights(streams))),
                          shown(text), ""});
}

std::string weights_text(const std::vector<double>& weights) {
  std::string text;
  for (const double w : weights) text += fmt::format("{}{}", text.empty() ? "" : ":", w);
  return text;
}

std::vector<float> fuse_rows(std::span<const std::vector<float>> rows, const FusionRule& rule,
                             std::vector<int64_t>* without_positive) {
  std::vector<double> sum(rows.front().size(), 0), part;
  for (size_t k = 0; k < rows.size(); ++k) {
    if (!normalise(rows[k], rule.fusion, part)) {
      if (without_positive != nullptr) ++without_positive->at(k);
      continue;
    }
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += rule.weights.at(k) * part[c];
  }
  return {sum.begin(), sum.end()};
}

Scores with_classes_of(const Scores& scores, const Scores& like) {
  const std::vector<size_t> columns = places(
      {.one = "class", .several = "classes", .of = scores.classes, .like = like.classes}, scores, like);
  Scores result{.classes = like.classes, .rows = {}, .name = scores.name};
  result.rows.reserve(scores.rows.size());
  for (const Scores::Row& from : scores.rows) {
    Scores::Row to{.video = from.video, .label = from.label, .logits = {}};
    to.logits.reserve(columns.size());
    for (const size_t c : columns) to.logits.push_back(from.logits[c]);
    result.rows.push_back(std::move(to));
  }
  return result;
}

Scores aligned_to(const Scores& scores, const Scores& like) {
  Scores columns = with_classes_of(scores, like);
  const std::vector<size_t> lines = places(
      {.one = "video", .several = "videos", .of = videos_of(scores), .like = videos_of(like)}, scores, like);
  Scores result{.classes = like.classes, .rows = {}, .name = scores.name};
  result.rows.reserve(lines.size());
  for (const size_t line : lines) result.rows.push_back(std::move(columns.rows[line]));
  check_labels(result, like);
  return result;
}

Fused fuse(const std::vector<Scores>& files, const FusionRule& rule) {
  if (files.empty() || files.size() != rule.weights.size()) {
    fail(ErrorKind::usage, {"fusion", "a weight for each of one or more files",
                            fmt::format("{} for {}", counted(std::ssize(rule.weights), "weight"),
                                        counted(std::ssize(files), "file")),
                            ""});
  }
  Fused fused{.scores = {.classes = files[0].classes, .rows = files[0].rows, .name = {}},
              .without_positive = std::vector<int64_t>(files.size(), 0)};
  std::vector<Scores> aligned;
  for (size_t k = 1; k < files.size(); ++k) aligned.push_back(aligned_to(files[k], files[0]));
  std::vector<std::vector<float>> rows(files.size());
  for (size_t v = 0; v < fused.scores.rows.size(); ++v) {
    rows[0] = files[0].rows[v].logits;
    for (size_t k = 1; k < files.size(); ++k) rows[k] = std::move(aligned[k - 1].rows[v].logits);
    fused.scores.rows[v].logits = fuse_rows(rows, rule, &fused.without_positive);
  }
  return fused;
}

}  // namespace millrace
