#include "apps/actions/ranking.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/actions/picture_text.h"

namespace millrace {
namespace {

std::vector<double> softmax(const std::vector<float>& values, double divisor) {
  const double largest = *std::max_element(values.begin(), values.end());
  std::vector<double> shares;
  for (const float v : values) shares.push_back(std::exp((v - largest) / divisor));
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

std::vector<double> by_their_sum(const std::vector<float>& scores) {
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  std::vector<double> shares(scores.size(), 0);
  for (size_t k = 0; k < scores.size() && sum > 0; ++k) shares[k] = scores[k] / sum;
  return shares;
}

}  // namespace

Verdict verdict_of(std::span<const std::vector<float>> rows, const FusionRule& rule) {
  if (rows.size() == 1) return {.scores = rows[0], .shares = softmax(rows[0], 1)};
  Verdict verdict;
  verdict.scores = fuse_rows(rows, rule);
  const double weight = std::accumulate(rule.weights.begin(), rule.weights.end(), 0.0);
  verdict.shares =
      rule.fusion == LateFusion::logits ? softmax(verdict.scores, weight) : by_their_sum(verdict.scores);
  return verdict;
}

std::vector<size_t> ranked(const std::vector<float>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

std::vector<RankedClass> top_classes(const Verdict& verdict, const std::vector<std::string>& classes,
                                     int64_t most) {
  std::vector<size_t> order = ranked(verdict.scores);
  order.resize(std::min(order.size(), static_cast<size_t>(most)));
  std::vector<RankedClass> top;
  for (const size_t k : order) {
    top.push_back(
        {.name = classes[k], .label = k, .share = verdict.shares[k], .score = double{verdict.scores[k]}});
  }
  return top;
}

std::string bar_text(double share, int64_t columns, bool unicode) {
  constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double length = std::clamp(share, 0.0, 1.0) * static_cast<double>(columns);
  if (!unicode) return std::string(static_cast<size_t>(std::llround(length)), '#');
  const int64_t eighths = std::llround(8 * length);
  std::string bar;
  for (int64_t k = 0; k < eighths / 8; ++k) bar += "█";
  return bar + kEighths[eighths % 8];
}

std::string ranking_text(const std::vector<RankedClass>& classes, const Screen& screen) {
  constexpr int64_t kNumbers = 16;  // "  1  " before the name, "  93.2 %  " behind it, and one to spare
  constexpr int64_t kLeastBar = 8, kMostBar = 40, kLeastName = 6;
  int64_t name = kLeastName;
  for (const RankedClass& c : classes) name = std::max(name, letter_count(c.name));
  // Names give way first, down to half of what is left; a bar too short to be read is left out instead.
  const int64_t room = std::max(screen.columns - kNumbers, kLeastName);
  const bool bars = room >= kLeastName + kLeastBar;
  name = std::min(name, bars ? std::max(kLeastName, std::min(room - kLeastBar, (room + 1) / 2)) : room);
  const int64_t bar = bars ? std::min(room - name, kMostBar) : 0;
  std::string text;
  for (size_t k = 0; k < classes.size(); ++k) {
    const std::string shown = shortened(classes[k].name, name);
    const std::string pad(static_cast<size_t>(name - letter_count(shown)), ' ');
    const bool bold = screen.colour && k == 0;
    std::string line = fmt::format("{:3}  {}{}{}{}  {:5.1f} %", k + 1, bold ? "\033[1m" : "", shown,
                                   bold ? "\033[0m" : "", pad, 100 * classes[k].share);
    const std::string drawn = bar_text(classes[k].share, bar, screen.unicode);
    if (!drawn.empty()) line += screen.colour ? "  \033[36m" + drawn + "\033[0m" : "  " + drawn;
    text += line + "\n";
  }
  return text;
}

}  // namespace millrace
