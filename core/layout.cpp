#include "core/layout.h"

#include <algorithm>

namespace millrace {
namespace {

// 1 where the axis is not among them.
int64_t size_of_axis(const std::vector<Layout::Block>& blocks, int axis) {
  for (const Layout::Block& b : blocks) {
    if (b.axis == axis) return b.size;
  }
  return 1;
}

int64_t block_of(const Layout& layout, int axis) { return size_of_axis(layout.blocks, axis); }

int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// Of an axis, how many blocks stand in the array.
int64_t blocks_along(const Layout& layout, const Shape& shape, int axis) {
  const int64_t size = block_of(layout, axis);
  return (round_up(shape[axis], size_of_axis(layout.pads, axis)) + size - 1) / size;
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
  for (const Block& b : pads) text += "+" + std::to_string(b.size) + static_cast<char>('a' + b.axis);
  return text;
}

Layout channel_blocked(int64_t block) { return {{0, 3, 1, 2}, {{3, block}}}; }

int64_t channel_block(const Layout& layout) {
  return layout.blocks.size() == 1 && layout == channel_blocked(layout.blocks[0].size) ? layout.blocks[0].size
                                                                                       : 0;
}

Layout channel_padded(const Shape& shape, int64_t multiple) {
  const int last = shape.rank() - 1;
  if (shape[last] % multiple == 0) return {};
  Layout layout;
  for (int axis = 0; axis <= last; ++axis) layout.order.push_back(axis);
  layout.pads = {{last, multiple}};
  return layout;
}

bool is_channel_padded(const Layout& layout) {
  if (!layout.blocks.empty() || layout.pads.size() != 1) return false;
  for (size_t k = 0; k < layout.order.size(); ++k) {
    if (layout.order[k] != static_cast<int>(k)) return false;
  }
  return layout.pads[0].axis == static_cast<int>(layout.order.size()) - 1;
}

int64_t channel_pitch(const Layout& layout, const Shape& shape) {
  const int last = shape.rank() - 1;
  return round_up(shape[last], size_of_axis(layout.pads, last));
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

std::vector<int64_t> layout_places(const Layout& layout, const Shape& shape) {
  const LayoutTable table = layout_table(layout, shape);
  std::vector<int64_t> places{0};
  for (int axis = 0; axis < shape.rank(); ++axis) {
    std::vector<int64_t> next;
    for (const int64_t place : places) {
      for (const int64_t offset : table[static_cast<size_t>(axis)]) next.push_back(place + offset);
    }
    places = std::move(next);
  }
  return places;
}

}  // namespace millrace
