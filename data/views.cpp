#include "data/views.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace millrace {
namespace {

// The authors' scripts cut columns 60 to 284 of 340, as if frames were 344 wide.
constexpr Size kLegacyFrame = {256, 340}, kLegacyNetwork = {224, 224};
constexpr int64_t kLegacyShift = 2;

ClipGeometry mirrored(ClipGeometry view) {
  // The same window of the mirrored frame: cut first, then mirrored.
  view.window.left = view.resized.width - view.window.size.width - view.window.left;
  view.mirror = true;
  return view;
}

void require(bool met, const char* where, const char* expected, int64_t got) {
  if (!met) fail(ErrorKind::usage, {.where = where, .expected = expected, .got = std::to_string(got)});
}

}  // namespace

std::vector<int64_t> clip_starts(int64_t length, int64_t frames, int64_t clips) {
  require(length >= 1, "clips of a video", "a length of at least 1 frame", length);
  require(frames >= 1, "clips of a video", "clips of at least 1 frame", frames);
  require(clips >= 1, "--clips", "at least 1 clip", clips);
  if (clips == 1) return {centre_start(length, frames)};
  const int64_t step = std::max<int64_t>(0, length - frames + 1) / clips;
  std::vector<int64_t> starts;
  for (int64_t clip = 0; clip < clips; ++clip) starts.push_back(clip * step);
  return starts;
}

std::vector<ClipGeometry> view_crops(int64_t crops, Size frame, const ViewOptions& options) {
  require(crops == 1 || crops == 2 || crops == 5 || crops == 10, "--crops", "1, 2, 5 or 10", crops);
  const Size size = options.network;
  const Size resized =
      frame == size ? size : resized_size({.network = size, .resize = options.resize}, frame);
  const auto at = [&](int64_t top, int64_t left) {
    return ClipGeometry{.resized = resized, .window = {top, left, size}, .output = size};
  };
  Window centre = centre_window(resized, size);
  std::vector<ClipGeometry> views;
  if (crops >= 5) {
    if (resized == kLegacyFrame && size == kLegacyNetwork) centre.left += kLegacyShift;
    const int64_t bottom = resized.height - size.height, right = resized.width - size.width;
    views = {at(0, 0), at(0, right), at(centre.top, centre.left), at(bottom, 0), at(bottom, right)};
  } else {
    views = {at(centre.top, centre.left)};
  }
  if (crops == 1 || crops == 5) return views;
  const size_t upright = views.size();
  for (size_t k = 0; k < upright; ++k) views.push_back(mirrored(views[k]));
  return views;
}

}  // namespace millrace
