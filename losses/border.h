// Borders that the photometric and smoothness losses leave out: pixels that are likely to have moved out of
// view. Source: BorderMask filler of bryanyzhu/Hidden-Two-Stream.
#pragma once

#include <cstdint>

#include "core/shape.h"

namespace millrace {

// A tenth of the extent, rounded half up: 1, 1, 3, 6, 11 for 7, 14, 28, 56, 112.
constexpr int64_t border_width(int64_t extent) { return (extent + 5) / 10; }

// Pixels of a plane that lie in no border.
constexpr int64_t valid_pixels(int64_t height, int64_t width) {
  return (height - 2 * border_width(height)) * (width - 2 * border_width(width));
}

struct Border {
  int64_t y = 0, x = 0;  // rows at top and bottom, columns at left and right

  bool operator==(const Border&) const = default;
  // Whether it leaves anything of (N,H,W,C).
  bool fits(const Shape& s) const {
    return s.rank() == 4 && s[0] > 0 && s[3] > 0 && y >= 0 && x >= 0 && 2 * y < s[1] && 2 * x < s[2];
  }
};

constexpr Border border_of(int64_t height, int64_t width) {
  return {.y = border_width(height), .x = border_width(width)};
}

}  // namespace millrace
