// Fully connected layers by oneDNN, in float: one inner product a node, on arrays as they lie.
#include "cpu/onednn_program.h"
#include "cpu/versions.h"
#include "layers/linear.h"

namespace millrace::cpu {
namespace {

using Specs = std::span<const Spec>;

// Extents behind the first as one: oneDNN sees matrices.
std::vector<Spec> matrices(Specs specs) {
  std::vector<Spec> flat;
  for (const Spec& s : specs) {
    const Shape& shape = s.shape;
    flat.push_back({shape.rank() > 1 ? Shape{shape[0], shape.count() / shape[0]} : shape, s.dtype});
  }
  return flat;
}

std::optional<Prepared> prepare_forward(const Op& op, Specs in, Specs out) {
  using Forward = dnnl::inner_product_forward;
  constexpr auto kind = dnnl::prop_kind::forward_inference;
  const bool bias = in.size() == 3;
  const auto x = onednn::describe(in[0]), w = onednn::describe(in[1]), y = onednn::describe(out[0]);
  const auto desc =
      bias ? Forward::desc(kind, x, w, onednn::describe(in[2]), y) : Forward::desc(kind, x, w, y);
  dnnl::primitive_attr attr = onednn::user_scratchpad();
  const double slope = static_cast<const Linear&>(op).attrs.negative_slope;
  if (slope != 1) {
    dnnl::post_ops leaky;
    leaky.append_eltwise(1, dnnl::algorithm::eltwise_relu, static_cast<float>(slope), 0);
    attr.set_post_ops(leaky);
  }
  std::vector<onednn::Program::Operand> operands{{DNNL_ARG_SRC, false, 0}, {DNNL_ARG_WEIGHTS, false, 1}};
  if (bias) operands.push_back({DNNL_ARG_BIAS, false, 2});
  operands.push_back({DNNL_ARG_DST, true, 0});
  return onednn::prepare<Forward>({desc, attr, onednn::engine()}, operands, in, out);
}

// What oneDNN wants to see before it describes a gradient.
dnnl::inner_product_forward::primitive_desc hint(const Spec& x, const Spec& w, const Spec& y) {
  return {{dnnl::prop_kind::forward_training, onednn::describe(x), onednn::describe(w), onednn::describe(y)},
          onednn::engine()};
}

std::optional<Prepared> prepare_dx(const Op&, Specs in, Specs out) {
  using Backward = dnnl::inner_product_backward_data;
  const Backward::desc desc(onednn::describe(out[0]), onednn::describe(in[1]), onednn::describe(in[0]));
  return onednn::prepare<Backward>(
      {desc, onednn::user_scratchpad(), onednn::engine(), hint(out[0], in[1], in[0])},
      {{DNNL_ARG_DIFF_DST, false, 0}, {DNNL_ARG_WEIGHTS, false, 1}, {DNNL_ARG_DIFF_SRC, true, 0}}, in, out);
}

std::optional<Prepared> prepare_dw(const Op&, Specs in, Specs out) {
  using Backward = dnnl::inner_product_backward_weights;
  const Backward::desc desc(onednn::describe(in[0]), onednn::describe(out[0]), onednn::describe(in[1]));
  return onednn::prepare<Backward>(
      {desc, onednn::user_scratchpad(), onednn::engine(), hint(in[0], out[0], in[1])},
      {{DNNL_ARG_SRC, false, 0}, {DNNL_ARG_DIFF_DST, false, 1}, {DNNL_ARG_DIFF_WEIGHTS, true, 0}}, in, out);
}

template <PrepareFn kPrepare> std::optional<Prepared> prepare(const Op& op, Specs in, Specs out) {
  try {
    auto prepared = kPrepare(op, matrices(in), matrices(out));
    if (prepared) prepared->layouts = {};  // all dense
    return prepared;
  } catch (const dnnl::error&) {  // oneDNN has no code for this: another version does it
    return {};
  }
}

void add(Registry& r, const char* op, PrepareFn prepare_node) {
  r.add_kernel({.op = op,
                .device = "cpu",
                .version = "onednn",
                .dtype = Dtype::f32,
                .run = onednn::run,
                .prepare = prepare_node,
                .preference = 1});
}

}  // namespace

void register_linear_onednn(Registry& r) {
  add(r, Linear::kName, prepare<prepare_forward>);
  add(r, LinearDx::kName, prepare<prepare_dx>);
  add(r, LinearDw::kName, prepare<prepare_dw>);
}

}  // namespace millrace::cpu
