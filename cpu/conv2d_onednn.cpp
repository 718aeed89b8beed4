// The convolution family by oneDNN, in float: one primitive a node. How activations and weights lie is what
// the primitive wants; the plan puts reorders where two nodes do not agree.
#include <algorithm>

#include "cpu/onednn_program.h"
#include "cpu/versions.h"
#include "layers/conv2d.h"

namespace millrace::cpu {
namespace {

using onednn::memory;
using Specs = std::span<const Spec>;

bool has_avx512() {
  constexpr auto avx512 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & avx512) == avx512;
}

// Channels in a vector, which is what oneDNN blocks by.
int64_t vector_block() { return has_avx512() ? 16 : 8; }

// How activations lie: (N,H,W,C), or blocked by channels.
enum class Activations { nhwc, blocked };

// The forward convolution, which its adjoints refer to, in oneDNN's words.
struct Problem {
  Spec x, w, y;
  int64_t stride, pad;
  Activations activations;
  bool weights_as_they_lie;

  memory::desc activation(const Spec& s) const {
    const bool blocked = activations == Activations::blocked;
    return onednn::describe({s.shape, s.dtype, blocked ? channel_blocked(vector_block()) : Layout{}});
  }
  memory::desc x_desc() const { return activation(x); }
  memory::desc y_desc() const { return activation(y); }
  memory::desc w_desc() const {
    return weights_as_they_lie ? onednn::describe(w) : onednn::describe_any(w.shape);
  }
  memory::dims strides() const { return {stride, stride}; }
  memory::dims pads() const { return {pad, pad}; }
  // What oneDNN wants to see before it describes a gradient.
  dnnl::convolution_forward::primitive_desc hint() const {
    return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, x_desc(),
             onednn::describe_any(w.shape), y_desc(), strides(), pads(), pads()},
            onednn::engine()};
  }
};

// What may be asked of a version.
struct Wish {
  Activations activations;
  bool weights_as_they_lie;
};

std::optional<Prepared> prepare_problem(const Conv2dAttrs& a, Specs in, Specs out, Wish wish) {
  const Problem p{in[0], in[1], out[0], a.stride, a.pad, wish.activations, wish.weights_as_they_lie};
  using Forward = dnnl::convolution_forward;
  constexpr auto kind = dnnl::prop_kind::forward_inference;
  constexpr auto algorithm = dnnl::algorithm::convolution_direct;
  const bool bias = in.size() == 3;
  const auto desc = bias ? Forward::desc(kind, algorithm, p.x_desc(), p.w_desc(), onednn::describe(in[2]),
                                         p.y_desc(), p.strides(), p.pads(), p.pads())
                         : Forward::desc(kind, algorithm, p.x_desc(), p.w_desc(), p.y_desc(), p.strides(),
                                         p.pads(), p.pads());
  dnnl::primitive_attr attr = onednn::user_scratchpad();
  if (a.negative_slope != 1) {
    dnnl::post_ops leaky;
    leaky.append_eltwise(1, dnnl::algorithm::eltwise_relu, static_cast<float>(a.negative_slope), 0);
    attr.set_post_ops(leaky);
  }
  std::vector<onednn::Program::Operand> operands{{DNNL_ARG_SRC, false, 0}, {DNNL_ARG_WEIGHTS, false, 1}};
  if (bias) operands.push_back({DNNL_ARG_BIAS, false, 2});
  operands.push_back({DNNL_ARG_DST, true, 0});
  return onednn::prepare<Forward>({desc, attr, onednn::engine()}, operands, in, out);
}

std::optional<Prepared> prepare_problem(const Conv2dDxAttrs& a, Specs in, Specs out, Wish wish) {
  if (a.fused()) return {};
  const Problem p{out[0], in[1], in[0], a.stride, a.pad, wish.activations, wish.weights_as_they_lie};
  using Backward = dnnl::convolution_backward_data;
  const Backward::desc desc(dnnl::algorithm::convolution_direct, p.x_desc(), p.w_desc(), p.y_desc(),
                            p.strides(), p.pads(), p.pads());
  return onednn::prepare<Backward>(
      {desc, onednn::user_scratchpad(), onednn::engine(), p.hint()},
      {{DNNL_ARG_DIFF_DST, false, 0}, {DNNL_ARG_WEIGHTS, false, 1}, {DNNL_ARG_DIFF_SRC, true, 0}}, in, out);
}

std::optional<Prepared> prepare_problem(const Conv2dDwAttrs& a, Specs in, Specs out, Wish wish) {
  const Problem p{in[0], out[0], in[1], a.stride, a.pad, wish.activations, false};
  using Backward = dnnl::convolution_backward_weights;
  const Backward::desc desc(dnnl::algorithm::convolution_direct, p.x_desc(), p.w_desc(), p.y_desc(),
                            p.strides(), p.pads(), p.pads());
  return onednn::prepare<Backward>(
      {desc, onednn::user_scratchpad(), onednn::engine(), p.hint()},
      {{DNNL_ARG_SRC, false, 0}, {DNNL_ARG_DIFF_DST, false, 1}, {DNNL_ARG_DIFF_WEIGHTS, true, 0}}, in, out);
}

// AVX2: blocked, wherever channels fill a block, so that whole nets are (the weight gradient takes a third of
// the time of NHWC's, on rows over 16 KiB). AVX-512: NHWC is as fast (bench/conv on MotionNet, on a Xeon of
// 2023), and takes few channels better; only weight gradients of stride 2 with many channels take 0.6 to 0.85
// of the time blocked, which pays for the reorders.
bool prefers_blocked(const Shape& x, const Shape& y) {
  return !has_avx512() && std::min(x[3], y[3]) >= vector_block();
}

bool prefers_blocked_dw(const Conv2dDwAttrs& a, const Shape& x, const Shape& y) {
  return has_avx512() ? a.stride > 1 && x[3] * y[3] >= 128 * 256 : prefers_blocked(x, y);
}

Activations preferred(const Conv2dAttrs&, Specs in, Specs out) {
  return prefers_blocked(in[0].shape, out[0].shape) ? Activations::blocked : Activations::nhwc;
}
Activations preferred(const Conv2dDxAttrs&, Specs in, Specs out) {
  return prefers_blocked(out[0].shape, in[0].shape) ? Activations::blocked : Activations::nhwc;
}
Activations preferred(const Conv2dDwAttrs& a, Specs in, Specs) {
  return prefers_blocked_dw(a, in[0].shape, in[1].shape) ? Activations::blocked : Activations::nhwc;
}

template <class T> std::optional<Prepared> prepare_wish(const Op& op, Specs in, Specs out, const Wish& wish) {
  try {
    return prepare_problem(static_cast<const T&>(op).attrs, in, out, wish);
  } catch (const dnnl::error&) {  // oneDNN has no code for this: another version does it
    return {};
  }
}

bool is_slow(const std::optional<Prepared>& p) {
  return !p || p->implementation.find("gemm") != std::string::npos;
}

// Weights are taken as they lie in the State where oneDNN has good code for that.
template <class T> std::optional<Prepared> prepare_in(const Op& op, Specs in, Specs out, Activations layout) {
  std::optional<Prepared> prepared;
  if (!in[1].layout.dense()) prepared = prepare_wish<T>(op, in, out, {layout, true});
  if (is_slow(prepared)) prepared = prepare_wish<T>(op, in, out, {layout, false});
  if (prepared && layout == Activations::blocked) prepared->implementation += " blocked";
  return prepared;
}

template <class T, Activations layout> std::optional<Prepared> prepare(const Op& op, Specs in, Specs out) {
  return prepare_in<T>(op, in, out, layout);
}

// The layout that the rules prefer, or else the one for which oneDNN has code.
template <class T> std::optional<Prepared> prepare_preferred(const Op& op, Specs in, Specs out) {
  const Activations layout = preferred(static_cast<const T&>(op).attrs, in, out);
  if (auto prepared = prepare_in<T>(op, in, out, layout)) return prepared;
  return prepare_in<T>(op, in, out, layout == Activations::nhwc ? Activations::blocked : Activations::nhwc);
}

// The forward convolution and the weight gradient use one layout of weights, blocked by both channels: so
// they lie in the State, and only the data gradient reorders them.
Layout weight_layout(const Spec& weights) {
  const int64_t block = vector_block();
  if (weights.dtype != Dtype::f32 || weights.shape[0] < block || weights.shape[3] < block) return {};
  return {{0, 3, 1, 2}, {{3, block}, {0, block}}};
}

// "onednn" is for use; the other two are for benchmarks and tests.
template <class T> void add(Registry& r) {
  const auto version = [&](const char* name, PrepareFn prepare, int preference) {
    r.add_kernel({.op = T::kName,
                  .device = "cpu",
                  .version = name,
                  .dtype = Dtype::f32,
                  .run = onednn::run,
                  .prepare = prepare,
                  .preference = preference});
  };
  version("onednn", prepare_preferred<T>, 3);
  version("onednn-nhwc", prepare<T, Activations::nhwc>, 2);
  version("onednn-blocked", prepare<T, Activations::blocked>, 1);
}

}  // namespace

void register_conv2d_onednn(Registry& r) {
  r.set_weight_layout("cpu", weight_layout);
  add<Conv2d>(r);
  add<Conv2dDx>(r);
  add<Conv2dDw>(r);
}

}  // namespace millrace::cpu
