#include "data/picture.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace millrace {

Image side_by_side(const std::vector<Image>& parts) {
  constexpr int64_t kGap = 4;
  int64_t width = kGap * (static_cast<int64_t>(parts.size()) - 1);
  for (const Image& part : parts) {
    if (part.height != parts.front().height || part.channels != 3) {
      fail(ErrorKind::runtime,
           {"picture", "images of height " + std::to_string(parts.front().height) + " and 3 channels",
            std::to_string(part.height) + " and " + std::to_string(part.channels), ""});
    }
    width += part.width;
  }
  Image result;
  result.reshape({parts.front().height, width}, 3);
  std::fill(result.pixels.begin(), result.pixels.end(), uint8_t{255});
  int64_t left = 0;
  for (const Image& part : parts) {
    for (int64_t i = 0; i < part.height; ++i) std::copy_n(part.at(i, 0), 3 * part.width, result.at(i, left));
    left += part.width + kGap;
  }
  return result;
}

Image flow_picture(const Flow& flow, float radius) {
  Flow shown = flow;
  for (size_t p = 0; p + 1 < shown.uv.size(); p += 2) {
    float* uv = &shown.uv[p];
    const float length = is_known(uv) ? std::hypot(uv[0], uv[1]) : 0;
    if (length <= radius) continue;
    uv[0] *= radius / length;
    uv[1] *= radius / length;
  }
  Image picture = flow_to_color(shown, radius);
  if (std::min(picture.height, picture.width) < 64) return picture;
  const Image wheel = flow_color_wheel(std::min(picture.height, picture.width) / 6);
  const double centre = static_cast<double>(wheel.height - 1) / 2;
  for (int64_t i = 0; i < wheel.height; ++i) {
    for (int64_t j = 0; j < wheel.width; ++j) {
      if (std::hypot(static_cast<double>(i) - centre, static_cast<double>(j) - centre) > centre) continue;
      std::copy_n(wheel.at(i, j), 3,
                  picture.at(picture.height - wheel.height - 2 + i, picture.width - wheel.width - 2 + j));
    }
  }
  return picture;
}

float flow_radius(const Flow& flow) {
  std::vector<float> lengths;
  for (size_t p = 0; p + 1 < flow.uv.size(); p += 2) {
    if (is_known(&flow.uv[p])) lengths.push_back(std::hypot(flow.uv[p], flow.uv[p + 1]));
  }
  if (lengths.empty()) return 0;
  const auto at = lengths.begin() + static_cast<ptrdiff_t>(lengths.size() * 99 / 100);
  std::nth_element(lengths.begin(), at, lengths.end());
  return *at;
}

}  // namespace millrace
