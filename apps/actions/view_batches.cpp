#include "apps/actions/view_batches.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "core/error.h"
#include "data/views.h"

namespace millrace {
namespace {

// Memory of one batch, used again and again.
struct Buffer {
  std::vector<uint8_t> bytes;
  std::vector<ViewBatch::View> views;  // of the inputs that a thread has taken
  int64_t written = 0;                 // of those
};

struct Stream {
  StreamOfViews what;
  std::vector<Buffer> buffers;
  std::deque<int64_t> free;
  std::optional<int64_t> open;  // has room
};

struct Place {
  int64_t buffer = 0;
  uint8_t* bytes = nullptr;
};

// A clip of a stream to be read.
struct Job {
  int64_t start = 0;
  int64_t stream = 0;
  int64_t clip = 0;
};

// Frames of one video as a stream's inputs want them: neighbouring clips share some.
class ResizedFrames {
 public:
  // Frames [first, first + count); those before `first` are not asked for again.
  std::vector<FramePtr> get(const ClipSource& source, const ClipRange& range, const ViewFormat& format,
                            std::vector<ViewInput>& inputs) {
    const std::vector<FramePtr> frames = source.borrow(range);
    if (inputs.empty()) inputs = format.inputs(frames.front()->size());
    const Size size = inputs.front().geometry.resized;
    kept_.erase(kept_.begin(), kept_.lower_bound(range.first));
    std::vector<FramePtr> result;
    for (int64_t k = 0; k < range.count; ++k) {
      const FramePtr& frame = frames[static_cast<size_t>(k)];
      if (k > 0 && frame == frames[static_cast<size_t>(k - 1)]) {  // behind the video's end
        result.push_back(result.back());
        continue;
      }
      FramePtr& resized = kept_[range.first + k];
      if (!resized) resized = frame->size() == size ? frame : make(*frame, size);
      result.push_back(resized);
    }
    return result;
  }

 private:
  static FramePtr make(const Image& frame, Size size) {
    return std::make_shared<const Image>(resize_bilinear(frame, size));
  }

  std::map<int64_t, FramePtr> kept_;
};

}  // namespace

VideoPlan plan_clips(int64_t length, int64_t frames, int64_t clips) {
  VideoPlan plan{.length = length, .starts = {}, .clip_weights = {}, .inputs = {}};
  for (const int64_t start : clip_starts(length, frames, clips)) {
    if (plan.starts.empty() || plan.starts.back() != start) {
      plan.starts.push_back(start);
      plan.clip_weights.push_back(0);
    }
    ++plan.clip_weights.back();
  }
  return plan;
}

std::vector<ViewInput> distinct_inputs(const std::vector<ClipGeometry>& crops) {
  std::vector<ViewInput> inputs;
  for (const ClipGeometry& crop : crops) {
    const auto same = std::find_if(inputs.begin(), inputs.end(),
                                   [&](const ViewInput& input) { return input.geometry == crop; });
    if (same == inputs.end())
      inputs.push_back({.geometry = crop});
    else
      ++same->weight;
  }
  return inputs;
}

class ViewBatches::Impl {
 public:
  Impl(std::vector<StreamOfViews> streams, std::vector<VideoItems> videos, const ViewBatchOptions& options);
  ~Impl();

  Event next();
  void give_back(const ViewBatch& batch);
  const VideoPlan& plan(int64_t video, int64_t stream) const {
    return plans_[static_cast<size_t>(video * stream_count() + stream)];
  }

 private:
  int64_t stream_count() const { return static_cast<int64_t>(streams_.size()); }
  VideoPlan& plan(int64_t video, int64_t stream) {
    return plans_[static_cast<size_t>(video * stream_count() + stream)];
  }
  Stream& stream(int64_t index) { return streams_[static_cast<size_t>(index)]; }

  void work();
  bool make_views(int64_t video);
  std::vector<Job> plan_video(int64_t video);
  std::optional<Place> take_place(int64_t stream, ViewBatch::View view);
  void written(int64_t stream, const Place& place);
  void make_ready(int64_t stream, int64_t buffer);
  void end_of_work();

  std::vector<Stream> streams_;
  const std::vector<VideoItems> videos_;
  // Of a video and a stream. Written by the thread at that video, before its first view is.
  std::vector<VideoPlan> plans_;
  std::vector<std::thread> threads_;

  // Below, and what changes in streams_: guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable may_write_, event_;
  std::deque<ViewBatch> ready_;
  std::deque<BrokenVideo> broken_;
  std::exception_ptr failure_;  // of something else than a video
  int64_t next_video_ = 0;
  int64_t working_ = 0;  // threads
  bool stopping_ = false;
};

ViewBatches::Impl::Impl(std::vector<StreamOfViews> streams, std::vector<VideoItems> videos,
                        const ViewBatchOptions& options)
    : videos_(std::move(videos)), plans_(videos_.size() * streams.size()) {
  for (StreamOfViews& what : streams) {
    Stream stream{.what = std::move(what), .buffers = {}, .free = {}, .open = {}};
    const ViewFormat& format = *stream.what.format;
    stream.buffers.resize(static_cast<size_t>(options.buffers));
    for (int64_t k = 0; k < options.buffers; ++k) {
      stream.buffers[static_cast<size_t>(k)].bytes.resize(
          static_cast<size_t>(format.batch() * format.bytes()));
      stream.free.push_back(k);
    }
    streams_.push_back(std::move(stream));
  }
  working_ = options.threads;
  for (int64_t k = 0; k < options.threads; ++k) threads_.emplace_back([this] { work(); });
}

ViewBatches::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  may_write_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ViewBatches::Impl::work() {
  for (;;) {
    int64_t video = 0;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || failure_ || next_video_ == static_cast<int64_t>(videos_.size())) return end_of_work();
      video = next_video_++;
    }
    std::exception_ptr error;
    bool is_data = false;
    try {
      make_views(video);
    } catch (const Error& e) {
      error = std::current_exception();
      is_data = e.kind() == ErrorKind::data;
    } catch (...) {
      error = std::current_exception();
    }
    if (!error) continue;
    const std::lock_guard lock(mutex_);
    if (is_data)
      broken_.push_back({.video = video, .error = error});
    else if (!failure_)
      failure_ = error;
    event_.notify_one();
  }
}

// With the lock held. The last thread hands over what is not full.
void ViewBatches::Impl::end_of_work() {
  if (--working_ == 0) {
    for (int64_t k = 0; k < stream_count(); ++k) {
      if (stream(k).open) make_ready(k, *stream(k).open);
      stream(k).open.reset();
    }
  }
  event_.notify_one();
}

std::vector<Job> ViewBatches::Impl::plan_video(int64_t video) {
  std::vector<Job> jobs;
  for (int64_t k = 0; k < stream_count(); ++k) {
    const StreamOfViews& what = stream(k).what;
    const int64_t item = videos_[static_cast<size_t>(video)].items[static_cast<size_t>(k)];
    const int64_t length = what.source->length(item);
    if (length < 1) fail(ErrorKind::data, {what.source->name(item), "frames", "none", ""});
    VideoPlan& planned = plan(video, k) = plan_clips(length, what.format->frames(), what.clips);
    for (size_t clip = 0; clip < planned.starts.size(); ++clip)
      jobs.push_back({.start = planned.starts[clip], .stream = k, .clip = static_cast<int64_t>(clip)});
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.start < b.start; });
  return jobs;
}

// False: stopped.
bool ViewBatches::Impl::make_views(int64_t video) {
  std::vector<ResizedFrames> resized(streams_.size());
  std::vector<Image> scratch;
  const std::vector<Job> jobs = plan_video(video);
  // All streams' inputs are known before the first view is written, as plan() promises.
  for (int64_t k = 0; k < stream_count(); ++k) {
    const StreamOfViews& what = stream(k).what;
    const ClipRange first{.item = videos_[static_cast<size_t>(video)].items[static_cast<size_t>(k)],
                          .first = plan(video, k).starts.front(),
                          .count = 1};
    resized[static_cast<size_t>(k)].get(*what.source, first, *what.format, plan(video, k).inputs);
  }
  for (const Job& job : jobs) {
    const StreamOfViews& what = stream(job.stream).what;
    std::vector<ViewInput>& inputs = plan(video, job.stream).inputs;
    const ClipRange range{.item = videos_[static_cast<size_t>(video)].items[static_cast<size_t>(job.stream)],
                          .first = job.start,
                          .count = what.format->frames()};
    const std::vector<FramePtr> clip =
        resized[static_cast<size_t>(job.stream)].get(*what.source, range, *what.format, inputs);
    const auto count = static_cast<int64_t>(inputs.size());
    for (int64_t k = 0; k < count; ++k) {
      const auto place = take_place(job.stream, {.video = video, .view = job.clip * count + k});
      if (!place) return false;
      what.format->write(clip, inputs[static_cast<size_t>(k)], scratch, place->bytes);
      written(job.stream, *place);
    }
  }
  return true;
}

// Waits for room; nothing when it is to stop.
std::optional<Place> ViewBatches::Impl::take_place(int64_t index, ViewBatch::View view) {
  std::unique_lock lock(mutex_);
  Stream& s = stream(index);
  may_write_.wait(lock, [&] { return stopping_ || s.open || !s.free.empty(); });
  if (stopping_) return std::nullopt;
  if (!s.open) {
    s.open = s.free.front();
    s.free.pop_front();
  }
  const int64_t number = *s.open;
  Buffer& buffer = s.buffers[static_cast<size_t>(number)];
  const auto slot = static_cast<int64_t>(buffer.views.size());
  buffer.views.push_back(view);
  if (slot + 1 == s.what.format->batch()) s.open.reset();
  return Place{.buffer = number, .bytes = buffer.bytes.data() + slot * s.what.format->bytes()};
}

void ViewBatches::Impl::written(int64_t index, const Place& place) {
  const std::lock_guard lock(mutex_);
  Buffer& buffer = stream(index).buffers[static_cast<size_t>(place.buffer)];
  if (++buffer.written == stream(index).what.format->batch()) make_ready(index, place.buffer);
}

void ViewBatches::Impl::make_ready(int64_t index, int64_t number) {
  Buffer& buffer = stream(index).buffers[static_cast<size_t>(number)];
  ready_.push_back({.stream = index,
                    .count = buffer.written,
                    .bytes = buffer.bytes.data(),
                    .views = buffer.views,
                    .buffer = number});
  event_.notify_one();
}

ViewBatches::Event ViewBatches::Impl::next() {
  std::unique_lock lock(mutex_);
  event_.wait(lock, [&] { return failure_ || !broken_.empty() || !ready_.empty() || working_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
  Event event;
  if (!broken_.empty()) {
    event.broken = broken_.front();
    broken_.pop_front();
  } else if (!ready_.empty()) {
    event.batch = std::move(ready_.front());
    ready_.pop_front();
  }
  return event;
}

void ViewBatches::Impl::give_back(const ViewBatch& batch) {
  {
    const std::lock_guard lock(mutex_);
    Buffer& buffer = stream(batch.stream).buffers[static_cast<size_t>(batch.buffer)];
    buffer.views.clear();
    buffer.written = 0;
    stream(batch.stream).free.push_back(batch.buffer);
  }
  may_write_.notify_all();
}

ViewBatches::ViewBatches(std::vector<StreamOfViews> streams, std::vector<VideoItems> videos,
                         const ViewBatchOptions& options)
    : impl_(std::make_unique<Impl>(std::move(streams), std::move(videos), options)) {}
ViewBatches::~ViewBatches() = default;
ViewBatches::Event ViewBatches::next() { return impl_->next(); }
void ViewBatches::give_back(const ViewBatch& batch) { impl_->give_back(batch); }
const VideoPlan& ViewBatches::plan(int64_t video, int64_t stream) const {
  return std::as_const(*impl_).plan(video, stream);
}

}  // namespace millrace
