// What synthetic actions are painted with: endless two-coloured patterns, a family of them for each class of
// appearance.
#pragma once

#include <array>
#include <cstdint>

#include "data/draws.h"

namespace millrace {

// The families, in the order in which classes take them.
inline constexpr std::array kPatternFamilies = {"checks", "dots", "waves", "rings", "bricks", "crosses"};

// A function of the plane, to be looked at from anywhere. Cells of 8 to 24 units hold one figure each, shaped
// by a hash of the cell, and shading noise of cells of 32, 16 and 8 units lies over all. No family looks
// alike along a direction, so that each shows any motion: stripes are bent to waves for this.
//
// Two colours are drawn alike and exchanged at random, and shading does not depend on the family: the colour
// of a single pixel has the same distribution in all families.
class ActionPattern {
 public:
  // All families repeat their grids in this many units: a start that is uniform in it favours no place.
  static constexpr double kPeriod = 3072;

  ActionPattern(Draws& draws, int64_t family);

  int64_t family() const { return family_; }
  // B, G, R from 0 to 255 at a point; `pixel` is the width of a pixel in units, over which edges are
  // softened.
  std::array<float, 3> at(double x, double y, double pixel) const;

 private:
  double share(double x, double y, double pixel) const;  // of the second colour
  double shading(double x, double y) const;

  int64_t family_;
  uint64_t seed_;
  std::array<std::array<float, 3>, 2> color_{};
};

}  // namespace millrace
