// Layout: how the elements of a value lie in memory. Dense, in the order of the shape, unless a plan decides
// otherwise (core/layouts.h): libraries compute some ops faster on blocked arrays.
//
// In a blocked layout the axes stand in another order, outermost first, and some are cut into blocks, which
// lie innermost, in the order given. (N,H,W,C) in order 0 3 1 2 with C in blocks of 16 is the array
// [N][ceil(C / 16)][H][W][16], which oneDNN calls nChw16c. The last block is filled up with zeros. An axis
// can also be made longer to the next multiple of a number, with zeros at its end: (N,H,W,20) with pad 8 of C
// is the array [N][H][W][24], which tensor cores read without a copy.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/shape.h"

namespace millrace {

struct Layout {
  struct Block {
    int axis = 0;
    int64_t size = 1;
    bool operator==(const Block&) const = default;
  };
  std::vector<int> order;     // of all axes; empty: dense
  std::vector<Block> blocks;  // at most one for an axis
  std::vector<Block> pads{};  // axes that end at a multiple of `size`; others than those of blocks

  bool operator==(const Layout&) const = default;
  bool dense() const { return order.empty(); }
  // Elements of the array, with what fills up the last blocks.
  int64_t count(const Shape& shape) const;
  // "", or axes as letters from a, those that are cut in capitals, then the blocks: "aDbc16d"; then the pads:
  // "abcd+8d".
  std::string to_string() const;
};

// Of (N,H,W,C): [N][C / block][H][W][block].
Layout channel_blocked(int64_t block);
// The block of such a layout, and 0 for any other.
int64_t channel_block(const Layout& layout);

// In the order of the shape, its last axis ending at a multiple of `multiple`; dense where it does so anyway.
Layout channel_padded(const Shape& shape, int64_t multiple);
// Whether a value lies so, with any multiple.
bool is_channel_padded(const Layout& layout);
// Of an array whose last axis is innermost and in one piece: elements from one pixel to the next.
int64_t channel_pitch(const Layout& layout, const Shape& shape);

// Element (n, i, ...) of the shape lies at table[0][n] + table[1][i] + ...
using LayoutTable = std::array<std::vector<int64_t>, Shape::kMaxRank>;
LayoutTable layout_table(const Layout& layout, const Shape& shape);
// The places of all elements, in the order of the shape.
std::vector<int64_t> layout_places(const Layout& layout, const Shape& shape);

}  // namespace millrace
