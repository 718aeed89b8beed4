#include "core/param_rules.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace millrace {
namespace {

bool matches(const std::string& pattern, const std::string& name) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

// Levenshtein's distance, for which * stands for any text, ? for any character, and a bracket expression,
// whose characters are not looked at, too: how many typos the pattern may have.
size_t typos(const std::string& pattern, const std::string& name) {
  std::vector<size_t> row(name.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < pattern.size(); ++i) {
    const bool any_text = pattern[i] == '*';
    bool any_character = pattern[i] == '?';
    if (const size_t end = pattern.find(']', i); pattern[i] == '[' && end != std::string::npos) {
      any_character = true;
      i = end;
    }
    size_t diagonal = row[0];
    row[0] += any_text ? 0 : 1;
    for (size_t j = 0; j < name.size(); ++j) {
      const size_t changed = diagonal + (any_character || pattern[i] == name[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = any_text ? std::min(row[j + 1], row[j]) : std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string nearest(const std::string& pattern, const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& name : names) near.emplace_back(typos(pattern, name), name);
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (size_t k = 0; k < std::min(kShown, near.size()); ++k) text += (k > 0 ? ", " : "") + near[k].second;
  return text;
}

}  // namespace

double rule_factor(const std::vector<ParamRule>& rules, const std::string& name) {
  const auto last = std::find_if(rules.rbegin(), rules.rend(),
                                 [&](const ParamRule& r) { return matches(r.pattern, name); });
  return last == rules.rend() ? 1 : last->lr_mult;
}

void check_factors(const std::vector<ParamRule>& rules) {
  for (const ParamRule& rule : rules) {
    if (rule.lr_mult >= 0 && std::isfinite(rule.lr_mult)) continue;
    fail(ErrorKind::usage, {"learning-rate factor of '" + rule.pattern + "'",
                            "a number from 0, which freezes, upwards", std::to_string(rule.lr_mult), ""});
  }
}

void check_patterns(const std::vector<ParamRule>& rules, const std::vector<std::string>& names) {
  for (const ParamRule& rule : rules) {
    if (std::any_of(names.begin(), names.end(),
                    [&](const std::string& name) { return matches(rule.pattern, name); }))
      continue;
    fail(ErrorKind::usage, {"pattern '" + rule.pattern + "'", "names of parameters that it matches",
                            "none of " + std::to_string(names.size()),
                            names.empty() ? "" : "Near are " + nearest(rule.pattern, names)});
  }
}

}  // namespace millrace
