// How well a stream recognises held-out videos, while it trains: the centre crop of the clip in each one's
// middle, so `top1/clip@1x1`. Far below what 25 x 10 views give (reference: 72 % where those give 84.88 %).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "apps/actions/accuracy.h"
#include "apps/actions/train_config.h"
#include "apps/training/task.h"
#include "core/session.h"
#include "data/source.h"

namespace millrace {

struct StreamValidation {
  double loss = 0;  // mean cross-entropy
  Accuracy accuracy;
};

class StreamValidator {
 public:
  StreamValidator(const StreamTrainConfig& config, const StreamSpec& spec, const TaskPlace& place,
                  SourcePtr source);

  int64_t clips() const { return source_->size(); }
  StreamValidation run();
  // Of a stacked stream: a clip's first frame beside its first flow in colours.
  std::optional<Image> picture(int64_t clip);

  // What it runs.
  static Plan plan(const StreamTrainConfig& config, const StreamSpec& spec, ParamStore& params,
                   const PlanOptions& options);

 private:
  std::unique_ptr<Loader> loader_from(int64_t first) const;

  const StreamTrainConfig& config_;
  const StreamSpec& spec_;
  SourcePtr source_;
  Session session_;
};

// Mean of log(sum over c of exp(x(c))) - x(label) over rows; rows of scores whose labels are of the classes.
double cross_entropy(const Scores& scores);

}  // namespace millrace
