// scores.csv. What is taken comes back when it is written.
#include "apps/actions/scores.h"

#include <cmath>
#include <cstdint>
#include <set>

#include "tests/fuzz/support.h"

using namespace millrace;
using fuzz::accepts;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Scores scores;
  if (!accepts([&] { scores = parse_scores(fuzz::text_of(data, size), "fuzz.csv"); })) return 0;
  const std::set<std::string> classes(scores.classes.begin(), scores.classes.end());
  require(!classes.empty() && classes.size() == scores.classes.size(), "no class twice");
  std::set<std::string> videos;
  for (const Scores::Row& row : scores.rows) {
    require(!row.video.empty() && videos.insert(row.video).second, "no video twice");
    require(classes.contains(row.label), "a label is a class");
    require(row.logits.size() == classes.size(), "a score for each class");
    for (const float v : row.logits) require(std::isfinite(v), "scores are finite");
  }
  require(parse_scores(scores_csv(scores), "again.csv") == scores, "scores come back");
  return 0;
}
