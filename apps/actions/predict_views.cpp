#include "apps/actions/predict_views.h"

#include <algorithm>
#include <utility>

#include "apps/actions/view_batches.h"
#include "data/flow_jpeg.h"

namespace millrace {
namespace {

// Where view_crops has the whole frames' centre.
size_t centre_of(int64_t crops) { return crops >= 5 ? 2 : 0; }

// The network's view of stored flow, two bytes a pixel, in pixels of flow.
Flow flow_of_bytes(const std::vector<uint8_t>& bytes, Size size, double bound) {
  Flow flow;
  flow.reshape(size);
  for (size_t p = 0; p < flow.uv.size(); ++p) flow.uv[p] = byte_to_flow(bytes[p], {.bound = bound});
  return flow;
}

}  // namespace

struct ViewRunner::Pending {
  WindowLogits result;                    // whose logits are made of these sums in the end
  std::vector<std::vector<double>> sums;  // by stream
  int64_t waiting = 0;                    // views, and one while it is filled
  Sink sink;
};

struct ViewRunner::Clip {
  size_t stream = 0;
  int64_t first = 0;  // frame of the video, or flow
  double share = 0;   // of the window's clips
  bool picture = false;
};

ViewRunner::ViewRunner(const std::vector<StreamFile>& streams,
                       const std::vector<std::unique_ptr<Recognizer>>& recognizers, Options options)
    : streams_(streams), recognizers_(recognizers), options_(options), batches_(streams.size()) {}

// Of all streams by their first frame, so that what is decoded for one serves the other. Pictures are of the
// last stream, which sees motion where one does.
std::vector<ViewRunner::Clip> ViewRunner::clips_of(const FrameWindow& window, int64_t pictures) const {
  std::vector<Clip> clips;
  for (size_t s = 0; s < streams_.size(); ++s) {
    const StreamSpec& spec = streams_[s].spec;
    // Between n frames there are n - 1 flows.
    const int64_t length = window.frames() - (spec.kind == StreamKind::temporal ? 1 : 0);
    const VideoPlan plan = plan_clips(std::max<int64_t>(1, length), clip_frames(spec), options_.clips);
    const auto count = static_cast<int64_t>(plan.starts.size());
    for (int64_t k = 0; k < count; ++k) {
      // The k-th of n is one of m that are spread evenly when it is the first of its m-th part.
      const bool picture = s + 1 == streams_.size() && k * pictures / count != (k - 1) * pictures / count;
      clips.push_back({.stream = s,
                       .first = window.first + plan.starts[static_cast<size_t>(k)],
                       .share = static_cast<double>(plan.clip_weights[static_cast<size_t>(k)]) /
                                static_cast<double>(options_.clips),
                       .picture = pictures > 0 && (picture || (k == 0 && s + 1 == streams_.size()))});
    }
  }
  std::stable_sort(clips.begin(), clips.end(),
                   [](const Clip& a, const Clip& b) { return a.first < b.first; });
  return clips;
}

void ViewRunner::add(const Footage& footage, const FrameWindow& window, int64_t pictures, const Sink& sink) {
  const auto pending = std::make_shared<Pending>();
  pending->result.window = window;
  pending->sink = sink;
  for (const StreamFile& stream : streams_) pending->sums.emplace_back(stream.labels.size(), 0);
  pending->waiting = 1;
  windows_.push_back(pending);
  for (const Clip& clip : clips_of(window, pictures)) add_clip(footage, clip, pending);
  --pending->waiting;
  deliver();
}

void ViewRunner::add_clip(const Footage& footage, const Clip& clip, const std::shared_ptr<Pending>& pending) {
  const StreamSpec& spec = streams_[clip.stream].spec;
  Recognizer& recognizer = *recognizers_[clip.stream];
  Batch& batch = batches_[clip.stream];
  const bool flow = spec.kind == StreamKind::temporal;
  const ClipRange range = {flow ? footage.flow_item : footage.item, clip.first, clip_frames(spec)};
  const std::vector<FramePtr> frames = (flow ? footage.flow : footage.frames)->borrow(range);
  const auto crops = view_crops(options_.crops, frames.front()->size(),
                                ViewOptions{.resize = spec.resize, .network = spec.input});
  const ClipGeometry centre = crops[centre_of(options_.crops)];
  for (const auto& [geometry, times] : distinct_inputs(crops)) {
    const size_t at = batch.clips.size();
    batch.clips.resize(at + static_cast<size_t>(recognizer.clip_bytes()));
    write_clip(geometry, frames, scratch_, batch.clips.data() + at);
    Slot slot{.of = pending,
              .weight = clip.share * static_cast<double>(times) / static_cast<double>(options_.crops),
              .seen = {}};
    if (clip.picture && geometry == centre) {
      slot.seen = pending->result.seen.size();
      keep_seen(footage, clip, geometry, *pending);
    }
    batch.slots.push_back(std::move(slot));
    ++pending->waiting;
    if (std::ssize(batch.slots) == recognizer.batch()) run(clip.stream);
  }
}

void ViewRunner::keep_seen(const Footage& footage, const Clip& clip, const ClipGeometry& geometry,
                           Pending& pending) {
  const StreamSpec& spec = streams_[clip.stream].spec;
  SeenFrame seen;
  seen.number = clip.first + (clip_frames(spec) - 1) / 2;
  ClipGeometry whole = geometry;
  const std::vector<FramePtr> frame = footage.frames->borrow({footage.item, seen.number, 1});
  if (spec.kind == StreamKind::temporal) {
    const std::vector<FramePtr> flow = footage.flow->borrow({footage.flow_item, seen.number, 1});
    std::vector<uint8_t> bytes(static_cast<size_t>(2 * spec.input.height * spec.input.width));
    write_clip(geometry, flow, scratch_, bytes.data());
    seen.flow = flow_of_bytes(bytes, spec.input, spec.flow_bound);
    // Stored flow may have another size than the video.
    const auto crops = view_crops(1, frame.front()->size(), {.resize = spec.resize, .network = spec.input});
    if (frame.front()->size() != flow.front()->size()) whole = crops.front();
  }
  seen.frame.reshape(spec.input, 3);
  write_clip(whole, frame, scratch_, seen.frame.pixels.data());
  pending.result.seen.push_back(std::move(seen));
}

void ViewRunner::run(size_t stream) {
  Batch& batch = batches_[stream];
  if (batch.slots.empty()) return;
  Recognizer& recognizer = *recognizers_[stream];
  const std::vector<float> logits = recognizer.run(batch.clips.data(), std::ssize(batch.slots));
  const std::vector<size_t>& labels = streams_[stream].labels;
  for (size_t k = 0; k < batch.slots.size(); ++k) {
    const Slot& slot = batch.slots[k];
    std::vector<double>& sum = slot.of->sums[stream];
    for (size_t c = 0; c < labels.size(); ++c)
      sum[c] += slot.weight * double{logits[k * labels.size() + labels[c]]};
    if (slot.seen) {
      const std::vector<Flow> flows = recognizer.flows(static_cast<int64_t>(k));
      if (!flows.empty()) slot.of->result.seen[*slot.seen].flow = flows[(flows.size() - 1) / 2];
    }
    --slot.of->waiting;
  }
  batch.clips.clear();  // and keep the memory
  batch.slots.clear();
}

void ViewRunner::deliver() {
  while (!windows_.empty() && windows_.front()->waiting == 0) {
    const std::shared_ptr<Pending> done = windows_.front();
    windows_.pop_front();
    for (const std::vector<double>& sum : done->sums)
      done->result.logits.emplace_back(sum.begin(), sum.end());
    done->sink(std::move(done->result));
  }
}

void ViewRunner::finish() {
  for (size_t s = 0; s < batches_.size(); ++s) run(s);
  deliver();
}

void ViewRunner::clear() {
  for (Batch& batch : batches_) batch = {};
  windows_.clear();
}

}  // namespace millrace
