#include "core/layout.h"

#include <algorithm>

namespace millrace {
namespace {

int64_t block_of(const Layout& layout, int axis) {
  for (const Layout::Block& b : layout.blocks) {
    if (b.axis == axis) return b.size;
  }
  return 1;
}

int64_t blocks_along(const Layout& layout, const Shape& shape, int axis) {
  const int64_t size = block_of(layout, axis);
  return (shape[axis] + size - 1) / size;
}

}  // namespace

int64_t Layout::count(const Shape& shape) const {
  if (dense()) return shape.count();
  int64_t product = 1;
  for (int axis = 0; axis < shape.rank(); ++axis)
    product *= blocks_along(*this, shape, axis) * block_of(*this, axis);
  return product;
}

std::string Layout::to_string() const {
  std::string text;
  for (int axis : order) text += static_cast<char>((block_of(*this, axis) > 1 ? 'A' : 'a') + axis);
  for (const Block& b : blocks) text += std::to_string(b.size) + static_cast<char>('a' + b.axis);
  return text;
}

Layout channel_blocked(int64_t block) { return {{0, 3, 1, 2}, {{3, block}}}; }

int64_t channel_block(const Layout& layout) {
  return layout.blocks.size() == 1 && layout == channel_blocked(layout.blocks[0].size) ? layout.blocks[0].size
                                                                                       : 0;
}

LayoutTable layout_table(const Layout& layout, const Shape& shape) {
  std::array<int64_t, Shape::kMaxRank> inner{}, outer{};  // strides within a block and of blocks
  int64_t stride = 1;
  for (auto b = layout.blocks.rbegin(); b != layout.blocks.rend(); ++b) {
    inner[static_cast<size_t>(b->axis)] = stride;
    stride *= b->size;
  }
  for (int k = shape.rank(); k-- > 0;) {
    const int axis = layout.dense() ? k : layout.order[static_cast<size_t>(k)];
    outer[static_cast<size_t>(axis)] = stride;
    stride *= blocks_along(layout, shape, axis);
  }
  LayoutTable table;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const auto a = static_cast<size_t>(axis);
    const int64_t size = block_of(layout, axis);
    for (int64_t x = 0; x < shape[axis]; ++x) table[a].push_back(x / size * outer[a] + x % size * inner[a]);
  }
  return table;
}

}  // namespace millrace
