#include "data/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace millrace {
namespace {

constexpr int kWeightBits = 11;
constexpr int kWeightOne = 1 << kWeightBits;

// One output coordinate: the two source coordinates it lies between and their weights, which sum to about
// kWeightOne.
struct Tap {
  int64_t first, second;
  int weight_first, weight_second;
};

// OpenCV treats a tap beyond the edge differently along the two axes: columns move the whole weight to the
// edge pixel, rows keep both weights and clamp the index. The results differ in the last bit, so it is copied
// here.
enum class Axis { column, row };

// Of `target` coordinates those from `first` on, `count` of them.
struct Extent {
  int64_t source = 0;
  int64_t target = 0;
  int64_t first = 0;
  int64_t count = 0;
};

std::vector<Tap> make_taps(const Extent& extent, Axis axis) {
  const auto [source, target, begin, count] = extent;
  const double scale = 1.0 / (static_cast<double>(target) / static_cast<double>(source));
  std::vector<Tap> taps(static_cast<size_t>(count));
  for (int64_t x = begin; x < begin + count; ++x) {
    float fraction = static_cast<float>((static_cast<double>(x) + 0.5) * scale - 0.5);
    auto first = static_cast<int64_t>(std::floor(fraction));
    fraction -= static_cast<float>(first);
    if (axis == Axis::column && first < 0) first = 0, fraction = 0;
    if (axis == Axis::column && first >= source - 1) first = source - 1, fraction = 0;
    taps[static_cast<size_t>(x - begin)] = {
        .first = std::clamp<int64_t>(first, 0, source - 1),
        .second = std::clamp<int64_t>(first + 1, 0, source - 1),
        .weight_first = static_cast<int>(std::lrint((1.0f - fraction) * kWeightOne)),
        .weight_second = static_cast<int>(std::lrint(fraction * kWeightOne)),
    };
  }
  return taps;
}

void interpolate_row(const Image& image, int64_t i, const std::vector<Tap>& columns, std::vector<int>& row) {
  const int64_t channels = image.channels;
  const uint8_t* source = image.at(i, 0);
  int* out = row.data();
  for (const Tap& tap : columns) {
    const uint8_t* a = source + tap.first * channels;
    const uint8_t* b = source + tap.second * channels;
    for (int64_t c = 0; c < channels; ++c) *out++ = a[c] * tap.weight_first + b[c] * tap.weight_second;
  }
}

// The part of the halved image that begins at this row and column.
void halve(const Image& image, const Window& part, Image& result) {
  const int64_t channels = image.channels;
  for (int64_t i = 0; i < result.height; ++i) {
    for (int64_t j = 0; j < result.width; ++j) {
      const uint8_t* top = image.at(2 * (part.top + i), 2 * (part.left + j));
      const uint8_t* bottom = image.at(2 * (part.top + i) + 1, 2 * (part.left + j));
      uint8_t* out = result.at(i, j);
      for (int64_t c = 0; c < channels; ++c) {
        out[c] =
            static_cast<uint8_t>((top[c] + top[c + channels] + bottom[c] + bottom[c + channels] + 2) >> 2);
      }
    }
  }
}

void check_inside(const Window& window, Size size) {
  const auto [height, width] = window.size;
  if (window.top >= 0 && window.left >= 0 && height >= 1 && width >= 1 &&
      window.top + height <= size.height && window.left + width <= size.width) {
    return;
  }
  fail(ErrorKind::data,
       {.where = "crop",
        .expected = fmt::format("a window inside {}x{} pixels", size.width, size.height),
        .got = fmt::format("{}x{} at column {}, row {}", width, height, window.left, window.top)});
}

}  // namespace

void resize_bilinear(const Image& image, Size size, Image& result) {
  resize_bilinear(image, {.size = size, .window = {.size = size}}, result);
}

void resize_bilinear(const Image& image, const ResizedPart& part, Image& result) {
  const auto& [size, window] = part;
  if (image.height < 1 || image.width < 1 || size.height < 1 || size.width < 1) {
    fail(ErrorKind::data,
         {.where = "resize",
          .expected = "sizes of at least 1x1",
          .got = fmt::format("{}x{} to {}x{}", image.width, image.height, size.width, size.height)});
  }
  if (size == image.size()) return crop(image, window, result);
  check_inside(window, size);
  result.reshape(window.size, image.channels);
  if (image.height == 2 * size.height && image.width == 2 * size.width) return halve(image, window, result);

  const std::vector<Tap> columns =
      make_taps({image.width, size.width, window.left, window.size.width}, Axis::column);
  const std::vector<Tap> rows =
      make_taps({image.height, size.height, window.top, window.size.height}, Axis::row);
  const auto row_length = static_cast<size_t>(window.size.width * image.channels);
  // The last two interpolated source rows; most output rows need the same ones again.
  std::vector<int> first_row(row_length), second_row(row_length);
  int64_t first = -1, second = -1;
  uint8_t* out = result.pixels.data();
  for (const Tap& tap : rows) {
    if (tap.first != first) {
      if (tap.first == second) {
        first_row.swap(second_row);
        std::swap(first, second);
      } else {
        interpolate_row(image, first = tap.first, columns, first_row);
      }
    }
    if (tap.second != second) interpolate_row(image, second = tap.second, columns, second_row);
    const int* above = first_row.data();
    const int* below = second_row.data();
    for (size_t x = 0; x < row_length; ++x) {
      const int sum =
          ((tap.weight_first * (above[x] >> 4)) >> 16) + ((tap.weight_second * (below[x] >> 4)) >> 16);
      out[x] = static_cast<uint8_t>((sum + 2) >> 2);
    }
    out += row_length;
  }
}

Image resize_bilinear(const Image& image, Size size) {
  Image result;
  resize_bilinear(image, size, result);
  return result;
}

void crop(const Image& image, const Window& window, Image& result) {
  check_inside(window, image.size());
  const auto [height, width] = window.size;
  result.reshape(window.size, image.channels);
  const auto row_bytes = static_cast<size_t>(width * image.channels);
  for (int64_t i = 0; i < height; ++i) {
    std::memcpy(result.at(i, 0), image.at(window.top + i, window.left), row_bytes);
  }
}

Image crop(const Image& image, const Window& window) {
  Image result;
  crop(image, window, result);
  return result;
}

void mirror(Image& image) {
  for (int64_t i = 0; i < image.height; ++i) {
    for (int64_t a = 0, b = image.width - 1; a < b; ++a, --b) {
      std::swap_ranges(image.at(i, a), image.at(i, a) + image.channels, image.at(i, b));
    }
  }
}

}  // namespace millrace
