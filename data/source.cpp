#include "data/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/log.h"
#include "data/files_source.h"
#include "data/list_source.h"
#include "data/synthetic.h"

namespace millrace {
namespace {

// Some items of another source.
class ItemSubset final : public ClipSource {
 public:
  ItemSubset(SourcePtr source, std::vector<int64_t> items)
      : source_(std::move(source)), items_(std::move(items)) {
    for (const int64_t item : items_) {
      if (item < 0 || (!source_->endless() && item >= source_->size())) {
        fail(ErrorKind::data, {.where = "take_items",
                               .expected = fmt::format("items from 0 to {}", source_->size() - 1),
                               .got = std::to_string(item)});
      }
    }
    if (items_.empty())
      fail(ErrorKind::data, {.where = "take_items", .expected = "at least one item", .got = "none"});
  }

  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  bool has_truth() const override { return source_->has_truth(); }
  std::string name(int64_t item) const override { return source_->name(inner(item)); }
  std::string path(int64_t item) const override { return source_->path(inner(item)); }
  int64_t channels() const override { return source_->channels(); }
  std::optional<int64_t> label(int64_t item) const override { return source_->label(inner(item)); }
  const std::vector<std::string>& classes() const override { return source_->classes(); }
  int64_t length(int64_t item) const override { return source_->length(inner(item)); }
  double rate(int64_t item) const override { return source_->rate(inner(item)); }
  int64_t claimed_length(int64_t item) const override { return source_->claimed_length(inner(item)); }
  void read(const ClipRange& range, Clip& clip) const override {
    ClipRange inside = range;
    inside.item = inner(range.item);
    source_->read(inside, clip);
  }
  std::vector<FramePtr> borrow(const ClipRange& range) const override {
    ClipRange inside = range;
    inside.item = inner(range.item);
    return source_->borrow(inside);
  }

 private:
  int64_t inner(int64_t item) const { return items_.at(static_cast<size_t>(item)); }

  SourcePtr source_;
  std::vector<int64_t> items_;
};

// Of every item the first or the last frames.
enum class Part { without_last, last };

class FramePart final : public ClipSource {
 public:
  FramePart(SourcePtr source, Part part, int64_t held_out)
      : source_(std::move(source)), part_(part), held_out_(held_out) {}

  int64_t size() const override { return source_->size(); }
  bool endless() const override { return source_->endless(); }
  bool has_truth() const override { return source_->has_truth(); }
  std::string name(int64_t item) const override { return source_->name(item); }
  std::string path(int64_t item) const override { return source_->path(item); }
  int64_t channels() const override { return source_->channels(); }
  std::optional<int64_t> label(int64_t item) const override { return source_->label(item); }
  const std::vector<std::string>& classes() const override { return source_->classes(); }
  int64_t length(int64_t item) const override {
    const int64_t whole = source_->length(item);
    if (part_ == Part::last) return held_out_;
    return whole > held_out_ ? whole - held_out_ : whole;
  }
  double rate(int64_t item) const override { return source_->rate(item); }
  void read(const ClipRange& range, Clip& clip) const override {
    source_->read(inside(range), clip);
    pad_clip(range, clip);
  }
  std::vector<FramePtr> borrow(const ClipRange& range) const override {
    std::vector<FramePtr> frames = source_->borrow(inside(range));
    frames.resize(static_cast<size_t>(range.count), frames.back());
    return frames;
  }

 private:
  ClipRange inside(const ClipRange& range) const {
    const int64_t frames = length(range.item);
    const int64_t start = part_ == Part::last ? source_->length(range.item) - held_out_ : 0;
    ClipRange inside = range;
    inside.first = start + std::min(range.first, frames - 1);
    inside.count = std::min(range.count, start + frames - inside.first);
    return inside;
  }

  SourcePtr source_;
  Part part_;
  int64_t held_out_;
};

}  // namespace

const std::vector<std::string>& ClipSource::classes() const {
  static const std::vector<std::string> none;
  return none;
}

std::vector<FramePtr> ClipSource::borrow(const ClipRange& range) const {
  ClipRange frames = range;
  frames.want_truth = false;
  Clip clip = read(frames);
  std::vector<FramePtr> shared;
  for (Image& frame : clip.frames) shared.push_back(std::make_shared<const Image>(std::move(frame)));
  return shared;
}

void pad_clip(const ClipRange& range, Clip& clip) {
  clip.frames.reserve(static_cast<size_t>(range.count));
  while (static_cast<int64_t>(clip.frames.size()) < range.count) clip.frames.push_back(clip.frames.back());
  if (!range.want_truth || (clip.truth.empty() && range.count < 2)) return;
  Flow unknown;
  unknown.reshape(clip.frames.front().size());
  std::fill(unknown.uv.begin(), unknown.uv.end(), kUnknownFlow);
  clip.truth.resize(static_cast<size_t>(range.count - 1), unknown);
}

namespace {

// Of an endless source every item is like the first.
void require_labels(const SourceOptions& options, const ClipSource& source) {
  for (int64_t item = 0; item < (source.endless() ? 1 : source.size()); ++item) {
    if (source.label(item)) continue;
    fail(ErrorKind::data, {.where = options.spec,
                           .expected = "videos with labels",
                           .got = fmt::format("none for \"{}\"", source.name(item)),
                           .hint = "Labels come from lists and from folders of class folders"});
  }
}

SourcePtr open_unchecked(const SourceOptions& options) {
  if (!options.spec.starts_with("synthetic:")) {
    SourceOptions complete = options;
    if (!complete.warn) complete.warn = [](const std::string& text) { log_warning(text); };
    std::error_code error;
    const bool folder = std::filesystem::is_directory(options.spec, error);
    return is_list_spec(options.spec) && !folder ? open_list(complete) : open_files(complete);
  }
  auto source = std::make_shared<SyntheticSource>(parse_synthetic(options.spec));
  if (source->options().frames < options.min_frames) {
    fail(ErrorKind::usage, {.where = options.spec,
                            .expected = fmt::format("at least {} frames in an item", options.min_frames),
                            .got = std::to_string(source->options().frames)});
  }
  return source;
}

}  // namespace

SourcePtr open_source(const SourceOptions& options) {
  SourcePtr source = open_unchecked(options);
  if (options.labelled) require_labels(options, *source);
  if (!options.flow || source->channels() == 2) return source;
  fail(ErrorKind::usage,
       {.where = options.spec, .expected = "stored flow", .got = "data that has no such thing"});
}

int64_t short_items(const ClipSource& source, int64_t frames) {
  int64_t count = 0;
  for (int64_t item = 0; item < source.size(); ++item) count += source.claimed_length(item) < frames;
  return count;
}

SourcePtr take_items(SourcePtr source, std::vector<int64_t> items) {
  return std::make_shared<ItemSubset>(std::move(source), std::move(items));
}

SourcePtr without_last_frames(SourcePtr source, int64_t held_out) {
  return std::make_shared<FramePart>(std::move(source), Part::without_last, held_out);
}

SourcePtr last_frames(SourcePtr source, int64_t held_out) {
  if (source->endless()) return std::make_shared<FramePart>(std::move(source), Part::last, held_out);
  std::vector<int64_t> items;
  for (int64_t item = 0; item < source->size(); ++item) {
    if (source->length(item) > held_out) items.push_back(item);
  }
  if (items.empty()) {
    fail(ErrorKind::data, {.where = "last_frames",
                           .expected = fmt::format("an item of more than {} frames to hold out", held_out),
                           .got = "only shorter ones"});
  }
  return std::make_shared<FramePart>(take_items(std::move(source), std::move(items)), Part::last, held_out);
}

}  // namespace millrace
