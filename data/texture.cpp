#include "data/texture.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace millrace {
namespace {

constexpr int64_t kSize = Texture::kSize;
constexpr int kShapes = 60;

// A plane of kSize x kSize values, one colour channel or brightness.
using Plane = std::vector<float>;

// Adds value noise: random values at the corners of square cells, between them the interpolation
// 6 t^5 - 15 t^4 + 10 t^3 (Perlin, "Improving noise", 2002), which has no creases.
void add_noise(Plane& plane, int64_t cell, double amplitude, Draws& draws) {
  const int64_t cells = kSize / cell;
  Plane corner(static_cast<size_t>(cells * cells));
  for (float& value : corner) value = static_cast<float>(draws.uniform(-amplitude, amplitude));
  std::vector<float> smooth(static_cast<size_t>(cell));
  for (int64_t x = 0; x < cell; ++x) {
    const double t = (static_cast<double>(x) + 0.5) / static_cast<double>(cell);
    smooth[static_cast<size_t>(x)] = static_cast<float>(t * t * t * (t * (6 * t - 15) + 10));
  }
  for (int64_t y = 0; y < kSize; ++y) {
    const float* above = &corner[static_cast<size_t>(y / cell * cells)];
    const float* below = &corner[static_cast<size_t>((y / cell + 1) % cells * cells)];
    const float fy = smooth[static_cast<size_t>(y % cell)];
    float* row = &plane[static_cast<size_t>(y * kSize)];
    for (int64_t k = 0; k < cells; ++k) {
      const int64_t next = (k + 1) % cells;
      const float left = above[k] + fy * (below[k] - above[k]);
      const float right = above[next] + fy * (below[next] - above[next]);
      for (int64_t x = 0; x < cell; ++x) *row++ += left + smooth[static_cast<size_t>(x)] * (right - left);
    }
  }
}

// Halves the texture under the shape and adds a colour, so that the shape has texture of its own.
void paint(std::array<Plane, 3>& planes, const Figure& shape, const std::array<double, 3>& color) {
  const auto reach = static_cast<int64_t>(shape.radius) + 2;
  const auto centre_x = static_cast<int64_t>(shape.centre_x), centre_y = static_cast<int64_t>(shape.centre_y);
  for (int64_t y = centre_y - reach; y <= centre_y + reach; ++y) {
    for (int64_t x = centre_x - reach; x <= centre_x + reach; ++x) {
      const double cover = shape.coverage(static_cast<double>(x), static_cast<double>(y));
      if (cover <= 0) continue;
      const auto at = static_cast<size_t>((y & (kSize - 1)) * kSize + (x & (kSize - 1)));
      for (size_t c = 0; c < 3; ++c)
        planes[c][at] += static_cast<float>(cover * (color[c] - 0.5 * planes[c][at]));
    }
  }
}

}  // namespace

double Figure::coverage(double x, double y) const {
  const double dx = x - centre_x, dy = y - centre_y;
  double distance = -1e30;  // from the edge, negative inside
  if (sides == 0) {
    // First-order distance to an ellipse: k0 (k0 - 1) / k1 with k0 = |p / r|, k1 = |p / r^2|.
    const double px = (cos * dx + sin * dy) / axis_x, py = (cos * dy - sin * dx) / axis_y;
    const double k0 = std::hypot(px, py), k1 = std::hypot(px / axis_x, py / axis_y);
    distance = k1 > 0 ? k0 * (k0 - 1) / k1 : -1;
  }
  for (int64_t k = 0; k < sides; ++k) {
    const auto& [nx, ny, offset] = side[static_cast<size_t>(k)];
    distance = std::max(distance, nx * dx + ny * dy - offset);
  }
  return std::clamp(0.5 - distance, 0.0, 1.0);
}

Figure draw_figure(Draws& draws, const FigureRange& range) {
  Figure shape;
  const double size = draws.uniform(range.min_radius, range.max_radius);
  const double angle = draws.uniform(0, 2 * std::numbers::pi);
  shape.centre_x = draws.uniform(0, range.width);
  shape.centre_y = draws.uniform(0, range.height);
  shape.cos = std::cos(angle);
  shape.sin = std::sin(angle);
  shape.axis_x = size;
  shape.axis_y = size * draws.uniform(0.4, 1);
  shape.radius = size + 1;
  if (draws.chance(0.5)) return shape;

  shape.sides = 3 + draws.below(4);
  const double step = 2 * std::numbers::pi / static_cast<double>(shape.sides);
  for (int64_t k = 0; k < shape.sides; ++k) {
    const double normal = angle + step * (static_cast<double>(k) + draws.uniform(-0.15, 0.15));
    shape.side[static_cast<size_t>(k)] = {std::cos(normal), std::sin(normal), size * draws.uniform(0.5, 0.8)};
  }
  // Neighbouring normals are at most 1.3 steps apart, so a corner lies at most offset / cos(0.65 step) away.
  shape.radius = 0.8 * size / std::cos(std::min(0.65 * step, 1.4)) + 1;
  return shape;
}

Texture::Texture(Draws draws) : texels_(static_cast<size_t>(kSize * kSize)) {
  const auto area = static_cast<size_t>(kSize * kSize);
  Plane brightness(area);
  for (const auto& [cell, amplitude] : {std::pair{int64_t{128}, 40.0},
                                        {int64_t{64}, 40.0},
                                        {int64_t{32}, 40.0},
                                        {int64_t{16}, 40.0},
                                        {int64_t{8}, 36.0},
                                        {int64_t{4}, 20.0}}) {
    add_noise(brightness, cell, amplitude, draws);
  }
  std::array<Plane, 3> planes;
  for (Plane& plane : planes) {
    plane = brightness;
    add_noise(plane, 64, 40, draws);
    add_noise(plane, 16, 20, draws);
  }
  for (int k = 0; k < kShapes; ++k) {
    const Figure shape =
        draw_figure(draws, {.min_radius = 6, .max_radius = 50, .width = kSize, .height = kSize});
    const double shade = draws.uniform(-70, 70);
    std::array<double, 3> color{};
    for (double& channel : color) channel = shade + draws.uniform(-40, 40);
    paint(planes, shape, color);
  }
  for (size_t k = 0; k < area; ++k) {
    for (size_t c = 0; c < 3; ++c) {
      texels_[k][c] = static_cast<uint8_t>(std::lrint(std::clamp(128.0f + planes[c][k], 0.0f, 255.0f)));
    }
  }
}

}  // namespace millrace
