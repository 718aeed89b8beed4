#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "apps/actions/picture_text.h"
#include "apps/actions/timeline.h"

namespace millrace {
namespace {

constexpr int64_t kMostColumns = 960, kLeastColumns = 480;  // pixels of time
constexpr int64_t kMargin = 12, kNames = 240, kTitle = 28, kStack = 160, kBand = 22, kGap = 4, kAxis = 26;
constexpr int64_t kLetter = 2;  // scale
constexpr size_t kShown = 8;

// Colours that stay apart for most people with weak colour sight (Okabe and Ito, "Color Universal Design",
// 2008), without black; B, G, R.
constexpr std::array<Colour, kShown> kColours = {{{178, 114, 0},
                                                  {0, 94, 213},
                                                  {115, 158, 0},
                                                  {0, 159, 230},
                                                  {167, 121, 204},
                                                  {233, 180, 86},
                                                  {66, 228, 240},
                                                  {110, 110, 110}}};
constexpr Colour kOthers = {225, 225, 225};

Colour tint(Colour colour, double share) {
  Colour result{};
  for (size_t c = 0; c < 3; ++c) {
    result[c] = static_cast<uint8_t>(
        std::lround(255 - std::clamp(share, 0.0, 1.0) * (255 - static_cast<double>(colour[c]))));
  }
  return result;
}

// A round step of about a sixth of `span`.
double tick_step(double span) {
  const double rough = span / 6, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

// The same, with steps of clocks.
double second_step(double span) {
  for (const double step : {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600}) {
    if (step >= span / 6) return step;
  }
  return 3600 * std::max(1.0, tick_step(span / 3600));
}

std::string tick_text(double at, double rate) {
  if (!(rate > 0)) return fmt::format("{:.0f}", at);
  const auto seconds = std::llround(at);
  if (seconds < 3600) return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

}  // namespace

TimelinePicture::TimelinePicture(Video video, std::vector<std::string> classes)
    : video_(std::move(video)),
      classes_(std::move(classes)),
      columns_(std::clamp(video_.length, kLeastColumns, kMostColumns)),
      sums_(static_cast<size_t>(columns_) * classes_.size()),
      seen_(static_cast<size_t>(columns_)) {}

void TimelinePicture::add(const FrameWindow& window, const std::vector<double>& shares) {
  // A column is given to a window that its middle lies in, and each window has one column at least.
  const double per_frame = static_cast<double>(columns_) / static_cast<double>(video_.length);
  const auto column = [&](int64_t frame) {
    return std::clamp<int64_t>(std::llround(static_cast<double>(frame) * per_frame), 0, columns_);
  };
  const int64_t first = std::min(column(window.first), columns_ - 1);
  const int64_t end = std::max(first + 1, column(window.end));
  for (int64_t j = first; j < end; ++j) {
    ++seen_[static_cast<size_t>(j)];
    for (size_t k = 0; k < shares.size(); ++k)
      sums_[static_cast<size_t>(j) * classes_.size() + k] += shares[k];
  }
}

double TimelinePicture::share(int64_t column, size_t label) const {
  const int64_t seen = seen_[static_cast<size_t>(column)];
  return seen == 0 ? 0
                   : sums_[static_cast<size_t>(column) * classes_.size() + label] / static_cast<double>(seen);
}

// Classes by their share of the whole; those that are below a hundredth everywhere are not worth a band.
std::vector<size_t> TimelinePicture::leading() const {
  std::vector<double> total(classes_.size(), 0), most(classes_.size(), 0);
  for (int64_t j = 0; j < columns_; ++j) {
    for (size_t k = 0; k < classes_.size(); ++k) {
      total[k] += share(j, k);
      most[k] = std::max(most[k], share(j, k));
    }
  }
  std::vector<size_t> order(classes_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return total[a] > total[b]; });
  order.resize(std::min(order.size(), kShown));
  std::erase_if(order, [&](size_t k) { return most[k] < .01; });
  return order;
}

void TimelinePicture::draw_shares(Image& picture, const std::vector<size_t>& shown) const {
  for (int64_t j = 0; j < columns_; ++j) {
    if (seen_[static_cast<size_t>(j)] == 0) continue;  // a gap between windows stays white
    fill_area(picture, {kTitle, kNames + j, {kStack, 1}}, kOthers);
    double below = 0;
    for (size_t place = 0; place < shown.size(); ++place) {
      const double above = below + share(j, shown[place]);
      const int64_t bottom = kStack - std::llround(below * kStack),
                    top = kStack - std::llround(above * kStack);
      fill_area(picture, {kTitle + top, kNames + j, {bottom - top, 1}}, kColours[place]);
      below = above;
    }
  }
}

void TimelinePicture::draw_band(Image& picture, int64_t top, size_t place, size_t label) const {
  constexpr int64_t kSwatch = 14;
  fill_area(picture, {top + 4, kMargin, {kSwatch, kSwatch}}, kColours[place]);
  const int64_t room = (kNames - kMargin - kSwatch - 16) / text_width("m", kLetter);
  draw_text(picture, {top + 4, kMargin + kSwatch + 8}, shortened(classes_[label], room));
  for (int64_t j = 0; j < columns_; ++j)
    fill_area(picture, {top, kNames + j, {kBand, 1}}, tint(kColours[place], share(j, label)));
}

void TimelinePicture::draw_axis(Image& picture, int64_t top) const {
  const double rate = video_.rate, frames = static_cast<double>(video_.length);
  const double span = rate > 0 ? frames / rate : frames;
  const double step = rate > 0 ? second_step(span) : std::max(1.0, tick_step(span));
  fill_area(picture, {top, kNames, {1, columns_}}, kInk);
  for (double at = 0; at <= span; at += step) {
    const auto left = static_cast<int64_t>(at / span * static_cast<double>(columns_ - 1));
    fill_area(picture, {top, kNames + left, {5, 1}}, kInk);
    const std::string text = tick_text(at, rate);
    // A label is kept inside of the picture.
    const int64_t width = text_width(text, kLetter);
    draw_text(picture, {top + 8, std::min(kNames + left - width / 2, picture.width - width)}, text);
  }
  draw_text(picture, {top + 8, kMargin}, rate > 0 ? "time" : "frame", {.scale = kLetter, .colour = kFaint});
}

Image TimelinePicture::draw() const {
  const std::vector<size_t> shown = leading();
  const int64_t bands = static_cast<int64_t>(shown.size()) * (kBand + kGap);
  Image picture = blank_picture({kTitle + kStack + kAxis + bands + kMargin, kNames + columns_ + kMargin});
  draw_text(picture, {6, kMargin},
            shortened(video_.name, (picture.width - 2 * kMargin) / text_width("m", kLetter)));
  for (const auto& [at, text] : {std::pair{0.0, "100 %"}, {.5, "50 %"}, {1.0, "0 %"}}) {
    const int64_t top = kTitle + static_cast<int64_t>(at * (kStack - text_height(kLetter)));
    draw_text(picture, {top, kNames - 8 - text_width(text, kLetter)}, text,
              {.scale = kLetter, .colour = kFaint});
  }
  draw_shares(picture, shown);
  draw_axis(picture, kTitle + kStack);
  int64_t top = kTitle + kStack + kAxis;
  for (size_t place = 0; place < shown.size(); ++place, top += kBand + kGap)
    draw_band(picture, top, place, shown[place]);
  return picture;
}

}  // namespace millrace
