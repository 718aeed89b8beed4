#include "apps/flow/pair_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"

namespace millrace {

PairSource::PairSource(const std::string& first, const std::string& second)
    : name_(std::filesystem::path(first).stem().string()),
      path_(first + " " + second),
      frames_{read_image(first), read_image(second)} {
  if (frames_[0].size() == frames_[1].size()) return;
  fail(ErrorKind::data, {second, fmt::format("{}x{} as {}", frames_[0].width, frames_[0].height, first),
                         fmt::format("{}x{}", frames_[1].width, frames_[1].height), ""});
}

void PairSource::read(const ClipRange& range, Clip& clip) const {
  clip.truth.clear();
  clip.frames.assign(frames_.begin() + std::min<int64_t>(range.first, 2),
                     frames_.begin() + std::min<int64_t>(range.first + range.count, 2));
  pad_clip(range, clip);
}

}  // namespace millrace
