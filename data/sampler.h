// Which item a sample takes: a pure function of (options, sample number).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace millrace {

struct SamplerOptions {
  int64_t items = 1;
  bool endless = false;  // sample k takes item k; nothing is shuffled
  bool shuffle = true;
  int64_t clips_per_item = 1;
  uint64_t seed = 1;
};

// An epoch takes each item clips_per_item times. Items come in groups of kGroup, and a group is gone through
// clips_per_item times before the next: so the clips of one video are near each other, while it is decoded,
// but rarely in one batch.
class Sampler {
 public:
  static constexpr int64_t kGroup = 16;

  explicit Sampler(const SamplerOptions& options) : options_(options) {}

  int64_t samples_per_epoch() const { return options_.items * options_.clips_per_item; }
  int64_t item(int64_t sample) const;  // from any thread

 private:
  using Order = std::shared_ptr<const std::vector<int64_t>>;
  Order order_of(int64_t epoch) const;

  SamplerOptions options_;
  mutable std::mutex mutex_;
  mutable std::vector<std::pair<int64_t, Order>> orders_;  // of the epochs used last
};

}  // namespace millrace
