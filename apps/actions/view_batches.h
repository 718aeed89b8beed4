// The views of many videos as batches for networks, prepared by threads ahead of their use.
//
// A batch is filled across videos: none waits for a video's end, and only the last ones of each stream may be
// partial. Each video's clips are read in the order of their beginnings, so that it is decoded once. Which
// views share a batch depends on the threads' timing; what a view holds does not.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "data/geometry.h"
#include "data/source.h"

namespace millrace {

// What is written into a batch of a clip, and how often it counts: crops that are equal are written once.
struct ViewInput {
  ClipGeometry geometry;
  int64_t weight = 1;
};

// How one stream takes videos. Called by several threads at once.
class ViewFormat {
 public:
  virtual ~ViewFormat() = default;
  virtual int64_t frames() const = 0;  // T of a clip
  virtual int64_t bytes() const = 0;   // of one input
  virtual int64_t batch() const = 0;   // inputs of one batch
  // Of a clip whose frames have this size; all are resized to the same before they are cut.
  virtual std::vector<ViewInput> inputs(Size frame) const = 0;
  // `clip`: T frames that have the input's `geometry.resized` already.
  virtual void write(const std::vector<FramePtr>& clip, const ViewInput& input, std::vector<Image>& scratch,
                     uint8_t* out) const = 0;
};

struct StreamOfViews {
  SourcePtr source;
  std::shared_ptr<const ViewFormat> format;
  int64_t clips = 25;  // of a video
};

// One video: the item of each stream's source.
struct VideoItems {
  std::vector<int64_t> items;
};

// What is computed of a video for one stream. View v is input v % inputs of clip v / inputs.
struct VideoPlan {
  int64_t length = 0;                 // frames of the source
  std::vector<int64_t> starts;        // of clips that differ
  std::vector<int64_t> clip_weights;  // how many of the clips each of them is
  std::vector<ViewInput> inputs;      // of each clip
  int64_t views() const { return static_cast<int64_t>(starts.size() * inputs.size()); }
};

struct ViewBatch {
  int64_t stream = 0;
  int64_t count = 0;
  const uint8_t* bytes = nullptr;  // count x ViewFormat::bytes()
  struct View {
    int64_t video = 0;
    int64_t view = 0;
  };
  std::vector<View> views;  // count
  int64_t buffer = 0;       // for give_back
};

// A video that could not be read; views of it that came before count for nothing, and none comes after.
struct BrokenVideo {
  int64_t video = 0;
  std::exception_ptr error;
};

struct ViewBatchOptions {
  int64_t threads = 1;
  int64_t buffers = 3;  // of each stream: one is computed, one waits, one is being filled
};

// Used by one thread.
class ViewBatches {
 public:
  ViewBatches(std::vector<StreamOfViews> streams, std::vector<VideoItems> videos,
              const ViewBatchOptions& options);
  ~ViewBatches();  // stops the threads, wherever they are
  ViewBatches(const ViewBatches&) = delete;
  ViewBatches& operator=(const ViewBatches&) = delete;

  // Either is set; neither at the end. Waits.
  struct Event {
    std::optional<ViewBatch> batch;
    std::optional<BrokenVideo> broken;
    bool end() const { return !batch && !broken; }
  };
  Event next();
  // Its memory may be filled anew.
  void give_back(const ViewBatch& batch);
  // Known once a view of the video has come.
  const VideoPlan& plan(int64_t video, int64_t stream) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The clips of a video that differ, and how many each of them is. Errors (data): no frame.
VideoPlan plan_clips(int64_t length, int64_t frames, int64_t clips);
// Equal ones become one.
std::vector<ViewInput> distinct_inputs(const std::vector<ClipGeometry>& crops);

}  // namespace millrace
