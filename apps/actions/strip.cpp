#include "apps/actions/strip.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/actions/picture_text.h"
#include "core/error.h"
#include "data/picture.h"

namespace millrace {
namespace {

constexpr int64_t kCell = 160;  // pixels high
constexpr int64_t kMargin = 12, kGap = 6, kTitle = 28, kTimes = 14, kRow = 24, kLetter = 2, kSmall = 1;
constexpr int64_t kLeastWidth = 480;
constexpr float kLeastRadius = .1f;  // pixels: below it noise would be painted in full colours
constexpr Colour kBar = {178, 114, 0};

Image cell_of(const Image& image) {
  const double scale = static_cast<double>(kCell) / static_cast<double>(image.height);
  const Size size = {kCell, std::max<int64_t>(1, std::llround(scale * static_cast<double>(image.width)))};
  const bool shrinks = 2 * size.height <= image.height;  // interpolation would skip pixels
  return shrinks ? resize_area(image, size) : resize_bilinear(image, size);
}

float common_radius(const Strip& strip) {
  float radius = kLeastRadius;
  for (const StripCell& cell : strip.cells) {
    if (cell.flow) radius = std::max(radius, flow_radius(*cell.flow));
  }
  return radius;
}

void draw_classes(Image& picture, int64_t top, const std::vector<RankedClass>& classes) {
  constexpr int64_t kPercent = 8;  // letters of "100.0 %" and one
  const int64_t letter = text_width("m", kLetter), room = picture.width - 2 * kMargin;
  int64_t longest = 0;
  for (const RankedClass& c : classes) longest = std::max(longest, letter_count(c.name));
  const int64_t name = std::min(longest, room / 2 / letter);
  const int64_t bars = kMargin + (name + 1 + kPercent) * letter, bar = picture.width - kMargin - bars;
  for (const RankedClass& c : classes) {
    draw_text(picture, {top, kMargin}, shortened(c.name, name));
    const std::string percent = fmt::format("{:.1f} %", 100 * c.share);
    draw_text(picture, {top, bars - letter - text_width(percent, kLetter)}, percent);
    fill_area(picture, {top, bars, {14, std::llround(c.share * static_cast<double>(bar))}}, kBar);
    top += kRow;
  }
}

}  // namespace

Image strip_picture(const Strip& strip) {
  if (strip.cells.empty()) fail(ErrorKind::runtime, {"strip", "at least one frame", "none", ""});
  std::vector<Image> frames;
  int64_t width = 2 * kMargin - kGap;
  bool flows = false;
  for (const StripCell& cell : strip.cells) {
    frames.push_back(cell_of(cell.frame));
    width += frames.back().width + kGap;
    flows |= cell.flow.has_value();
  }
  const int64_t times = kTitle + kCell + kGap, flow_top = times + kTimes;
  const int64_t list = flow_top + (flows ? kCell + kGap + kTimes : 0) + kGap;
  const auto rows = static_cast<int64_t>(strip.classes.size());
  Image picture = blank_picture({list + rows * kRow + kMargin, std::max(width, kLeastWidth)});
  draw_text(picture, {6, kMargin},
            shortened(strip.title, (picture.width - 2 * kMargin) / text_width("m", kLetter)));
  const float radius = common_radius(strip);
  int64_t left = kMargin;
  for (size_t k = 0; k < frames.size(); ++k) {
    const StripCell& cell = strip.cells[k];
    place_picture(picture, {kTitle, left}, frames[k]);
    draw_text(picture, {times, left}, cell.when, {.scale = kSmall, .colour = kInk});
    if (cell.flow) place_picture(picture, {flow_top, left}, cell_of(flow_picture(*cell.flow, radius)));
    left += frames[k].width + kGap;
  }
  if (flows) {
    draw_text(picture, {flow_top + kCell + kGap, kMargin},
              fmt::format("motion to the next frame; full colour from {:.1f} pixels on", double{radius}),
              {.scale = kSmall, .colour = kInk});
  }
  draw_classes(picture, list, strip.classes);
  return picture;
}

}  // namespace millrace
