// The convolution family by cuDNN, NHWC. A node is one plan, and after a plan that leaves something out, our
// own kernels on its result, in place. Channels are padded to what tensor cores read (cuda/conv2d_layouts.h):
// cuDNN is told of as many as lie in memory.
#include "cuda/conv2d_cudnn.h"

#include <fmt/format.h>

#include <optional>

#include "core/add.h"
#include "core/cast.h"
#include "core/fill.h"
#include "core/kernel_choice.h"
#include "cuda/conv2d_layouts.h"
#include "cuda/cudnn.h"
#include "layers/bias.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"

namespace millrace::cudnn {
namespace {

constexpr const char* kDevice = "cuda";
constexpr int kPlainRanks = 8;  // how many engines are measured: the heuristics are right among the first few

enum class Form { fused, plain };
using Specs = std::span<const Spec>;

// An operand of a node: an input, an output, or what lies in the workspace.
struct Operand {
  enum class In { input, output, workspace } where;
  size_t index = 0;
  std::optional<Spec> spec{};  // other than the node's: of the workspace, or of an array as one row
};

struct OwnStep {
  const Kernel* kernel;
  std::shared_ptr<const Op> op;
  Prepared prepared;
  std::vector<Operand> in, out;
};

// Prepared::state.
struct Program {
  std::shared_ptr<Context> context;
  std::shared_ptr<const Plan> plan;
  std::vector<int64_t> ids;
  std::vector<Operand> operands;
  std::vector<OwnStep> before, after;
  bool one = false;           // the last id is the factor 1, by value
  int64_t result_offset = 0;  // of what lies in the workspace, behind that of the plan
};

constexpr int64_t kFirst = 1, kSecond = 2, kResult = 3, kBias = 4, kAddend = 5, kActivation = 6, kSum = 7,
                  kOne = 8, kVirtual = 20;
float factor_one = 1;

cudnnDataType_t type_of(Dtype dtype) { return dtype == Dtype::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

// With what lies at the end of its axes.
Shape memory_shape(const Shape& shape, const Layout& layout) {
  std::array<int64_t, 4> extents{shape[0], shape[1], shape[2], shape[3]};
  for (const Layout::Block& pad : layout.pads) {
    int64_t& extent = extents[static_cast<size_t>(pad.axis)];
    extent = (extent + pad.size - 1) / pad.size * pad.size;
  }
  return {extents[0], extents[1], extents[2], extents[3]};
}

// What the three ops have in common while their graph is put together.
struct Builder {
  Context& context;
  Specs in, out;
  Layouts layouts;
  Form form;
  GraphBuilder graph{context.api()};
  Program program{};
  int64_t next_virtual = kVirtual;

  void real(int64_t id, const Spec& spec, Operand operand) {
    graph.tensor(id, spec.shape, type_of(spec.dtype));
    program.ids.push_back(id);
    program.operands.push_back(std::move(operand));
  }
  Shape shape_in(size_t i) const { return memory_shape(in[i].shape, layouts.in[i]); }
  Shape shape_out(size_t o) const { return memory_shape(out[o].shape, layouts.out[o]); }
  void input(int64_t id, size_t i) { real(id, {shape_in(i), in[i].dtype}, {Operand::In::input, i}); }
  void result() { real(kResult, {shape_out(0), out[0].dtype}, {Operand::In::output, 0}); }
  bool result_is_padded() const { return !layouts.out[0].dense(); }
  // (C), along the channels.
  void channels(int64_t id, const Spec& spec, Operand operand) {
    real(id, {{1, 1, 1, spec.shape[0]}, spec.dtype}, std::move(operand));
  }
  // As one row of all that lies in memory: for elementwise ops, which leave zeros zeros.
  Operand row_in(size_t i) const { return {Operand::In::input, i, Spec{{shape_in(i).count()}, in[i].dtype}}; }
  Operand row_out() const { return {Operand::In::output, 0, Spec{{shape_out(0).count()}, out[0].dtype}}; }
  int64_t temporary(const Shape& shape) {
    graph.tensor(next_virtual, shape, CUDNN_DATA_FLOAT, true);
    return next_virtual++;
  }
  void own(std::vector<OwnStep>& steps, std::shared_ptr<const Op> op, std::vector<Operand> operands_in,
           std::vector<Operand> operands_out) {
    steps.push_back({nullptr, std::move(op), {}, std::move(operands_in), std::move(operands_out)});
  }
};

Operand input(size_t i) { return {Operand::In::input, i}; }
Operand output(size_t o) { return {Operand::In::output, o}; }

Spec spec_of(const Operand& o, Specs in, Specs out) {
  if (o.spec) return *o.spec;
  const Spec& s = o.where == Operand::In::input ? in[o.index] : out[o.index];
  return {s.shape, s.dtype};
}

// False: there is no such form of the node, or it is the other one.
bool describe(const Conv2dAttrs& a, Builder& b) {
  const bool bias = b.in.size() == 3, leaky = a.negative_slope != 1;
  const bool widens = b.in[0].dtype != b.out[0].dtype;  // precise: y is f32
  const bool more = bias || leaky || widens;
  if (more != (b.form == Form::fused) && (b.form == Form::fused || widens)) return false;
  // A bias has no zeros behind its end.
  if (bias && b.result_is_padded()) return false;
  const Shape y = b.shape_out(0), w = b.shape_in(1);
  b.input(kFirst, 0);
  // Outputs that w has more than y lie behind the others, and are not asked for.
  b.real(kSecond, {{y[3], w[1], w[2], w[3]}, b.in[1].dtype}, input(1));
  b.result();
  if (b.form == Form::plain) {
    b.graph.forward({a.stride, a.pad}, kFirst, kSecond, kResult);
    if (bias) {
      b.own(b.program.after, make_op<Bias>(BiasAttrs{a.negative_slope}), {output(0), input(2)}, {output(0)});
    } else if (leaky) {
      b.own(b.program.after, make_op<LeakyRelu>(LeakyReluAttrs{a.negative_slope}), {b.row_out()},
            {b.row_out()});
    }
    return true;
  }
  int64_t last = b.temporary(y);
  b.graph.forward({a.stride, a.pad}, kFirst, kSecond, last);
  if (bias) {
    b.channels(kBias, b.in[2], input(2));
    const int64_t sum = leaky || widens ? b.temporary(y) : kResult;
    b.graph.add(last, kBias, sum);
    last = sum;
  }
  if (leaky) {
    b.graph.leaky_relu(last, a.negative_slope, kResult);
  } else if (widens) {  // f32 from bf16 has engines only with a product behind it
    b.graph.tensor(kOne, {1, 1, 1, 1}, CUDNN_DATA_FLOAT, false, true);
    b.program.one = true;
    b.graph.multiply(last, kOne, kResult);
  }
  return true;
}

bool describe(const Conv2dDxAttrs& a, Builder& b) {
  if (b.form == Form::fused && !a.fused()) return false;
  const bool leaky = a.negative_slope != 1;
  const size_t y_index = b.in.size() - 1;
  if (a.sum && b.result_is_padded()) return false;
  b.input(kFirst, 0);
  b.input(kSecond, 1);
  b.result();
  if (b.form == Form::plain) {
    b.graph.backward_data({a.stride, a.pad}, kFirst, kSecond, kResult);
    auto& after = b.program.after;
    if (a.add) b.own(after, make_op<Add>(), {b.row_out(), b.row_in(2)}, {b.row_out()});
    if (leaky) {
      b.own(after, make_op<LeakyReluDx>(LeakyReluAttrs{a.negative_slope}), {b.row_out(), b.row_in(y_index)},
            {b.row_out()});
    }
    if (a.sum) b.own(after, make_op<Conv2dDb>(), {output(0)}, {output(1)});
    return true;
  }
  const Shape dx = b.shape_out(0);
  int64_t last = a.add || leaky ? b.temporary(dx) : kResult;
  b.graph.backward_data({a.stride, a.pad}, kFirst, kSecond, last);
  if (a.add) {
    b.input(kAddend, 2);
    const int64_t sum = leaky ? b.temporary(dx) : kResult;
    b.graph.add(last, kAddend, sum);
    last = sum;
  }
  if (leaky) {
    b.input(kActivation, y_index);
    b.graph.leaky_relu_dx(last, kActivation, a.negative_slope, kResult);
  }
  if (a.sum) {
    b.channels(kSum, b.out[1], output(1));
    b.graph.sum(kResult, kSum);
    // Whether such engines overwrite or add to the sum is not documented.
    b.own(b.program.before, make_op<Fill>(FillAttrs{.shape = b.out[1].shape, .value = 0}), {}, {output(1)});
  }
  return true;
}

bool describe(const Conv2dDwAttrs& a, Builder& b) {
  const bool widens = b.in[0].dtype != b.out[0].dtype;  // the sum is f32
  if (b.form == Form::fused && !widens) return false;
  b.input(kFirst, 0);
  b.input(kSecond, 1);
  if (b.form == Form::fused) {
    b.result();
    b.graph.tensor(kOne, {1, 1, 1, 1}, CUDNN_DATA_FLOAT, false, true);
    b.program.one = true;
    const int64_t sum = b.temporary(b.shape_out(0));
    b.graph.backward_weights({a.stride, a.pad}, kFirst, kSecond, sum);
    b.graph.multiply(sum, kOne, kResult);
    return true;
  }
  const Shape dw = b.shape_out(0);
  const Operand rounded{Operand::In::workspace, 0, Spec{{dw.count()}, b.in[0].dtype}};
  b.real(kResult, {dw, b.in[0].dtype}, widens ? rounded : output(0));
  b.graph.backward_weights({a.stride, a.pad}, kFirst, kSecond, kResult);
  if (widens) b.own(b.program.after, make_op<Cast>(CastAttrs{true}), {rounded}, {b.row_out()});
  return true;
}

// The most preferred kernel that can do it. False: none can.
bool choose_own(OwnStep& step, Specs in, Specs out) {
  std::vector<Spec> step_in, step_out;
  for (const Operand& o : step.in) step_in.push_back(spec_of(o, in, out));
  for (const Operand& o : step.out) step_out.push_back(spec_of(o, in, out));
  for (const Kernel* k : Registry::get().kernels(step.op->name(), kDevice, kernel_dtype(step_in, step_out))) {
    std::optional<Prepared> prepared = prepare_kernel(*k, *step.op, step_in, step_out);
    if (!prepared || !k->repeatable) continue;
    step.kernel = k;
    step.prepared = std::move(*prepared);
    return true;
  }
  return false;
}

void run_own(const OwnStep& step, const KernelArgs& args, char* workspace) {
  const auto tensors_of = [&](const std::vector<Operand>& operands) {
    std::vector<Tensor> tensors;
    for (const Operand& o : operands) {
      Tensor t{workspace, {}, Dtype::f32};
      if (o.where != Operand::In::workspace)
        t = o.where == Operand::In::input ? args.in[o.index] : args.out[o.index];
      if (o.spec) {
        t.shape = o.spec->shape;
        t.dtype = o.spec->dtype;
      }
      tensors.push_back(t);
    }
    return tensors;
  };
  const std::vector<Tensor> in = tensors_of(step.in), out = tensors_of(step.out);
  step.kernel->run({.op = *step.op,
                    .in = in,
                    .out = out,
                    .workspace = args.workspace,
                    .prepared = step.prepared.state.get(),
                    .stream = args.stream});
}

void run(const KernelArgs& args) {
  const auto& p = *static_cast<const Program*>(args.prepared);
  char* result = static_cast<char*>(args.workspace) + p.result_offset;
  for (const OwnStep& step : p.before) run_own(step, args, result);
  std::vector<void*> pointers;
  for (const Operand& o : p.operands) {
    pointers.push_back(o.where == Operand::In::input    ? args.in[o.index].data
                       : o.where == Operand::In::output ? args.out[o.index].data
                                                        : result);
  }
  if (p.one) pointers.push_back(&factor_one);
  p.context->execute(*p.plan, p.ids, pointers, args.workspace, args.stream);
  for (const OwnStep& step : p.after) run_own(step, args, result);
}

// The rank-th of the listed engines that can be built.
std::shared_ptr<const Plan> plan_of(Context& c, const Builder& b, const std::string& node,
                                    const Filter& filter, size_t rank) {
  const std::string key = fmt::format("{} {} {}", node, static_cast<int>(b.form), filter.tensor_cores);
  const auto known = c.built.find(key + fmt::format(" {}", rank));
  if (known != c.built.end()) return known->second;
  auto listed = c.listed.find(key);
  if (listed == c.listed.end()) listed = c.listed.emplace(key, c.list(b.graph.finish(c), filter)).first;
  std::shared_ptr<const Plan> plan;
  for (size_t i = rank; i < listed->second.size() && !plan; ++i) {
    try {
      plan = std::make_shared<Plan>(c.build(listed->second[i], filter));
    } catch (const Error&) {  // this engine cannot: the next one
    }
  }
  return c.built[key + fmt::format(" {}", rank)] = plan;
}

template <class T, Form form, size_t rank, bool tf32>
std::optional<Prepared> prepare(const Op& op, Specs in, Specs out) {
  const std::shared_ptr<Context> c = context();
  if (!c) return {};
  try {
    Builder b{*c, in, out, padded_conv2d(op, in, out), form};
    if (!describe(static_cast<const T&>(op).attrs, b)) return {};
    Program& p = b.program;
    for (auto* steps : {&p.before, &p.after}) {
      for (OwnStep& step : *steps)
        if (!choose_own(step, in, out)) return {};
    }
    const Filter filter{.tensor_cores = tf32 || in[0].dtype == Dtype::bf16};
    p.plan = plan_of(*c, b, kernel_node(op, in, out), filter, rank);
    if (!p.plan) return {};
    p.context = c;
    if (p.one) p.ids.push_back(kOne);
    p.result_offset = (p.plan->workspace_bytes + 255) / 256 * 256;
    int64_t bytes = p.plan->workspace_bytes;
    for (const Operand& o : p.operands) {
      if (o.where == Operand::In::workspace) bytes = p.result_offset + o.spec->bytes();
    }
    for (const OwnStep& step : p.after) bytes = std::max(bytes, step.prepared.workspace_bytes);
    const std::string name = (form == Form::fused ? "fused " : "") + p.plan->name;
    return Prepared{.state = std::make_shared<Program>(std::move(p)),
                    .workspace_bytes = bytes,
                    .implementation = name,
                    .layouts = b.layouts};
  } catch (const Error&) {  // cuDNN refuses such a graph
    return {};
  }
}

// Strict f32 has no fast engine for what is fused: there the convolution alone goes first.
template <class T, bool tf32> void add_versions(Registry& r, Dtype dtype) {
  const std::string suffix = tf32 ? "-tf32" : "";
  const int base = tf32 ? 200 : 100;
  const bool strict = dtype == Dtype::f32 && !tf32;
  constexpr double kTf32 = 3e-3,
                   kRoundedTwice = 1e-2;  // sums of factors of 10 bits; bf16 between plan and epilogue
  const auto add = [&](const std::string& version, PrepareFn prepare_version, int preference,
                       double rounding) {
    r.add_kernel({.op = T::kName,
                  .device = kDevice,
                  .version = version + suffix,
                  .dtype = dtype,
                  .run = run,
                  .prepare = prepare_version,
                  .preference = base + preference,
                  .tf32 = tf32,
                  .rounding = rounding});
  };
  const double sums = tf32 ? kTf32 : 0, epilogue = dtype == Dtype::bf16 ? kRoundedTwice : sums;
  add("cudnn", prepare<T, Form::fused, 0, tf32>, strict ? 50 : 70, sums);
  add("cudnn-plain", prepare<T, Form::plain, 0, tf32>, 60, epilogue);
  [&]<size_t... i>(std::index_sequence<i...>) {
    (add(fmt::format("cudnn-plain-{}", i + 2), prepare<T, Form::plain, i + 1, tf32>, 40 - static_cast<int>(i),
         epilogue),
     ...);
  }
  (std::make_index_sequence<kPlainRanks - 1>());
}

template <class T> void add_op(Registry& r) {
  add_versions<T, false>(r, Dtype::bf16);
  add_versions<T, false>(r, Dtype::f32);
  add_versions<T, true>(r, Dtype::f32);
}

}  // namespace

void register_conv2d(Registry& r) {
  add_op<Conv2d>(r);
  add_op<Conv2dDx>(r);
  add_op<Conv2dDw>(r);
  r.set_weight_layout(kDevice,
                      [](const Spec& weights) { return context() ? padded_weights(weights) : Layout{}; });
}

}  // namespace millrace::cudnn
