// twostream-eval on small nets and small videos.
#pragma once

#include <algorithm>
#include <cmath>

#include "apps/actions/scores.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/stream_file.h"

namespace millrace::test {

// Videos of frames below `root`: one called <class>/<number> a class for each length, 72x96 pixels.
inline void write_videos(const fs::path& root, const std::vector<int64_t>& lengths,
                         const std::vector<std::string>& classes = {"fall", "run", "wave"}) {
  int64_t first = 0;
  for (const std::string& name : classes) {
    for (size_t k = 0; k < lengths.size(); ++k, first += 7)
      write_frames(root / name / ("v" + std::to_string(k)), {first, lengths[k]}, {72, 96});
  }
}

inline std::vector<std::string> eval_arguments(const fs::path& weights, const fs::path& data,
                                               const fs::path& out, const std::string& more) {
  return join({"--weights", weights.string(), "--data", data.string(), "--out", out.string(), "--json",
               "--threads", "1"},
              words(more));
}

// REQUIREs success; what --json printed.
inline json evaluate(const std::vector<std::string>& arguments) {
  const Result result = Process("twostream-eval", arguments).wait();
  INFO(result.err << result.out);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

inline json evaluate(const fs::path& weights, const fs::path& data, const fs::path& out,
                     const std::string& more) {
  return evaluate(eval_arguments(weights, data, out, more));
}

// REQUIREs this exit code and one line of the program's own that holds `parts`.
inline void require_eval_failure(const std::vector<std::string>& arguments, const Expected& expected) {
  const Result result = Process("twostream-eval", arguments).wait();
  INFO(result.err << result.out);
  REQUIRE(result.code == expected.code);
  CHECK(result.out.empty());
  const std::string line = last_line(result.err);
  CHECK(line.rfind("twostream-eval: ", 0) == 0);
  for (const std::string& part : expected.parts) CHECK_THAT(line, Catch::Matchers::Contains(part));
}

// Largest difference of two files' logits, as a share of the largest logit; REQUIREs the same videos in the
// same order.
inline double score_difference(const Scores& a, const Scores& b) {
  REQUIRE(a.classes == b.classes);
  REQUIRE(a.rows.size() == b.rows.size());
  double largest = 0, scale = 0;
  for (size_t r = 0; r < a.rows.size(); ++r) {
    REQUIRE(a.rows[r].video == b.rows[r].video);
    REQUIRE(a.rows[r].label == b.rows[r].label);
    for (size_t k = 0; k < a.classes.size(); ++k) {
      largest = std::max(largest, std::fabs(double{a.rows[r].logits[k]} - double{b.rows[r].logits[k]}));
      scale = std::max(scale, std::fabs(double{a.rows[r].logits[k]}));
    }
  }
  return largest / scale;
}

}  // namespace millrace::test
