// The convolution family by oneDNN, in float. Between nodes activations are dense NHWC and weights dense
// OHWI. A kernel reorders the weights to the blocked format that oneDNN's code wants, and where that pays the
// activations too, inside its workspace at each run.
#include <algorithm>
#include <dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/device.h"
#include "cpu/conv2d.h"
#include "layers/conv2d.h"

namespace millrace::cpu {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Specs = std::span<const Spec>;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// oneDNN's reference loops are hundreds of times slower than its other code.
bool is_reference(const dnnl::primitive_desc_base& desc) {
  return std::string(desc.impl_info_str()).starts_with("ref");
}

// oneDNN names extents N, C, H, W (weights O, I, kh, kw) whatever their order in memory.
memory::desc describe(const Shape& s, Tag tag) {
  if (s.rank() == 1) return {{s[0]}, memory::data_type::f32, Tag::a};
  return {{s[0], s[3], s[1], s[2]}, memory::data_type::f32, tag};
}

// Primitives in order of execution, and where their memory lies: what one step of a plan keeps.
class Program {
 public:
  Program() : stream_(engine()) {}

  // An operand of the plan, which lies as NHWC says.
  memory operand(const Shape& shape, bool output, size_t index) {
    memory m(describe(shape, Tag::nhwc), engine(), DNNL_MEMORY_NONE);
    bindings_.push_back({m, output ? Binding::kOutput : Binding::kInput, index});
    return m;
  }
  memory workspace(const memory::desc& desc) {
    memory m(desc, engine(), DNNL_MEMORY_NONE);
    bindings_.push_back({m, Binding::kWorkspace, static_cast<size_t>(workspace_bytes_)});
    workspace_bytes_ += align_up(static_cast<int64_t>(desc.get_size()));
    return m;
  }
  // Adds a primitive; its scratchpad becomes part of the workspace.
  template <class Primitive>
  void call(const typename Primitive::primitive_desc& desc, std::unordered_map<int, memory> args) {
    const memory::desc scratchpad = desc.scratchpad_desc();
    if (scratchpad.get_size() > 0) args.emplace(DNNL_ARG_SCRATCHPAD, workspace(scratchpad));
    calls_.push_back({Primitive(desc), std::move(args)});
  }

  int64_t workspace_bytes() const { return workspace_bytes_; }

  void run(const KernelArgs& args) const {
    for (const Binding& b : bindings_) b.place.set_data_handle(b.address(args), stream_);
    for (const Call& c : calls_) c.primitive.execute(stream_, c.args);
  }

 private:
  struct Binding {
    enum From { kInput, kOutput, kWorkspace };
    memory place;
    From from;
    size_t index;  // of the operand; in the workspace an offset in bytes

    void* address(const KernelArgs& args) const {
      if (from == kInput) return args.in[index].data;
      if (from == kOutput) return args.out[index].data;
      return static_cast<char*>(args.workspace) + index;
    }
  };
  struct Call {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> args;
  };

  dnnl::stream stream_;
  std::vector<Binding> bindings_;
  std::vector<Call> calls_;
  int64_t workspace_bytes_ = 0;
};

void run(const KernelArgs& args) { static_cast<const Program*>(args.prepared)->run(args); }

// Copies between two formats, where they differ. False: oneDNN has only reference loops for it.
bool add_reorder(Program& program, const memory& from, const memory& to) {
  if (from == to) return true;
  const dnnl::reorder::primitive_desc desc(from, to, user_scratchpad());
  if (is_reference(desc)) return false;
  program.call<dnnl::reorder>(desc, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  return true;
}

// The plan's shapes with oneDNN's numbers for them; inputs in the op's order.
struct Operands {
  std::vector<std::pair<int, Shape>> in;
  std::pair<int, Shape> out;
};

// One convolution with the reorders before and after it.
template <class Primitive>
std::optional<Prepared> prepare_program(const typename Primitive::primitive_desc& desc,
                                        const Operands& operands) {
  if (is_reference(desc)) return {};
  const auto program = std::make_shared<Program>();
  std::unordered_map<int, memory> args;
  // The plan's memory where the primitive can use it, else one in the workspace.
  const auto inner = [&](int arg, const memory& outer) {
    const memory::desc wanted = desc.query_md(dnnl::query::exec_arg_md, arg);
    return args[arg] = wanted == outer.get_desc() ? outer : program->workspace(wanted);
  };
  for (size_t i = 0; i < operands.in.size(); ++i) {
    const auto& [arg, shape] = operands.in[i];
    const memory outer = program->operand(shape, false, i);
    if (!add_reorder(*program, outer, inner(arg, outer))) return {};
  }
  const auto& [arg, shape] = operands.out;
  const memory outer = program->operand(shape, true, 0), result = inner(arg, outer);
  program->call<Primitive>(desc, std::move(args));
  if (!add_reorder(*program, result, outer)) return {};
  return Prepared{.state = program,
                  .workspace_bytes = program->workspace_bytes(),
                  .implementation = desc.impl_info_str()};
}

// How activations lie while a convolution runs: as the plan has them, or as oneDNN likes best.
enum class Layout { nhwc, blocked };

// The forward convolution, which its adjoints refer to, in oneDNN's words.
struct Problem {
  Shape x, w, y;
  int64_t stride, pad;
  Layout layout;

  Tag tag() const { return layout == Layout::nhwc ? Tag::nhwc : Tag::any; }
  memory::desc x_desc() const { return describe(x, tag()); }
  memory::desc y_desc() const { return describe(y, tag()); }
  memory::desc w_desc() const { return describe(w, Tag::any); }
  memory::dims strides() const { return {stride, stride}; }
  memory::dims pads() const { return {pad, pad}; }
  // What oneDNN wants to see before it describes a gradient.
  dnnl::convolution_forward::primitive_desc hint() const {
    return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, x_desc(), w_desc(),
             y_desc(), strides(), pads(), pads()},
            engine()};
  }
};

std::optional<Prepared> describe_program(const Conv2dAttrs& a, Specs in, Specs out, Layout layout) {
  const Problem p{in[0].shape, in[1].shape, out[0].shape, a.stride, a.pad, layout};
  using Forward = dnnl::convolution_forward;
  constexpr auto kind = dnnl::prop_kind::forward_inference;
  constexpr auto algorithm = dnnl::algorithm::convolution_direct;
  const bool bias = in.size() == 3;
  const auto desc =
      bias ? Forward::desc(kind, algorithm, p.x_desc(), p.w_desc(), describe(in[2].shape, Tag::a), p.y_desc(),
                           p.strides(), p.pads(), p.pads())
           : Forward::desc(kind, algorithm, p.x_desc(), p.w_desc(), p.y_desc(), p.strides(), p.pads(),
                           p.pads());
  dnnl::primitive_attr attr = user_scratchpad();
  if (a.negative_slope != 1) {
    dnnl::post_ops leaky;
    leaky.append_eltwise(1, dnnl::algorithm::eltwise_relu, static_cast<float>(a.negative_slope), 0);
    attr.set_post_ops(leaky);
  }
  Operands operands{{{DNNL_ARG_SRC, p.x}, {DNNL_ARG_WEIGHTS, p.w}}, {DNNL_ARG_DST, p.y}};
  if (bias) operands.in.emplace_back(DNNL_ARG_BIAS, in[2].shape);
  return prepare_program<Forward>({desc, attr, engine()}, operands);
}

std::optional<Prepared> describe_program(const Conv2dDxAttrs& a, Specs in, Specs out, Layout layout) {
  const Problem p{out[0].shape, in[1].shape, in[0].shape, a.stride, a.pad, layout};
  using Backward = dnnl::convolution_backward_data;
  const Backward::desc desc(dnnl::algorithm::convolution_direct, p.x_desc(), p.w_desc(), p.y_desc(),
                            p.strides(), p.pads(), p.pads());
  return prepare_program<Backward>(
      {desc, user_scratchpad(), engine(), p.hint()},
      {{{DNNL_ARG_DIFF_DST, p.y}, {DNNL_ARG_WEIGHTS, p.w}}, {DNNL_ARG_DIFF_SRC, p.x}});
}

std::optional<Prepared> describe_program(const Conv2dDwAttrs& a, Specs in, Specs out, Layout layout) {
  const Problem p{in[0].shape, out[0].shape, in[1].shape, a.stride, a.pad, layout};
  using Backward = dnnl::convolution_backward_weights;
  const Backward::desc desc(dnnl::algorithm::convolution_direct, p.x_desc(), p.w_desc(), p.y_desc(),
                            p.strides(), p.pads(), p.pads());
  return prepare_program<Backward>(
      {desc, user_scratchpad(), engine(), p.hint()},
      {{{DNNL_ARG_SRC, p.x}, {DNNL_ARG_DIFF_DST, p.y}}, {DNNL_ARG_DIFF_WEIGHTS, p.w}});
}

// Where reordering activations costs less than NHWC does. The rules come from bench/conv on MotionNet (full
// width at 224x224, quarter width at 128x128), on a Xeon of 2023 with AVX-512 and with oneDNN held to AVX2.
// Elsewhere the two differ by a few percent, or NHWC wins, by up to 2 times where there are few channels.
bool has_avx512() {
  constexpr auto avx512 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & avx512) == avx512;
}

// Forward and data gradient. AVX-512: never. AVX2: rows over 32 KiB, which do not stay in the first cache.
bool prefers_blocked(const Shape& x, const Shape& y) {
  return !has_avx512() && x[2] * x[3] > 8192 && std::min(x[3], y[3]) >= 64;
}

// Weight gradient. AVX-512: stride 2 with many channels, 0.6 to 0.85 of the time. AVX2: rows over 16 KiB, 0.3
// to 0.9 of it.
bool prefers_blocked_dw(const Conv2dDwAttrs& a, const Shape& x, const Shape& y) {
  return has_avx512() ? a.stride > 1 && x[3] * y[3] >= 128 * 256 : x[2] * x[3] > 4096;
}

Layout preferred(const Conv2dAttrs&, Specs in, Specs out) {
  return prefers_blocked(in[0].shape, out[0].shape) ? Layout::blocked : Layout::nhwc;
}
Layout preferred(const Conv2dDxAttrs&, Specs in, Specs out) {
  return prefers_blocked(out[0].shape, in[0].shape) ? Layout::blocked : Layout::nhwc;
}
Layout preferred(const Conv2dDwAttrs& a, Specs in, Specs) {
  return prefers_blocked_dw(a, in[0].shape, in[1].shape) ? Layout::blocked : Layout::nhwc;
}

template <class T> std::optional<Prepared> prepare_in(const Op& op, Specs in, Specs out, Layout layout) {
  try {
    auto prepared = describe_program(static_cast<const T&>(op).attrs, in, out, layout);
    if (prepared && layout == Layout::blocked) prepared->implementation += " blocked";
    return prepared;
  } catch (const dnnl::error&) {  // oneDNN has no code for this: another version does it
    return {};
  }
}

template <class T, Layout layout> std::optional<Prepared> prepare(const Op& op, Specs in, Specs out) {
  return prepare_in<T>(op, in, out, layout);
}

// The layout that the rules prefer, or else the one for which oneDNN has code.
template <class T> std::optional<Prepared> prepare_preferred(const Op& op, Specs in, Specs out) {
  const Layout layout = preferred(static_cast<const T&>(op).attrs, in, out);
  if (auto prepared = prepare_in<T>(op, in, out, layout)) return prepared;
  return prepare_in<T>(op, in, out, layout == Layout::nhwc ? Layout::blocked : Layout::nhwc);
}

// "onednn" is for use; the other two are for benchmarks and tests.
template <class T> void add(Registry& r) {
  const auto version = [&](const char* name, PrepareFn prepare, int preference) {
    r.add_kernel({.op = T::kName,
                  .device = "cpu",
                  .version = name,
                  .dtype = Dtype::f32,
                  .run = run,
                  .prepare = prepare,
                  .preference = preference});
  };
  version("onednn", prepare_preferred<T>, 3);
  version("onednn-nhwc", prepare<T, Layout::nhwc>, 2);
  version("onednn-blocked", prepare<T, Layout::blocked>, 1);
}

}  // namespace

void register_conv2d_onednn(Registry& r) {
  add<Conv2d>(r);
  add<Conv2dDx>(r);
  add<Conv2dDw>(r);
}

}  // namespace millrace::cpu
