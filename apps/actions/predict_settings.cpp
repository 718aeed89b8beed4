#include "apps/actions/predict_settings.h"

#include <cmath>

#include "apps/actions/timeline.h"
#include "core/error.h"
#include "data/source.h"

namespace millrace {
namespace {

constexpr int64_t kMostClips = 10'000, kMostBatch = 4096, kMostTop = 1'000'000;
constexpr double kMostRate = 1e5;

[[noreturn]] void refuse(const char* flag, const std::string& expected, const std::string& got,
                         const std::string& hint = "") {
  fail(ErrorKind::usage, {flag, expected, got, hint});
}

void check_range(const char* flag, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return;
  refuse(flag, "a number from " + std::to_string(least) + " to " + std::to_string(most),
         std::to_string(value));
}

// Those without a rate are checked again when a video's is known.
void check_span(const char* flag, const std::string& text) {
  if (!text.empty()) frames_of_span(flag, text, 1);
}

void check_inputs(const PredictSettings& s) {
  bool lists = false;
  for (const std::string& input : s.inputs) {
    if (input.empty()) refuse("VIDEO", "a video, a folder or a list", "''");
    lists |= is_list_spec(input);
  }
  if (!s.data_root.empty() && !lists) refuse("--data-root", "a list among the inputs", "none");
}

}  // namespace

void check_settings(const PredictSettings& s) {
  if (s.weights.size() > 2) refuse("--weights", "one or two files", std::to_string(s.weights.size()));
  for (const std::string& file : s.weights) {
    if (file.empty()) refuse("--weights", "a .safetensors file, a checkpoint or a run", "''");
  }
  check_inputs(s);
  check_range("--clips", s.clips, 1, kMostClips);
  if (s.crops != 1 && s.crops != 2 && s.crops != 5 && s.crops != 10)
    refuse("--crops", "1, 2, 5 or 10", std::to_string(s.crops));
  check_range("--top", s.top, 1, kMostTop);
  check_range("--batch", s.batch, 0, kMostBatch);
  check_range("--threads", s.threads, 0, 4096);
  if (!(s.fps >= 0 && s.fps <= kMostRate))
    refuse("--fps", "frames per second, above 0", std::to_string(s.fps));
  check_span("--window", s.window);
  check_span("--stride", s.stride);
  if (!s.stride.empty() && s.window.empty())
    refuse("--stride", "--window as well", "no --window", "--window 2 --stride 1 looks at 2 s each second");
  if (!s.fusion.empty()) parse_fusion(s.fusion);
}

}  // namespace millrace
