#include "data/sampler.h"

#include <algorithm>
#include <numeric>

#include "data/draws.h"

namespace millrace {

int64_t Sampler::item(int64_t sample) const {
  if (options_.endless) return sample;
  const int64_t epoch = sample / samples_per_epoch(), within = sample % samples_per_epoch();
  const int64_t group = within / (kGroup * options_.clips_per_item);
  const int64_t group_items = std::min(kGroup, options_.items - group * kGroup);
  const int64_t place = group * kGroup + within % (kGroup * options_.clips_per_item) % group_items;
  return options_.shuffle ? (*order_of(epoch))[static_cast<size_t>(place)] : place;
}

Sampler::Order Sampler::order_of(int64_t epoch) const {
  constexpr size_t kKept = 4;  // threads may be on both sides of an epoch's end
  const std::lock_guard lock(mutex_);
  for (const auto& [known, order] : orders_) {
    if (known == epoch) return order;
  }
  std::vector<int64_t> order(static_cast<size_t>(options_.items));
  std::iota(order.begin(), order.end(), 0);
  Draws draws(random_stream(options_.seed, "loader.order"), epoch);
  for (int64_t k = options_.items - 1; k > 0; --k) {  // Fisher and Yates
    std::swap(order[static_cast<size_t>(k)], order[static_cast<size_t>(draws.below(k + 1))]);
  }
  if (orders_.size() == kKept) orders_.erase(orders_.begin());
  return orders_.emplace_back(epoch, std::make_shared<const std::vector<int64_t>>(std::move(order))).second;
}

}  // namespace millrace
