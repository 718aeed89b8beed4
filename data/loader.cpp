#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"
#include "data/draws.h"
#include "data/sampler.h"

namespace millrace {
namespace {

// Memory of one batch, used again and again.
struct Slot {
  std::vector<uint8_t> frames;
  std::vector<float> truth;
  std::vector<int32_t> labels;
  int64_t done = 0;  // samples finished or failed
  std::exception_ptr error;
  int64_t error_sample = 0;
};

// What a thread keeps between samples.
struct Workspace {
  Clip clip;
  Image scratch;
  std::vector<Image> resized;
};

void check_options(const LoaderOptions& options) {
  const auto require = [](bool met, const char* expected, int64_t got) {
    if (!met) fail(ErrorKind::usage, {.where = "loader", .expected = expected, .got = std::to_string(got)});
  };
  require(options.batch >= 1, "a batch of at least 1", options.batch);
  require(options.frames >= 1, "clips of at least 1 frame", options.frames);
  require(options.threads >= 1, "at least 1 thread", options.threads);
  require(options.slots >= 2, "at least 2 slots", options.slots);
  require(options.clips_per_item >= 1, "at least 1 clip of each item", options.clips_per_item);
  require(options.end >= 0, "a last sample of at least 0", options.end);
  require(options.geometry.network.height >= 1, "a network height of at least 1",
          options.geometry.network.height);
  require(options.geometry.network.width >= 1, "a network width of at least 1",
          options.geometry.network.width);
  check_scales(options.geometry.scales);
}

}  // namespace

class Loader::Impl {
 public:
  Impl(SourcePtr source, const LoaderOptions& options)
      : source_(std::move(source)),
        options_(options),
        sampler_({.items = source_->size(),
                  .endless = source_->endless(),
                  .shuffle = options.shuffle,
                  .clips_per_item = options.clips_per_item,
                  .seed = options.seed}),
        slots_(static_cast<size_t>(options.slots)) {
    for (Slot& slot : slots_) {
      slot.frames.resize(static_cast<size_t>(options_.batch * frame_values()));
      if (options_.want_labels) slot.labels.resize(static_cast<size_t>(options_.batch));
      if (options_.want_truth) slot.truth.resize(static_cast<size_t>(options_.batch * truth_values()));
    }
  }
  ~Impl() { stop(); }

  Batch next();
  void seek(int64_t sample);
  int64_t position() const { return start_ + delivered_ * options_.batch; }
  int64_t samples_per_epoch() const { return sampler_.samples_per_epoch(); }

 private:
  int64_t pixels() const { return options_.geometry.network.height * options_.geometry.network.width; }
  int64_t frame_values() const { return pixels() * source_->channels() * options_.frames; }
  int64_t truth_values() const { return pixels() * 2 * (options_.frames - 1); }
  int64_t batch_of(int64_t sample) const { return (sample - start_) / options_.batch; }
  Slot& slot_of(int64_t batch) { return slots_[static_cast<size_t>(batch % options_.slots)]; }
  int64_t samples_in(int64_t batch) const {
    const int64_t first = start_ + batch * options_.batch;
    return options_.end == 0 ? options_.batch : std::clamp<int64_t>(options_.end - first, 0, options_.batch);
  }

  void start();
  void stop();
  void work();
  int64_t label_of(int64_t item) const;
  void make_sample(int64_t sample, Workspace& workspace, Slot& slot) const;
  void write_sample(int64_t place, const Clip& clip, Slot& slot) const;

  const SourcePtr source_;
  const LoaderOptions options_;
  const Sampler sampler_;
  std::vector<Slot> slots_;
  std::vector<std::thread> threads_;

  // Batches are numbered from 0 at sample start_. Batch b lies in slot b % slots, and may be written once
  // batch b - slots was given back: b < released_ + slots. Changed by the caller's thread while no other
  // runs:
  int64_t start_ = 0;
  // Below: guarded by mutex_; delivered_ is written by the caller's thread alone.
  std::mutex mutex_;
  std::condition_variable may_work_, sample_done_;
  int64_t next_sample_ = 0;  // that no thread has taken
  int64_t delivered_ = 0;    // batches that next() has returned
  int64_t released_ = 0;     // batches that the caller has finished with
  bool stopping_ = false;
};

void Loader::Impl::start() {
  for (int64_t k = 0; k < options_.threads; ++k) threads_.emplace_back([this] { work(); });
}

void Loader::Impl::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  may_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  stopping_ = false;
}

void Loader::Impl::seek(int64_t sample) {
  if (sample < 0) {
    fail(ErrorKind::usage, {.where = "loader", .expected = "a sample from 0", .got = std::to_string(sample)});
  }
  stop();
  start_ = next_sample_ = sample;
  delivered_ = released_ = 0;
  for (Slot& slot : slots_) {
    slot.done = 0;
    slot.error = nullptr;
  }
}

void Loader::Impl::work() {
  Workspace workspace;
  std::unique_lock lock(mutex_);
  const auto may_take = [this] {
    const int64_t batch = batch_of(next_sample_);
    return batch < released_ + options_.slots && (options_.end == 0 || next_sample_ < options_.end);
  };
  for (;;) {
    may_work_.wait(lock, [&] { return stopping_ || may_take(); });
    if (stopping_) return;
    const int64_t sample = next_sample_++;
    Slot& slot = slot_of(batch_of(sample));
    lock.unlock();
    std::exception_ptr error;
    try {
      make_sample(sample, workspace, slot);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && (!slot.error || sample < slot.error_sample)) {
      slot.error = error;
      slot.error_sample = sample;
    }
    ++slot.done;
    sample_done_.notify_one();
  }
}

Batch Loader::Impl::next() {
  std::unique_lock lock(mutex_);
  if (threads_.empty()) start();
  if (released_ < delivered_) {
    Slot& given_back = slot_of(released_++);
    given_back.done = 0;
    given_back.error = nullptr;
    may_work_.notify_all();
  }
  const int64_t count = samples_in(delivered_);
  Batch batch{.first_sample = position(), .count = count};
  if (count == 0) return batch;
  Slot& slot = slot_of(delivered_);
  sample_done_.wait(lock, [&] { return slot.done == count; });
  ++delivered_;
  if (slot.error) std::rethrow_exception(slot.error);
  std::fill(slot.frames.begin() + count * frame_values(), slot.frames.end(), uint8_t{0});
  std::fill(slot.truth.begin() + (slot.truth.empty() ? 0 : count * truth_values()), slot.truth.end(), 0.0f);
  std::fill(slot.labels.begin() + (slot.labels.empty() ? 0 : count), slot.labels.end(), 0);
  batch.frames = slot.frames.data();
  if (options_.want_labels) batch.labels = slot.labels.data();
  if (options_.want_truth) batch.truth = slot.truth.data();
  return batch;
}

int64_t Loader::Impl::label_of(int64_t item) const {
  if (const std::optional<int64_t> label = source_->label(item)) return *label;
  fail(ErrorKind::data,
       {.where = source_->name(item),
        .expected = "a label",
        .got = "none",
        .hint = "Open the data as labelled: a list with labels, or a folder of class folders"});
}

void Loader::Impl::make_sample(int64_t sample, Workspace& workspace, Slot& slot) const {
  const int64_t item = sampler_.item(sample);
  if (options_.want_labels) {
    slot.labels[static_cast<size_t>((sample - start_) % options_.batch)] =
        static_cast<int32_t>(label_of(item));
  }
  const int64_t length = source_->length(item);
  int64_t first = centre_start(length, options_.frames);
  if (options_.random_start) {
    Draws draws(random_stream(options_.seed, "loader.start"), sample);
    first = draws.below(std::max<int64_t>(1, length - options_.frames + 1));
  }
  const ClipRange range{
      .item = item, .first = first, .count = options_.frames, .want_truth = options_.want_truth};
  const auto geometry_of = [&](const Image& frame) {
    return draw_geometry(options_.geometry, frame.size(), random_stream(options_.seed, "loader.geometry"),
                         sample);
  };
  if (!options_.want_truth) {
    const std::vector<FramePtr> frames = source_->borrow(range);
    const int64_t place = (sample - start_) % options_.batch;
    write_clip(geometry_of(*frames.front()), frames, workspace.resized,
               slot.frames.data() + place * frame_values());
    return;
  }
  Clip& clip = workspace.clip;
  source_->read(range, clip);
  apply_geometry(geometry_of(clip.frames.front()), clip, workspace.scratch);
  write_sample((sample - start_) % options_.batch, clip, slot);
}

void Loader::Impl::write_sample(int64_t place, const Clip& clip, Slot& slot) const {
  const int64_t channels = 3 * options_.frames;
  for (int64_t k = 0; k < options_.frames; ++k) {
    const uint8_t* in = clip.frames[static_cast<size_t>(k)].pixels.data();
    uint8_t* out = slot.frames.data() + place * frame_values() + 3 * k;
    for (int64_t p = 0; p < pixels(); ++p, in += 3, out += channels) {
      out[0] = in[0];
      out[1] = in[1];
      out[2] = in[2];
    }
  }
  if (!options_.want_truth) return;
  float* truth = slot.truth.data() + place * truth_values();
  if (clip.truth.empty()) {
    std::fill(truth, truth + truth_values(), kUnknownFlow);
    return;
  }
  const int64_t truth_channels = 2 * (options_.frames - 1);
  for (int64_t k = 0; k < options_.frames - 1; ++k) {
    const float* in = clip.truth[static_cast<size_t>(k)].uv.data();
    float* out = truth + 2 * k;
    for (int64_t p = 0; p < pixels(); ++p, in += 2, out += truth_channels) {
      out[0] = in[0];
      out[1] = in[1];
    }
  }
}

Loader::Loader(SourcePtr source, const LoaderOptions& options) {
  check_options(options);
  if (options.want_truth && source->channels() != 3) {
    fail(ErrorKind::usage, {.where = "loader",
                            .expected = "frames, of which true flow is wanted",
                            .got = "stored flow instead of frames"});
  }
  impl_ = std::make_unique<Impl>(std::move(source), options);
}
Loader::~Loader() = default;
Batch Loader::next() { return impl_->next(); }
void Loader::seek(int64_t sample) { impl_->seek(sample); }
int64_t Loader::position() const { return impl_->position(); }
int64_t Loader::samples_per_epoch() const { return impl_->samples_per_epoch(); }

}  // namespace millrace
