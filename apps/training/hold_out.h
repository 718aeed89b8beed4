// Which of several videos are kept for validation where no others are given.
#pragma once

#include "data/source.h"

namespace millrace {

struct HeldOut {
  SourcePtr train, validation;
};
// Every `every`-th item, at least every second; of few items the last. `all` has two or more.
HeldOut hold_out_items(const SourcePtr& all, int64_t every);

}  // namespace millrace
