// The colour wheel of Baker et al., after D. Sun's and D. Scharstein's colorcode: 55 hues, spaced so that
// steps look equal to the eye.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "data/flow.h"

namespace millrace {
namespace {

constexpr int kHues = 55;
using Rgb = std::array<double, 3>;  // 0 to 1

// Red to yellow, yellow to green, ... magenta to red: one channel rises or falls over each arc.
std::array<Rgb, kHues> make_wheel() {
  struct Arc {
    int steps;
    int fixed;   // the channel that stays 1
    int moving;  // the one that changes
    bool rises;
  };
  constexpr Arc kArcs[] = {{15, 0, 1, true},  {6, 1, 0, false}, {4, 1, 2, true},
                           {11, 2, 1, false}, {13, 2, 0, true}, {6, 0, 2, false}};
  std::array<Rgb, kHues> wheel{};
  size_t k = 0;
  for (const Arc& arc : kArcs) {
    for (int step = 0; step < arc.steps; ++step, ++k) {
      const double moved = std::floor(255.0 * step / arc.steps) / 255.0;
      wheel[k][static_cast<size_t>(arc.fixed)] = 1;
      wheel[k][static_cast<size_t>(arc.moving)] = arc.rises ? moved : 1 - moved;
    }
  }
  return wheel;
}

// `u`, `v` as shares of the largest radius.
void write_color(double u, double v, uint8_t* bgr) {
  static const std::array<Rgb, kHues> kWheel = make_wheel();
  const double radius = std::sqrt(u * u + v * v);
  const double hue = (std::atan2(-v, -u) / std::numbers::pi + 1) / 2 * (kHues - 1);
  const auto below = static_cast<size_t>(hue);
  const size_t above = (below + 1) % kHues;
  const double share = hue - static_cast<double>(below);
  for (size_t c = 0; c < 3; ++c) {
    double color = (1 - share) * kWheel[below][c] + share * kWheel[above][c];
    color = radius <= 1 ? 1 - radius * (1 - color) : 0.75 * color;
    bgr[2 - c] = static_cast<uint8_t>(255 * color);
  }
}

}  // namespace

Image flow_to_color(const Flow& flow, float max_radius) {
  double radius = max_radius;
  if (max_radius <= 0) {
    for (int64_t i = 0; i < flow.height; ++i) {
      for (int64_t j = 0; j < flow.width; ++j) {
        const float* uv = flow.at(i, j);
        if (is_known(uv)) radius = std::max(radius, std::hypot(double{uv[0]}, double{uv[1]}));
      }
    }
  }
  if (radius <= 0) radius = 1;  // all still: white
  Image image;
  image.reshape(flow.size(), 3);
  for (int64_t i = 0; i < flow.height; ++i) {
    for (int64_t j = 0; j < flow.width; ++j) {
      const float* uv = flow.at(i, j);
      uint8_t* bgr = image.at(i, j);
      if (is_known(uv)) {
        write_color(uv[0] / radius, uv[1] / radius, bgr);
      } else {
        std::fill(bgr, bgr + 3, uint8_t{0});
      }
    }
  }
  return image;
}

Image flow_color_wheel(int64_t size) {
  Image image;
  image.reshape({size, size}, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), uint8_t{255});
  const double radius = static_cast<double>(size) / 2;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) {
      const double u = (static_cast<double>(j) + 0.5 - radius) / radius;
      const double v = (static_cast<double>(i) + 0.5 - radius) / radius;
      if (u * u + v * v <= 1) write_color(u, v, image.at(i, j));
    }
  }
  return image;
}

}  // namespace millrace
