#include <algorithm>
#include <cmath>
#include <vector>

#include "data/image.h"

namespace millrace {
namespace {

// Weighted source coordinates of one output coordinate.
struct Span {
  int64_t first = 0;
  std::vector<float> weight;  // sums to 1
};

std::vector<Span> make_spans(int64_t source, int64_t target) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  std::vector<Span> spans(static_cast<size_t>(target));
  for (int64_t x = 0; x < target; ++x) {
    const double begin = static_cast<double>(x) * scale,
                 end = std::min(begin + scale, static_cast<double>(source));
    Span& span = spans[static_cast<size_t>(x)];
    span.first = static_cast<int64_t>(begin);
    for (int64_t at = span.first; static_cast<double>(at) < end - 1e-9; ++at) {
      const double covered =
          std::min(end, static_cast<double>(at + 1)) - std::max(begin, static_cast<double>(at));
      span.weight.push_back(static_cast<float>(covered / (end - begin)));
    }
  }
  return spans;
}

}  // namespace

Image resize_area(const Image& image, Size size) {
  if (size.height > image.height || size.width > image.width || size.height < 1 || size.width < 1) {
    const Size shrunk = {std::min(size.height, image.height), std::min(size.width, image.width)};
    // Averages along the axis that shrinks, then interpolates the other; resize_bilinear refuses a size
    // below 1.
    if (size.height < 1 || size.width < 1 || shrunk == image.size()) return resize_bilinear(image, size);
    return resize_bilinear(resize_area(image, shrunk), size);
  }
  Image result;
  result.reshape(size, image.channels);
  const std::vector<Span> rows = make_spans(image.height, size.height),
                          columns = make_spans(image.width, size.width);
  const int64_t channels = image.channels;
  std::vector<float> row(static_cast<size_t>(image.width * channels));
  uint8_t* out = result.pixels.data();
  for (const Span& down : rows) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (size_t k = 0; k < down.weight.size(); ++k) {
      const uint8_t* in = image.at(down.first + static_cast<int64_t>(k), 0);
      for (size_t x = 0; x < row.size(); ++x) row[x] += down.weight[k] * in[x];
    }
    for (const Span& across : columns) {
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (size_t k = 0; k < across.weight.size(); ++k) {
          sum += across.weight[k] *
                 row[static_cast<size_t>((across.first + static_cast<int64_t>(k)) * channels + c)];
        }
        *out++ = static_cast<uint8_t>(std::min(255L, std::lrint(sum)));
      }
    }
  }
  return result;
}

}  // namespace millrace
