#include "data/files_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "data/flow_files.h"
#include "data/flow_folder.h"
#include "data/frame_cache.h"
#include "data/frame_folder.h"
#include "data/labelling.h"
#include "data/video.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// So few videos are decoded when opened, which gives their exact lengths; of more only the compressed frames
// are counted.
constexpr size_t kDecodedAtOpening = 4;
// A video is kept whole when at least this many like it fit into the cache; else in parts of about
// kPartBytes.
constexpr int64_t kWholeVideos = 2;
constexpr int64_t kPartBytes = int64_t{16} << 20;

struct Item : FileItem {
  int64_t key = 0;             // in the cache; stays when other items are left out
  int64_t claimed_length = 0;  // when opened; 0: only decoding tells
  // Of a video, known once it was decoded for the first time.
  mutable std::mutex mutex;
  mutable std::optional<VideoIndex> index;
};
using Items = std::vector<std::unique_ptr<Item>>;

class FilesSource final : public ClipSource {
 public:
  FilesSource(const SourceOptions& options, Items items, std::vector<std::string> classes)
      : options_(options),
        items_(std::move(items)),
        classes_(std::move(classes)),
        cache_(options.cache_bytes) {}

  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  bool has_truth() const override {
    return std::any_of(items_.begin(), items_.end(),
                       [](const auto& item) { return item->folder && item->folder->has_truth(); });
  }
  std::string name(int64_t item) const override { return at(item).name; }
  std::string path(int64_t item) const override { return at(item).path.string(); }
  int64_t channels() const override { return options_.flow ? 2 : 3; }
  std::optional<int64_t> label(int64_t item) const override { return at(item).label; }
  const std::vector<std::string>& classes() const override { return classes_; }
  int64_t claimed_length(int64_t item) const override {
    return at(item).claimed_length > 0 ? at(item).claimed_length : length(item);
  }
  int64_t length(int64_t item) const override {
    const Item& found = at(item);
    return found.folder ? static_cast<int64_t>(found.folder->frames.size()) : index_of(item).frames;
  }
  double rate(int64_t item) const override { return at(item).folder ? 0 : index_of(item).rate; }
  void read(const ClipRange& range, Clip& clip) const override;
  std::vector<FramePtr> borrow(const ClipRange& range) const override;

  // These only before others know this source.
  void claim_length(int64_t item, int64_t length) {
    items_[static_cast<size_t>(item)]->claimed_length = length;
  }
  void keep(const std::vector<bool>& kept);  // leaves out the others

 private:
  const Item& at(int64_t item) const { return *items_.at(static_cast<size_t>(item)); }
  Size kept_size(Size size) const { return options_.frame_size == Size{} ? size : options_.frame_size; }
  int64_t frames_in_part(const VideoIndex& index) const;
  const VideoIndex& index_of(int64_t item) const;
  Frames video_part(int64_t item, int64_t part) const;
  Frames folder_frame(int64_t item, int64_t frame) const;
  void keep_frame(Image& image, std::vector<Image>& frames) const;
  Flow truth_of(const Item& item, int64_t frame, Size size) const;

  SourceOptions options_;
  Items items_;
  std::vector<std::string> classes_;
  mutable FrameCache cache_;
};

void FilesSource::keep(const std::vector<bool>& kept) {
  Items rest;
  for (size_t k = 0; k < items_.size(); ++k) {
    if (kept[k]) rest.push_back(std::move(items_[k]));
  }
  items_ = std::move(rest);
}

void FilesSource::keep_frame(Image& image, std::vector<Image>& frames) const {
  const Size size = kept_size(image.size());
  frames.push_back(size == image.size() ? std::move(image) : resize_area(image, size));
}

int64_t FilesSource::frames_in_part(const VideoIndex& index) const {
  const Size size = kept_size(index.size);
  const int64_t frame_bytes = 3 * size.height * size.width;
  if (index.frames <= options_.cache_bytes / kWholeVideos / frame_bytes) return index.frames;
  return std::clamp<int64_t>(kPartBytes / frame_bytes, 8, index.frames);
}

// The first decoding finds the number of frames, and its frames go into the cache when the video is kept
// whole.
const VideoIndex& FilesSource::index_of(int64_t item) const {
  const Item& video = at(item);
  const std::lock_guard lock(video.mutex);
  if (video.index) return *video.index;
  std::vector<Image> frames;
  int64_t bytes = 0;
  const int64_t limit = options_.cache_bytes / kWholeVideos;
  VideoIndex index = index_video(video.path.string(), [&](int64_t, Image& image) {
    if (bytes > limit) return;
    keep_frame(image, frames);
    bytes += static_cast<int64_t>(frames.back().pixels.size());
    if (bytes > limit) frames = {};
  });
  for (const std::string& warning : index.warnings)
    options_.warn(fmt::format("[{}] {}", video.path.string(), warning));
  video.index = std::move(index);
  if (!frames.empty() && frames_in_part(*video.index) == video.index->frames) {
    cache_.get({video.key, 0}, [&] { return std::move(frames); });
  }
  return *video.index;
}

Frames FilesSource::video_part(int64_t item, int64_t part) const {
  const VideoIndex& index = index_of(item);
  return cache_.get({at(item).key, part}, [&] {
    const int64_t length = frames_in_part(index), first = part * length;
    std::vector<Image> frames;
    decode_video(at(item).path.string(), index,
                 {.first = first, .count = std::min(length, index.frames - first)},
                 [&](int64_t, Image& image) { keep_frame(image, frames); });
    return frames;
  });
}

Frames FilesSource::folder_frame(int64_t item, int64_t frame) const {
  return cache_.get({at(item).key, frame}, [&] {
    Image image = cache_.spare();
    const FrameFolder& folder = *at(item).folder;
    if (folder.kind == FrameKind::image)
      read_image(folder.frames[static_cast<size_t>(frame)].string(), image);
    else
      read_flow_bytes(folder, static_cast<size_t>(frame), options_.flow_bound, image);
    std::vector<Image> frames;
    keep_frame(image, frames);
    return frames;
  });
}

Flow FilesSource::truth_of(const Item& item, int64_t frame, Size size) const {
  if (item.folder && !item.folder->truth[static_cast<size_t>(frame)].empty()) {
    const std::string path = item.folder->truth[static_cast<size_t>(frame)].string();
    Flow flow = read_flow(path);
    if (options_.frame_size != Size{}) flow = resize_flow(flow, size);
    if (flow.size() == size) return flow;
    fail(ErrorKind::data,
         {.where = path,
          .expected = fmt::format("flow of the frame's {}x{} pixels", size.width, size.height),
          .got = fmt::format("{}x{}", flow.width, flow.height)});
  }
  Flow unknown;
  unknown.reshape(size);
  std::fill(unknown.uv.begin(), unknown.uv.end(), kUnknownFlow);
  return unknown;
}

std::vector<FramePtr> FilesSource::borrow(const ClipRange& range) const {
  const Item& item = at(range.item);
  const int64_t frames = length(range.item);
  const int64_t first = std::clamp<int64_t>(range.first, 0, frames - 1);
  const int64_t count = std::min(range.count, frames - first);
  const int64_t part_frames = item.folder ? 1 : frames_in_part(index_of(range.item));
  std::vector<FramePtr> clip;
  Frames part;
  for (int64_t frame = first; frame < first + count; ++frame) {
    if (!part || frame % part_frames == 0) {
      part = item.folder ? folder_frame(range.item, frame) : video_part(range.item, frame / part_frames);
    }
    const Image& image = (*part)[static_cast<size_t>(frame % part_frames)];
    clip.emplace_back(part, &image);
    const Size size = clip.front()->size();
    if (image.size() != size) {
      fail(ErrorKind::data,
           {.where = item.folder->frames[static_cast<size_t>(frame)].string(),
            .expected = fmt::format("{}x{} pixels as the frames before", size.width, size.height),
            .got = fmt::format("{}x{}", image.width, image.height)});
    }
  }
  clip.resize(static_cast<size_t>(std::max(range.count, count)), clip.back());
  return clip;
}

void FilesSource::read(const ClipRange& range, Clip& clip) const {
  const std::vector<FramePtr> frames = borrow(range);
  clip.frames.resize(frames.size());
  for (size_t k = 0; k < frames.size(); ++k) clip.frames[k] = *frames[k];
  clip.truth.clear();
  const int64_t last = length(range.item) - 1, first = std::clamp<int64_t>(range.first, 0, last);
  const int64_t pairs = std::min(range.count - 1, last - first);
  for (int64_t k = 0; range.want_truth && k < pairs; ++k)
    clip.truth.push_back(truth_of(at(range.item), first + k, clip.frames.front().size()));
  pad_clip(range, clip);
}

// What is known of an item's length without much work; throws when it is broken.
int64_t known_length(const FilesSource& source, int64_t item, const fs::path& video, bool decode) {
  return video.empty() || decode ? source.length(item) : count_video_packets(video.string());
}

void leave_out_short(const SourceOptions& options, const std::vector<fs::path>& videos, FilesSource& source) {
  const int64_t count = source.size();
  const bool decode = static_cast<size_t>(count) <= kDecodedAtOpening;
  std::vector<bool> kept(static_cast<size_t>(count), false);
  const auto tell = [&](int64_t done) {
    if (options.progress) options.progress(done, count);
  };
  int64_t longest = 0;
  tell(0);
  for (int64_t item = 0; item < count; ++item) {
    try {
      const int64_t length = known_length(source, item, videos[static_cast<size_t>(item)], decode);
      longest = std::max(longest, length);
      source.claim_length(item, length);
      kept[static_cast<size_t>(item)] = length >= options.min_frames;
      if (length < options.min_frames && count > 1) {
        leave_out(options, source.path(item),
                  fmt::format("[{}] has {} frame{}, {} are needed", source.name(item), length,
                              length == 1 ? "" : "s", options.min_frames));
      }
    } catch (const Error& broken) {
      if (count == 1) throw;
      leave_out(options, source.path(item), broken.what());
    }
    tell(item + 1);
  }
  if (std::none_of(kept.begin(), kept.end(), [](bool k) { return k; })) {
    fail(ErrorKind::data,
         {.where = options.spec,
          .expected = fmt::format("a video of at least {} frames", options.min_frames),
          .got = longest == 0 ? "none that can be read" : fmt::format("at most {}", longest)});
  }
  if (std::any_of(kept.begin(), kept.end(), [](bool k) { return !k; })) source.keep(kept);
}

void warn_of_other_bounds(const SourceOptions& options, const std::vector<FileItem>& items) {
  const auto other = [&](const FileItem& item) {
    return item.folder && item.folder->flow_bound && *item.folder->flow_bound != options.flow_bound;
  };
  if (const auto count = std::count_if(items.begin(), items.end(), other); count > 0) {
    options.warn(fmt::format(
        "[{}] flow.json has another bound than {} in {} of {} folders; their bytes are brought to {}",
        options.spec, options.flow_bound, count, items.size(), options.flow_bound));
  }
}

}  // namespace

std::optional<FrameFolder> frames_in(const SourceOptions& options, const fs::path& folder) {
  return options.flow ? list_flow(folder) : list_frames(folder);
}

void leave_out(const SourceOptions& options, const fs::path& path, const std::string& reason) {
  options.warn(reason + "; left out");
  if (options.left_out) options.left_out(path.string(), reason);
}

SourcePtr open_items(const SourceOptions& options, std::vector<FileItem> found,
                     std::vector<std::string> classes) {
  warn_of_other_bounds(options, found);
  Items items;
  std::vector<fs::path> videos;  // empty for folders of frames
  for (FileItem& item : found) {
    videos.push_back(item.folder ? fs::path() : item.path);
    items.push_back(std::make_unique<Item>());
    static_cast<FileItem&>(*items.back()) = std::move(item);
    items.back()->key = static_cast<int64_t>(items.size()) - 1;
  }
  auto source = std::make_shared<FilesSource>(options, std::move(items), std::move(classes));
  leave_out_short(options, videos, *source);
  return source;
}

SourcePtr open_files(const SourceOptions& options) {
  std::vector<FileItem> items = list_files(options);
  std::vector<std::string> classes;
  if (options.labelled) classes = label_items(options, items);
  return open_items(options, std::move(items), std::move(classes));
}

}  // namespace millrace
