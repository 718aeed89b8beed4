// How well a MotionNet explains held-out clips, against no motion at all.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/motionnet/graphs.h"
#include "core/session.h"
#include "data/source.h"

namespace millrace {

struct ValidationResult {
  int64_t clips = 0;
  std::map<std::string, double> terms;  // mean over clips of every weighted term, and "loss"
  std::map<std::string, double> zero;   // the same with zero flow
  std::optional<double> epe;            // pixels of the network's input, where there is truth
  std::optional<double> zero_epe;
};

// Which clips: of each item the one in its middle, or all that follow each other and share one frame.
enum class ValidationClips { centre, all };

struct ValidatorOptions {
  SourcePtr source;
  ValidationClips clips = ValidationClips::centre;
  int64_t most = 0;         // clips at most, spread over the items; 0: all
  Memory* arena = nullptr;  // shared with sessions that do not run meanwhile
  PlanOptions plan = {};    // of its plans; the device is the State's
};

class Validator {
 public:
  Validator(const TrainConfig& config, ParamStore& params, State& state, const ValidatorOptions& options);

  ValidationResult run();
  // A clip's first frame, its first flow in colours, and the truth's where there is one, side by side. Clips
  // are numbered from 0; numbers beyond the last begin again.
  Image picture(int64_t clip);
  int64_t clips() const { return static_cast<int64_t>(ranges_.size()); }
  // What it runs.
  static std::vector<Plan> plans(const TrainConfig& config, ParamStore& params, const PlanOptions& options);

 private:
  Clip load(const ClipRange& range) const;
  void bind(Session& session, const Clip& clip);
  double error_of(const std::vector<Flow>& flows, const std::vector<Flow>& truth) const;
  std::vector<Flow> flows_of(Session& session) const;

  const TrainConfig& config_;
  SourcePtr source_;
  std::vector<ClipRange> ranges_;
  std::vector<std::string> names_;
  Session net_, zero_;
  std::optional<std::map<std::string, double>> zero_terms_;  // they never change
  std::vector<uint8_t> input_;
};

// One JSON object: every term, "loss", "epe" where there is truth, "clips", and the same of zero flow under
// "zero_flow".
std::string to_json(const ValidationResult& result);

// Copies a clip into the layout of the network's input: (H,W,3T), frame-major.
void interleave_frames(const std::vector<Image>& frames, std::vector<uint8_t>& out);
// The values of a flow (1,h,w,2K) as K fields, unscaled.
std::vector<Flow> split_flows(const std::vector<double>& values, const Shape& shape);

}  // namespace millrace
