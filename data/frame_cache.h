// Decoded frames in bounded memory, shared by threads: what one decodes the others wait for instead of
// decoding it too.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "data/image.h"

namespace millrace {

using Frames = std::shared_ptr<const std::vector<Image>>;

class FrameCache {
 public:
  using Key = std::pair<int64_t, int64_t>;  // item, part of it

  explicit FrameCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // From memory, or by `decode`, whose exception reaches the caller; threads that waited for it then try
  // themselves. Forgets what was used longest ago when over the limit; who holds frames keeps them.
  Frames get(const Key& key, const std::function<std::vector<Image>()>& decode);

  // An image to decode into, with the memory of one that was forgotten when there is such.
  Image spare();

 private:
  struct Entry {
    std::shared_ptr<std::vector<Image>> frames;  // null while a thread decodes
    int64_t bytes = 0;
    std::list<Key>::iterator use;
  };

  const int64_t max_bytes_;
  std::mutex mutex_;
  std::condition_variable decoded_;
  std::map<Key, Entry> entries_;
  std::list<Key> uses_;  // the last used first
  int64_t bytes_ = 0;
  std::vector<Image> spare_;
};

}  // namespace millrace
