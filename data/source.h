// Where clips come from: video files, folders of frames, or the synthetic source, all behind one interface.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/flow.h"
#include "data/image.h"
#include "data/lists.h"

namespace millrace {

// Consecutive frames of one item (a video, a folder of frames, one synthetic motion).
struct ClipRange {
  int64_t item = 0;
  int64_t first = 0;  // frame, from 0
  int64_t count = 0;
  bool want_truth = false;  // when the source has it
};

struct Clip {
  std::vector<Image> frames;  // `count`, all of one size and of ClipSource::channels()
  std::vector<Flow> truth;    // `count - 1` where wanted and there is truth: frame k to k + 1; else empty
};

using FramePtr = std::shared_ptr<const Image>;

// All functions may be called from several threads at once. Errors name the file and are of kind data.
class ClipSource {
 public:
  virtual ~ClipSource() = default;

  virtual int64_t size() const = 0;  // number of items, at least 1
  // Every item number is a new item, and size() only says how many make an epoch.
  virtual bool endless() const { return false; }
  virtual bool has_truth() const { return false; }
  virtual std::string name(int64_t item) const = 0;  // short, unlike the others; fits as a folder's name
  // Where the item lies on disk; empty where it does not.
  virtual std::string path(int64_t) const { return {}; }
  // Of a frame: 3, B G R; or 2 where the frames are flow, u and v as bytes (SourceOptions::flow).
  virtual int64_t channels() const { return 3; }
  // The class of an item, from 0, and the classes' names by label; none where the source has no labels.
  virtual std::optional<int64_t> label(int64_t) const { return std::nullopt; }
  virtual const std::vector<std::string>& classes() const;
  // In frames, exact. May have to decode the item.
  virtual int64_t length(int64_t item) const = 0;
  // Frames per second as the file has it, for people; 0 where it is not known. Costs as much as length().
  virtual double rate(int64_t) const { return 0; }
  // The same without decoding: of a video the compressed frames in its file, which are seldom another number.
  virtual int64_t claimed_length(int64_t item) const { return length(item); }
  // Fills `clip`, reusing its memory. Frames past the end of an item repeat the last one; flow into or
  // between repeated frames is unknown.
  virtual void read(const ClipRange& range, Clip& clip) const = 0;

  // The same frames without truth, shared with the source where it has them in memory, for who does not
  // change them.
  virtual std::vector<FramePtr> borrow(const ClipRange& range) const;

  Clip read(const ClipRange& range) const {
    Clip clip;
    read(range, clip);
    return clip;
  }
};

// Brings a clip that ran out of frames or truth to what `range` asks for, as ClipSource::read promises.
void pad_clip(const ClipRange& range, Clip& clip);

using SourcePtr = std::shared_ptr<const ClipSource>;

struct SourceOptions {
  std::string spec = {};  // see open_source
  // Of lists: where their paths begin (empty: the list's own folder), and whether entries whose files are
  // missing, or whose folders hold another number of frames than the list says, are left out with a warning
  // instead of being an error.
  std::string data_root = {};
  bool skip_missing = false;
  // Every item has a label, or it is an error that says what is missing. Where labels come from:
  //   a list                    its numbers, or the folders of its paths (number_labels in data/lists.h)
  //   hmdb51:, Kinetics' CSV    the classes in them
  //   a folder                  the first folder below it is the class
  // and the classes' names from, in this order,
  //   class_names               by label: of a training, so that what it is tested on is numbered alike
  //   classes_file              classInd.txt or names alone, data/lists.h
  //   classInd.txt              beside a list
  //   the folders               in the alphabet's order
  //   the labels themselves     "0", "1", ...
  bool labelled = false;
  std::vector<std::string> class_names = {};
  std::string classes_file = {};
  LabelBase label_base = LabelBase::automatic;  // how a list counts
  // Items are folders of stored flow instead of videos: JPEG pairs or .flo or KITTI files as motionnet-flow
  // writes them (data/flow_source.h); a clip's frames are flow then, as bytes, and lengths count flows.
  // `flow_bound`, pixels, is what the bytes 0 and 255 mean.
  bool flow = false;
  double flow_bound = 20;
  // Items with fewer frames are left out with a warning, and so are broken ones; none left is an error. A
  // broken file that is named itself is an error.
  int64_t min_frames = 1;
  // Decoded frames kept in memory, so that several clips are drawn from one decoding.
  int64_t cache_bytes = int64_t{512} << 20;
  // Frames are resized to this when decoded, averaging over what a pixel covers (resize_area), before they
  // are kept: for video much larger than the network. 0x0: as they are.
  Size frame_size = {};
  std::function<void(const std::string&)> warn = {};  // default: log_warning
  // Is told of each item that is left out because it is broken or too short, beside `warn`.
  std::function<void(const std::string& path, const std::string& reason)> left_out = {};
  // Of lists: is told of each entry that skip_missing leaves out.
  std::function<void(const std::string& path, const std::string& reason)> skipped = {};
  // Is told how many of the items on disk have been looked at, from 0 to all: opening each takes a while.
  std::function<void(int64_t done, int64_t total)> progress = {};
};

// `spec` is one of
//   synthetic:key=value,...  see data/synthetic.h
//   a video file
//   a folder of frames       prefix, number, .jpg, .jpeg, .png or .ppm: img_%05d, image_%04d, frame%06d, ...
//                            numbers from any start without a gap; a flow<number>.flo beside a frame is the
//                            true flow to the next
//   a folder of these        searched to depth 4; by path, a folder's videos before the folders in it
//   a list of these          .txt, .lst or .list, see data/lists.h; in the list's order. `Class/x.avi` below
//   the
//                            root may also be the folder of frames `Class/x`, or either without `Class/`, and
//                            differ in upper and lower case. The number of frames is checked for folders
//   hmdb51:FOLDER,split=1,part=train  the lists of HMDB51 in FOLDER
//   Kinetics' CSV            .csv, see data/lists.h
SourcePtr open_source(const SourceOptions& options);

// Is it a list, by its name? Only then data_root and skip_missing mean something.
bool is_list_spec(const std::string& spec);

// Part of another source: some of its items, in this order; or of every item some frames.
SourcePtr take_items(SourcePtr source, std::vector<int64_t> items);
// Splits every item: all but the last `held_out` frames, and those. An item of fewer frames stays whole in
// the first and is left out of the second (which is an error when none is left).
SourcePtr without_last_frames(SourcePtr source, int64_t held_out);
SourcePtr last_frames(SourcePtr source, int64_t held_out);

// Items that have fewer frames than a clip, whose last frame is therefore repeated; by claimed_length.
int64_t short_items(const ClipSource& source, int64_t frames);

// First frame of the clip of `frames` that validation takes from an item of `length`: (length - frames + 1) /
// 2, and 0 when the item is shorter.
constexpr int64_t centre_start(int64_t length, int64_t frames) {
  return length > frames ? (length - frames + 1) / 2 : 0;
}

}  // namespace millrace
