// Runs the views of windows of a video through the streams, in batches that go on from window to window.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "apps/actions/predict_streams.h"
#include "apps/actions/timeline.h"
#include "data/views.h"

namespace millrace {

// A video, and its stored flow where a stream reads that.
struct Footage {
  SourcePtr frames, flow = nullptr;
  int64_t item = 0, flow_item = 0;
};

// What was seen: a view's frame in the middle of its clip, as the network was shown it, and the flow to the
// next, on a grid of its own.
struct SeenFrame {
  int64_t number = 0;  // in the video, from 0
  Image frame;
  std::optional<Flow> flow;
};

struct WindowLogits {
  FrameWindow window;
  std::vector<std::vector<float>> logits;  // by stream: mean over the views, the classes as the first's
  std::vector<SeenFrame> seen;
};

class ViewRunner {
 public:
  using Sink = std::function<void(WindowLogits&&)>;
  struct Options {
    int64_t clips = 5, crops = 1;
  };
  // A recogniser for each stream, in the same order.
  ViewRunner(const std::vector<StreamFile>& streams,
             const std::vector<std::unique_ptr<Recognizer>>& recognizers, Options options);

  // Windows come to `sink` in the order that they are added in, some only in finish(). `pictures`: of so many
  // of its clips, spread over the window, the centre is kept as seen.
  void add(const Footage& footage, const FrameWindow& window, int64_t pictures, const Sink& sink);
  void finish();
  // Forgets what was added and did not come to a sink: a video broke in between.
  void clear();

 private:
  struct Pending;  // a window whose views are not all computed
  struct Slot {    // a view in the batch
    std::shared_ptr<Pending> of;
    double weight = 0;
    std::optional<size_t> seen;  // whose flow is to be kept
  };
  struct Batch {
    std::vector<uint8_t> clips;
    std::vector<Slot> slots;
  };
  struct Clip;  // of a stream

  std::vector<Clip> clips_of(const FrameWindow& window, int64_t pictures) const;
  void add_clip(const Footage& footage, const Clip& clip, const std::shared_ptr<Pending>& pending);
  void keep_seen(const Footage& footage, const Clip& clip, const ClipGeometry& geometry, Pending& pending);
  void run(size_t stream);
  void deliver();

  const std::vector<StreamFile>& streams_;
  const std::vector<std::unique_ptr<Recognizer>>& recognizers_;
  Options options_;
  std::vector<Batch> batches_;  // by stream
  std::deque<std::shared_ptr<Pending>> windows_;
  std::vector<Image> scratch_;
};

}  // namespace millrace
