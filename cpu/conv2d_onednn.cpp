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

// What may be asked of a version.
struct Wish {
  Activations activations;
  bool weights_as_they_lie;
  dnnl::algorithm algorithm = dnnl::algorithm::convolution_direct;
};

// The forward convolution, which its adjoints refer to, in oneDNN's words.
struct Problem {
  Spec x, w, y;
  int64_t stride, pad;
  Wish wish;

  memory::desc activation(const Spec& s) const {
    const bool blocked = wish.activations == Activations::blocked;
    return onednn::describe({s.shape, s.dtype, blocked ? channel_blocked(vector_block()) : Layout{}});
  }
  memory::desc x_desc() const { return activation(x); }
  memory::desc y_desc() const { return activation(y); }
  memory::desc w_desc() const {
    return wish.weights_as_they_lie ? onednn::describe(w) : onednn::describe_any(w.shape);
  }
  memory::dims strides() const { return {stride, stride}; }
  memory::dims pads() const { return {pad, pad}; }
  // What oneDNN wants to see before it describes a gradient.
  dnnl::convolution_forward::primitive_desc hint() const {
    return {{dnnl::prop_kind::forward_training, wish.algorithm, x_desc(), onednn::describe_any(w.shape),
             y_desc(), strides(), pads(), pads()},
            onednn::engine()};
  }
};

std::optional<Prepared> prepare_problem(const Conv2dAttrs& a, Specs in, Specs out, Wish wish) {
  const Problem p{in[0], in[1], out[0], a.stride, a.pad, wish};
  using Forward = dnnl::convolution_forward;
  const bool winograd = wish.algorithm == dnnl::algorithm::convolution_winograd;
  // For inference Winograd's weights would be transformed beforehand, in a layout that is oneDNN's secret.
  const auto kind = winograd ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
  const bool bias = in.size() == 3;
  const auto desc = bias ? Forward::desc(kind, wish.algorithm, p.x_desc(), p.w_desc(),
                                         onednn::describe(in[2]), p.y_desc(), p.strides(), p.pads(), p.pads())
                         : Forward::desc(kind, wish.algorithm, p.x_desc(), p.w_desc(), p.y_desc(),
                                         p.strides(), p.pads(), p.pads());
  dnnl::primitive_attr attr = onednn::user_scratchpad();
  const bool afterwards = winograd && a.negative_slope != 0;  // Winograd's code knows the plain ReLU alone
  if (a.negative_slope != 1 && !afterwards) {
    dnnl::post_ops leaky;
    leaky.append_eltwise(1, dnnl::algorithm::eltwise_relu, static_cast<float>(a.negative_slope), 0);
    attr.set_post_ops(leaky);
  }
  std::vector<onednn::Program::Operand> operands{{DNNL_ARG_SRC, false, 0}, {DNNL_ARG_WEIGHTS, false, 1}};
  if (bias) operands.push_back({DNNL_ARG_BIAS, false, 2});
  operands.push_back({DNNL_ARG_DST, true, 0});
  return onednn::prepare<Forward>({desc, attr, onednn::engine()}, operands, in, out,
                                  afterwards ? a.negative_slope : 1);
}

std::optional<Prepared> prepare_problem(const Conv2dDxAttrs& a, Specs in, Specs out, Wish wish) {
  if (a.fused()) return {};
  const Problem p{out[0], in[1], in[0], a.stride, a.pad, wish};
  using Backward = dnnl::convolution_backward_data;
  const Backward::desc desc(wish.algorithm, p.x_desc(), p.w_desc(), p.y_desc(), p.strides(), p.pads(),
                            p.pads());
  return onednn::prepare<Backward>(
      {desc, onednn::user_scratchpad(), onednn::engine(), p.hint()},
      {{DNNL_ARG_DIFF_DST, false, 0}, {DNNL_ARG_WEIGHTS, false, 1}, {DNNL_ARG_DIFF_SRC, true, 0}}, in, out);
}

std::optional<Prepared> prepare_problem(const Conv2dDwAttrs& a, Specs in, Specs out, Wish wish) {
  const Problem p{in[0], out[0], in[1], a.stride, a.pad, {wish.activations, false, wish.algorithm}};
  using Backward = dnnl::convolution_backward_weights;
  const Backward::desc desc(wish.algorithm, p.x_desc(), p.w_desc(), p.y_desc(), p.strides(), p.pads(),
                            p.pads());
  return onednn::prepare<Backward>(
      {desc, onednn::user_scratchpad(), onednn::engine(), p.hint()},
      {{DNNL_ARG_SRC, false, 0}, {DNNL_ARG_DIFF_DST, false, 1}, {DNNL_ARG_DIFF_WEIGHTS, true, 0}}, in, out);
}

// Blocked, wherever channels fill a block, so that whole nets are. With AVX2 the weight gradient takes a
// third of the time of NHWC's, on rows over 16 KiB. With AVX-512 direct convolutions are as fast in either,
// weight gradients of stride 2 with many channels take 0.6 to 0.85 of the time blocked, and Winograd's are
// always.
bool prefers_blocked(const Shape& x, const Shape& y) { return std::min(x[3], y[3]) >= vector_block(); }

Activations preferred(const Conv2dAttrs&, Specs in, Specs out) {
  return prefers_blocked(in[0].shape, out[0].shape) ? Activations::blocked : Activations::nhwc;
}
Activations preferred(const Conv2dDxAttrs&, Specs in, Specs out) {
  return prefers_blocked(out[0].shape, in[0].shape) ? Activations::blocked : Activations::nhwc;
}
Activations preferred(const Conv2dDwAttrs&, Specs in, Specs) {
  return prefers_blocked(in[0].shape, in[1].shape) ? Activations::blocked : Activations::nhwc;
}

// Winograd's minimal filtering (Winograd 1980; Lavin & Gray, arXiv 1509.09308), with tiles of 4x4 outputs: 36
// products where a direct convolution has 144. oneDNN has it for AVX-512. Its cost beside the products, above
// all the transformed weights, pays from some tens of tiles and 32 by 32 or 16 by 64 channels on: there it
// takes .4 to .7 of the time of the direct convolution (VGG16 and MotionNet at 224x224, a Xeon of 2023,
// oneDNN 2.6.3), below it up to 4 times as long. Results differ from exact ones by up to 3e-6 of the largest,
// a direct convolution's by 3e-7.
constexpr int64_t kWinogradTiles = 48, kWinogradChannels = 16, kWinogradPairs = 32 * 32;

bool winograd_does(const Shape& x, const Shape& w, const Shape& y, int64_t stride, int64_t pad) {
  return has_avx512() && stride == 1 && pad == 1 && w[1] == 3 && w[2] == 3 &&
         std::min(x[3], y[3]) >= kWinogradChannels && x[3] * y[3] >= kWinogradPairs &&
         y[0] * ((y[1] + 3) / 4) * ((y[2] + 3) / 4) >= kWinogradTiles;
}
bool winograd_pays(const Conv2dAttrs& a, Specs in, Specs out) {
  return winograd_does(in[0].shape, in[1].shape, out[0].shape, a.stride, a.pad);
}
bool winograd_pays(const Conv2dDxAttrs& a, Specs in, Specs out) {
  return winograd_does(out[0].shape, in[1].shape, in[0].shape, a.stride, a.pad);
}
bool winograd_pays(const Conv2dDwAttrs& a, Specs in, Specs out) {
  return winograd_does(in[0].shape, out[0].shape, in[1].shape, a.stride, a.pad);
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

// oneDNN has Winograd's convolutions for blocked activations alone.
template <class T> std::optional<Prepared> prepare_winograd(const Op& op, Specs in, Specs out) {
  for (const bool as_they_lie : {true, false}) {
    auto prepared = prepare_wish<T>(
        op, in, out, {Activations::blocked, as_they_lie, dnnl::algorithm::convolution_winograd});
    if (prepared) return prepared;
  }
  return {};
}

// Winograd's convolution where it pays, else the layout that the rules prefer, or else the one for which
// oneDNN has code.
template <class T> std::optional<Prepared> prepare_preferred(const Op& op, Specs in, Specs out) {
  if (winograd_pays(static_cast<const T&>(op).attrs, in, out)) {
    if (auto prepared = prepare_winograd<T>(op, in, out)) return prepared;
  }
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

// "onednn" is for use; the others are for benchmarks and tests.
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
  version("onednn-winograd", prepare_winograd<T>, 0);
}

}  // namespace

void register_conv2d_onednn(Registry& r) {
  r.set_weight_layout("cpu", weight_layout);
  add<Conv2d>(r);
  add<Conv2dDx>(r);
  add<Conv2dDw>(r);
}

}  // namespace millrace::cpu
