// One stream with its weights on a device: clips in, logits out.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "apps/actions/stream.h"
#include "core/safetensors.h"
#include "core/session.h"
#include "data/flow.h"

namespace millrace {

struct RecognizerOptions {
  int64_t batch = 1;  // clips that one pass of the network takes
  PlanOptions plan = {};
  bool wait_for_nodes = false, capture = true;  // as in SessionOptions
  bool want_flow = false;  // of a stacked stream: flows() can be asked for; costs no computation
};

class Recognizer {
 public:
  // `spec` as streams_of(file) gives it; the plan's device is `device`, which outlives the recogniser.
  // Errors: of kind data where a weight is missing or has another shape than the spec asks for, with its name
  // and, for fc6 (input size) and fc8 (classes), what that means; device where the memory is too small.
  Recognizer(const SafetensorsReader& file, const StreamSpec& spec, Device& device,
             const RecognizerOptions& options);

  const StreamSpec& spec() const { return spec_; }
  int64_t batch() const { return options_.batch; }
  int64_t classes() const { return static_cast<int64_t>(spec_.classes.size()); }
  int64_t clip_bytes() const { return clip_bytes_; }  // of one clip

  // `count` clips of clip_bytes() each, as clip_spec lays them out; count is at least 1 and at most batch().
  // Returns count x classes() logits, row by row. What else is in the batch does not change a clip's logits.
  std::vector<float> run(const uint8_t* clips, int64_t count);

  // With want_flow, of clip `clip` of the last run: the flows between its neighbouring frames, in pixels of
  // the network's input, on a grid of half its size. Else, and of streams without MotionNet, none.
  std::vector<Flow> flows(int64_t clip) const;

 private:
  StreamSpec spec_;
  RecognizerOptions options_;
  int64_t clip_bytes_ = 0;
  State state_;
  ParamStore params_;
  std::unique_ptr<Session> session_;
  std::vector<uint8_t> input_;  // one batch
};

}  // namespace millrace
