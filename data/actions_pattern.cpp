#include "data/actions_pattern.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/rng.h"

namespace millrace {
namespace {

constexpr double kShade = 22;  // grey levels of each octave of shading, at most

// Numbers that belong to one cell of a grid.
class CellHash {
 public:
  CellHash(uint64_t seed, int64_t column, int64_t row)
      : bits_(mix64(mix64(seed + static_cast<uint64_t>(column)) + static_cast<uint64_t>(row))) {}
  // The k-th of four, in [low, high).
  double uniform(int k, double low, double high) const {
    return low + (high - low) * static_cast<double>(bits_ >> (16 * k) & 0xFFFF) * 0x1p-16;
  }

 private:
  uint64_t bits_;
};

// 1 inside of an edge at this distance (negative: outside), 0 outside, linear over one and a half pixels.
double inside(double distance, double pixel) { return std::clamp(0.5 + distance / (1.5 * pixel), 0.0, 1.0); }

// 1 and -1 by turns, changing every `width` units.
double square_wave(double x, double width, double pixel) {
  const double cell = std::floor(x / width);
  const double along = x - cell * width;
  const double share = 2 * inside(std::min(along, width - along), pixel) - 1;
  return std::fmod(std::fabs(cell), 2) < 0.5 ? share : -share;
}

struct Cell {
  CellHash hash;
  double x, y;  // from the cell's middle
};
Cell cell_at(uint64_t seed, double x, double y, double width) {
  const double column = std::floor(x / width), row = std::floor(y / width);
  return {CellHash(seed, static_cast<int64_t>(column), static_cast<int64_t>(row)), x - (column + 0.5) * width,
          y - (row + 0.5) * width};
}

double dots(uint64_t seed, double x, double y, double pixel) {
  constexpr double kWidth = 16;
  const Cell cell = cell_at(seed, x, y, kWidth);
  const double radius = cell.hash.uniform(0, 4.5, 6.5), room = kWidth / 2 - radius - 0.5;
  return inside(radius - std::hypot(cell.x - cell.hash.uniform(1, -room, room),
                                    cell.y - cell.hash.uniform(2, -room, room)),
                pixel);
}

double rings(uint64_t seed, double x, double y, double pixel) {
  const Cell cell = cell_at(seed, x, y, 24);
  const double radius = cell.hash.uniform(0, 6.5, 8.5);
  const double from_middle = std::hypot(cell.x, cell.y);
  return inside(cell.hash.uniform(1, 1.8, 2.5) - std::fabs(from_middle - radius), pixel);
}

double crosses(uint64_t seed, double x, double y, double pixel) {
  const Cell cell = cell_at(seed, x, y, 24);
  const double turn = cell.hash.uniform(0, 0, std::numbers::pi / 2);
  const double along = std::fabs(cell.x * std::cos(turn) + cell.y * std::sin(turn));
  const double across = std::fabs(cell.y * std::cos(turn) - cell.x * std::sin(turn));
  const double length = cell.hash.uniform(1, 8.5, 11), half_width = cell.hash.uniform(2, 1.8, 2.5);
  return inside(std::min(length - std::max(along, across), half_width - std::min(along, across)), pixel);
}

double bricks(double x, double y, double pixel) {
  constexpr double kWidth = 24, kHeight = 12, kJoint = 1.6;
  const double row = std::floor(y / kHeight);
  const double shifted = x + (std::fmod(std::fabs(row), 2) < 0.5 ? 0 : kWidth / 2);
  const double along = shifted - std::floor(shifted / kWidth) * kWidth, up = y - row * kHeight;
  return inside(kJoint - std::min({along, kWidth - along, up, kHeight - up}), pixel);
}

double waves(double x, double y, double pixel) {
  constexpr double kBend = 5, kLength = 48;
  const double bent = x + kBend * std::sin(2 * std::numbers::pi * y / kLength);
  return 0.5 + 0.5 * square_wave(bent, 8, pixel);
}

// Value noise as in data/texture.cpp, between -1 and 1.
double noise(uint64_t seed, double x, double y, double width) {
  const double column = std::floor(x / width), row = std::floor(y / width);
  const auto i = static_cast<int64_t>(row), j = static_cast<int64_t>(column);
  const auto smooth = [](double t) { return t * t * t * (t * (6 * t - 15) + 10); };
  const double fx = smooth(x / width - column), fy = smooth(y / width - row);
  const auto corner = [&](int64_t down, int64_t right) {
    return CellHash(seed, j + right, i + down).uniform(0, -1, 1);
  };
  const double top = corner(0, 0) + fx * (corner(0, 1) - corner(0, 0));
  const double bottom = corner(1, 0) + fx * (corner(1, 1) - corner(1, 0));
  return top + fy * (bottom - top);
}

}  // namespace

ActionPattern::ActionPattern(Draws& draws, int64_t family)
    : family_(family), seed_(static_cast<uint64_t>(draws.below(int64_t{1} << 62))) {
  const double half = draws.uniform(35, 60) * (draws.chance(0.5) ? 1 : -1);
  for (size_t c = 0; c < 3; ++c) {
    const double middle = draws.uniform(90, 165);
    color_[0][c] = static_cast<float>(middle - half + draws.uniform(-20, 20));
    color_[1][c] = static_cast<float>(middle + half + draws.uniform(-20, 20));
  }
}

double ActionPattern::share(double x, double y, double pixel) const {
  switch (family_) {
    case 0:
      return 0.5 + 0.5 * square_wave(x, 12, pixel) * square_wave(y, 12, pixel);
    case 1:
      return dots(seed_, x, y, pixel);
    case 2:
      return waves(x, y, pixel);
    case 3:
      return rings(seed_, x, y, pixel);
    case 4:
      return bricks(x, y, pixel);
    default:
      return crosses(seed_, x, y, pixel);
  }
}

double ActionPattern::shading(double x, double y) const {
  double sum = 0;
  for (const int octave : {32, 16, 8}) sum += noise(seed_ + static_cast<uint64_t>(octave), x, y, octave);
  return kShade * sum;
}

std::array<float, 3> ActionPattern::at(double x, double y, double pixel) const {
  const auto part = static_cast<float>(share(x, y, pixel)), shade = static_cast<float>(shading(x, y));
  std::array<float, 3> value;
  for (size_t c = 0; c < 3; ++c)
    value[c] = std::clamp(color_[0][c] + part * (color_[1][c] - color_[0][c]) + shade, 0.0f, 255.0f);
  return value;
}

}  // namespace millrace
