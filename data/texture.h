// What synthetic clips are painted with: shapes with soft edges, and periodic colour textures.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/draws.h"

namespace millrace {

// An ellipse or a convex polygon about a centre.
struct Figure {
  double centre_x = 0, centre_y = 0;
  double radius = 0;  // nothing lies farther from the centre
  double cos = 1, sin = 0;
  double axis_x = 1, axis_y = 1;                // of an ellipse, in its own turned axes
  int64_t sides = 0;                            // 0: an ellipse
  std::array<std::array<double, 3>, 6> side{};  // of a polygon: outward normal, distance from the centre

  // Share of the point that the shape covers: 1 inside, 0 outside, linear over the pixel about the edge.
  double coverage(double x, double y) const;
};

struct FigureRange {
  double min_radius, max_radius;
  double width, height;  // the centre lies in [0, width) x [0, height)
};
Figure draw_figure(Draws& draws, const FigureRange& range);

// Colour noise of six octaves with shapes in it, repeated along both axes every kSize texels. Value noise
// over cells of 128 down to 4 texels gives gradients at every scale, shapes give edges and corners.
class Texture {
 public:
  static constexpr int64_t kSize = 512;
  explicit Texture(Draws draws);

  // Texture coordinates with 32 fraction bits, so that stepping along a row adds no error.
  using Fixed = int64_t;
  static Fixed fixed(double x) { return static_cast<Fixed>(x * 4294967296.0); }

  // Bilinear between texels; the same continuous function for every caller. Values from 0 to 255.
  std::array<float, 3> at(Fixed x, Fixed y) const {
    const int64_t x0 = (x >> 32) & (kSize - 1), x1 = (x0 + 1) & (kSize - 1);
    const int64_t y0 = (y >> 32) & (kSize - 1), y1 = (y0 + 1) & (kSize - 1);
    const float fx = fraction(x), fy = fraction(y);
    const Texel &a = texels_[static_cast<size_t>(y0 * kSize + x0)],
                &b = texels_[static_cast<size_t>(y0 * kSize + x1)];
    const Texel &c = texels_[static_cast<size_t>(y1 * kSize + x0)],
                &d = texels_[static_cast<size_t>(y1 * kSize + x1)];
    std::array<float, 3> value;
    for (size_t k = 0; k < 3; ++k) {
      const float top = a[k] + fx * (static_cast<float>(b[k]) - a[k]);
      const float bottom = c[k] + fx * (static_cast<float>(d[k]) - c[k]);
      value[k] = top + fy * (bottom - top);
    }
    return value;
  }

 private:
  using Texel = std::array<uint8_t, 4>;
  static float fraction(Fixed x) {
    return static_cast<float>(static_cast<int32_t>((x >> 8) & 0xFFFFFF)) * 0x1p-24f;
  }

  std::vector<Texel> texels_;
};

}  // namespace millrace
