#include "cpu/onednn_program.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "layers/leaky_relu.h"

namespace millrace::cpu::onednn {
namespace {

// Our axes in oneDNN's order, and back: N, C, H, W of N, H, W, C.
constexpr std::array<int, 4> kOurs{0, 3, 1, 2}, kTheirs{0, 2, 3, 1};

int ours(int rank, int axis) { return rank == 4 ? kOurs[static_cast<size_t>(axis)] : axis; }
int theirs(int rank, int axis) { return rank == 4 ? kTheirs[static_cast<size_t>(axis)] : axis; }

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

memory::dims dims_of(const Shape& shape) {
  memory::dims dims;
  for (int axis = 0; axis < shape.rank(); ++axis) dims.push_back(shape[ours(shape.rank(), axis)]);
  return dims;
}

memory::desc describe_any(const Shape& shape) {
  return {dims_of(shape), memory::data_type::f32, memory::format_tag::any};
}

memory::desc describe(const Spec& spec) {
  const int rank = spec.shape.rank();
  const Layout dense = [&] {
    Layout layout;
    for (int axis = 0; axis < rank; ++axis) layout.order.push_back(axis);
    return layout;
  }();
  const Layout& layout = spec.layout.dense() ? dense : spec.layout;
  dnnl_memory_desc_t d{};
  d.ndims = rank;
  d.data_type = dnnl_f32;
  d.format_kind = dnnl_blocked;
  int64_t stride = 1;
  std::array<int64_t, Shape::kMaxRank> size;
  size.fill(1);
  d.format_desc.blocking.inner_nblks = static_cast<int>(layout.blocks.size());
  for (size_t k = 0; k < layout.blocks.size(); ++k) {
    const Layout::Block& b = layout.blocks[k];
    size[static_cast<size_t>(b.axis)] = b.size;
    d.format_desc.blocking.inner_blks[k] = b.size;
    d.format_desc.blocking.inner_idxs[k] = theirs(rank, b.axis);
    stride *= b.size;
  }
  for (auto axis = layout.order.rbegin(); axis != layout.order.rend(); ++axis) {
    const int64_t block = size[static_cast<size_t>(*axis)], blocks = (spec.shape[*axis] + block - 1) / block;
    const int there = theirs(rank, *axis);
    d.dims[there] = spec.shape[*axis];
    d.padded_dims[there] = blocks * block;
    d.format_desc.blocking.strides[there] = stride;
    stride *= blocks;
  }
  return memory::desc(d);
}

std::optional<Layout> layout_of(const memory::desc& desc, const Shape& shape) {
  const int rank = shape.rank();
  if (desc == describe({shape})) return Layout{};
  const dnnl_memory_desc_t& d = desc.data;
  if (d.format_kind != dnnl_blocked) return {};
  const dnnl_blocking_desc_t& blocking = d.format_desc.blocking;
  Layout layout;
  for (int axis = 0; axis < rank; ++axis) layout.order.push_back(axis);
  std::stable_sort(layout.order.begin(), layout.order.end(), [&](int a, int b) {
    return blocking.strides[theirs(rank, a)] > blocking.strides[theirs(rank, b)];
  });
  for (int k = 0; k < blocking.inner_nblks; ++k) {
    layout.blocks.push_back({ours(rank, static_cast<int>(blocking.inner_idxs[k])), blocking.inner_blks[k]});
  }
  if (describe({shape, Dtype::f32, layout}) != desc) return {};
  return layout;
}

void Program::run(const KernelArgs& args) const {
  for (const Binding& b : bindings_) {
    b.place.set_data_handle((b.operand.output ? args.out : args.in)[b.operand.index].data, stream_);
  }
  scratchpad_.set_data_handle(args.workspace, stream_);
  primitive_.execute(stream_, arguments_);
  if (slope_ != 1) rectify(args.out[bindings_.back().operand.index], bindings_.back().place);
}

// Of all elements as they lie, those that fill up blocks too: they are 0 and stay so.
void Program::rectify(const Tensor& y, const memory& place) const {
  const LeakyReluFormula<float> leaky{slope_};
  float* values = y.as<float>();
  const auto count = static_cast<int64_t>(place.get_desc().get_size() / sizeof(float));
  parallel_for(count, [=](int64_t k) { values[k] = leaky(values[k]); });
}

void run(const KernelArgs& args) { static_cast<const Program*>(args.prepared)->run(args); }

}  // namespace millrace::cpu::onednn
