#include "data/frame_cache.h"

namespace millrace {
namespace {

constexpr size_t kSpare = 32;

}  // namespace

Image FrameCache::spare() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) return {};
  Image image = std::move(spare_.back());
  spare_.pop_back();
  return image;
}

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
  std::shared_ptr<std::vector<Image>> frames;
  try {
    frames = std::make_shared<std::vector<Image>>(decode());
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
    // Nobody else has it, and nobody can get it: the lock is held.
    if (oldest->second.frames.use_count() == 1) {
      for (Image& image : *oldest->second.frames) {
        if (spare_.size() < kSpare) spare_.push_back(std::move(image));
      }
    }
    entries_.erase(oldest);
    uses_.pop_back();
  }
  decoded_.notify_all();
  return frames;
}

}  // namespace millrace
