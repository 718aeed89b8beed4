#include "apps/training/hold_out.h"

#include <algorithm>

namespace millrace {

HeldOut hold_out_items(const SourcePtr& all, int64_t every) {
  std::vector<int64_t> train, validation;
  for (int64_t item = 0; item < all->size(); ++item)
    ((item + 1) % std::max<int64_t>(2, every) == 0 ? validation : train).push_back(item);
  if (validation.empty()) {
    validation.push_back(train.back());
    train.pop_back();
  }
  return {take_items(all, train), take_items(all, validation)};
}

}  // namespace millrace
