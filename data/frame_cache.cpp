#include "data/frame_cache.h"

namespace millrace {

Frames FrameCache::get(const Key& key, const std::function<std::vector<Image>()>& decode) {
  std::unique_lock lock(mutex_);
  for (auto known = entries_.find(key); known != entries_.end(); known = entries_.find(key)) {
    if (known->second.frames) {
      uses_.splice(uses_.begin(), uses_, known->second.use);
      return known->second.frames;
    }
    decoded_.wait(lock);
  }
  entries_[key];
  lock.unlock();
  Frames frames;
  try {
    frames = std::make_shared<const std::vector<Image>>(decode());
  } catch (...) {
    lock.lock();
    entries_.erase(key);
    decoded_.notify_all();
    throw;
  }
  lock.lock();
  Entry& entry = entries_[key];
  entry.frames = frames;
  for (const Image& image : *frames) entry.bytes += static_cast<int64_t>(image.pixels.size());
  uses_.push_front(key);
  entry.use = uses_.begin();
  bytes_ += entry.bytes;
  while (bytes_ > max_bytes_ && uses_.size() > 1) {
    const auto oldest = entries_.find(uses_.back());
    bytes_ -= oldest->second.bytes;
    entries_.erase(oldest);
    uses_.pop_back();
  }
  decoded_.notify_all();
  return frames;
}

}  // namespace millrace
