#include "tests/generated/op_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "core/session.h"
#include "tests/generated/guarded.h"

namespace millrace::check {
namespace {

constexpr uint64_t kSeed = 20240607;
constexpr double kStep = 1e-5;  // of central differences; cases draw at least ten steps from any kink

uint64_t seed_of(const std::string& text) {
  uint64_t hash = kSeed;
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

std::string input_name(size_t i) { return "in" + std::to_string(i); }

template <class T> void set_as(Session& s, const std::string& name, const std::vector<double>& values) {
  s.set(name, std::vector<T>(values.begin(), values.end()));
}

void set_input(Session& session, const std::string& name, const std::vector<double>& values) {
  switch (session.input(name).dtype) {
    case Dtype::f64:
      return set_as<double>(session, name, values);
    case Dtype::f32:
      return set_as<float>(session, name, values);
    case Dtype::u8:
      return set_as<uint8_t>(session, name, values);
    case Dtype::i32:
      return set_as<int32_t>(session, name, values);
    default:
      return set_as<int64_t>(session, name, values);
  }
}

struct Built {
  Graph graph{Dtype::f64};
  std::vector<Value> in, out, seeds;
};

Built build(const Case& test) {
  Built b;
  for (size_t i = 0; i < test.in.size(); ++i) {
    const Dtype dtype = is_real(test.in[i].dtype) ? Dtype::f64 : test.in[i].dtype;
    b.in.push_back(b.graph.input(input_name(i), Spec{test.in[i].shape, dtype}));
  }
  b.out = b.graph.add(test.op, b.in);
  for (size_t o = 0; o < b.out.size(); ++o) b.graph.output("out" + std::to_string(o), b.out[o]);
  return b;
}

std::vector<size_t> differentiable_inputs(const Case& test) {
  std::vector<size_t> result;
  for (size_t i = 0; i < test.in.size(); ++i) {
    const bool constant =
        std::count(test.no_gradient.begin(), test.no_gradient.end(), static_cast<int>(i)) > 0;
    if (is_real(test.in[i].dtype) && !constant) result.push_back(i);
  }
  return result;
}

// L of the forward graph.
double loss(Session& session, const std::vector<std::vector<double>>& r) {
  session.run();
  double sum = 0;
  for (size_t o = 0; o < r.size(); ++o) {
    const std::vector<double> out = session.get("out" + std::to_string(o));
    for (size_t e = 0; e < out.size(); ++e) sum += r[o][e] * out[e];
  }
  return sum;
}

struct Place {
  const char* operand;  // "input", "output"
  size_t number, element;
};

struct Worst {
  double error = 0, scale = 0;
  std::string where;
  int64_t compared = 0;

  // Put into words only where it is the worst: tensors have millions of elements.
  void compare(double got, double want, const Place& place) {
    ++compared;
    scale = std::max(scale, std::abs(want));
    const double e = std::abs(got - want);
    if (!(e <= error)) {  // a NaN becomes the worst and stays
      if (!std::isnan(error)) {
        error = e;
        where = fmt::format("{} {} element {}: got {:.9g}, expected {:.9g}", place.operand, place.number,
                            place.element, got, want);
      }
    }
  }
};

std::vector<Spec> input_specs(const Case& test, Dtype real) {
  std::vector<Spec> specs;
  for (const CaseInput& in : test.in) {
    const Dtype here = in.precise ? precise(real) : real;
    specs.push_back({in.shape, is_real(in.dtype) ? here : in.dtype});
  }
  return specs;
}

void fill_tensor(const Tensor& t, const std::vector<double>& values) {
  for (size_t e = 0; e < values.size(); ++e) {
    switch (t.dtype) {
      case Dtype::f64:
        t.as<double>()[e] = values[e];
        break;
      case Dtype::f32:
        t.as<float>()[e] = static_cast<float>(values[e]);
        break;
      case Dtype::bf16:
        t.as<Bf16>()[e] = round_to_bf16(static_cast<float>(values[e]));
        break;
      case Dtype::u8:
        t.as<uint8_t>()[e] = static_cast<uint8_t>(values[e]);
        break;
      case Dtype::i32:
        t.as<int32_t>()[e] = static_cast<int32_t>(values[e]);
        break;
      default:
        t.as<int64_t>()[e] = static_cast<int64_t>(values[e]);
    }
  }
}

struct Run {
  bool supported = true;
  std::vector<std::vector<double>> out;
  std::vector<Dtype> dtypes;  // of the outputs
  std::vector<std::vector<char>> bits;
  Complaints complaints;
};

// Values as they lie in memory, zeros filling up blocks; and back, with a complaint where it is not zeros.
std::vector<double> lay_out(const std::vector<double>& values, const Spec& spec) {
  if (spec.layout.dense()) return values;
  std::vector<double> memory(static_cast<size_t>(spec.elements()));
  const std::vector<int64_t> places = layout_places(spec.layout, spec.shape);
  for (size_t e = 0; e < values.size(); ++e) memory[static_cast<size_t>(places[e])] = values[e];
  return memory;
}
std::vector<double> collect(std::vector<double> memory, const Spec& spec, Complaints& complaints) {
  if (spec.layout.dense()) return memory;
  std::vector<double> values;
  for (int64_t place : layout_places(spec.layout, spec.shape))
    values.push_back(std::exchange(memory[static_cast<size_t>(place)], 0));
  if (std::any_of(memory.begin(), memory.end(), [](double v) { return !(v == 0); }))
    complaints.push_back("did not fill up " + spec.to_string() + " with zeros");
  return values;
}

void set_layouts(std::vector<Spec>& specs, const std::vector<Layout>& layouts) {
  for (size_t i = 0; i < layouts.size(); ++i) specs[i].layout = layouts[i];
}

// False for the CPU, and where only the kernels of a device are registered: they work in the host's memory.
bool has_memory_of_its_own(const std::string& device) {
  const auto& all = Registry::get().backends();
  return device != "cpu" &&
         std::any_of(all.begin(), all.end(), [&](const Backend& b) { return b.name == device; });
}

// The buffers are those of the inputs, the outputs and the workspace, in this order.
void run_where_it_belongs(const Kernel& kernel, KernelArgs args, std::vector<Guarded>& buffers) {
  if (!has_memory_of_its_own(kernel.device)) return kernel.run(args);
  OnDevice gpu(kernel.device, buffers);
  std::vector<Tensor> tensors;
  for (size_t b = 0; b < buffers.size(); ++b) tensors.push_back(gpu.tensor(b));
  const std::span<const Tensor> all = tensors;
  args.in = all.first(args.in.size());
  args.out = all.subspan(args.in.size(), args.out.size());
  args.workspace = tensors.back().data;
  args.stream = gpu.stream();
  kernel.run(args);
  gpu.fetch();
}

// `offered` is how activations lie that the kernel is asked to go along with; dense: nothing is asked.
Run run_kernel(const Case& test, const Kernel& kernel, const std::vector<std::vector<double>>& inputs,
               const Layout& offered = {}) {
  Run run;
  std::vector<Spec> in_specs = input_specs(test, kernel.dtype);
  std::vector<Spec> out_specs = test.op->infer(in_specs, kernel.dtype);
  Prepared prepared;
  if (!offered.dense()) {
    std::vector<Spec> lying = in_specs;
    for (Spec& s : lying) {
      if (s.shape.rank() == 4)
        s.layout = is_channel_padded(offered) ? channel_padded(s.shape, offered.pads[0].size) : offered;
    }
    auto answer = kernel.follow(*test.op, lying, out_specs);
    run.supported = answer.has_value();
    if (!answer) return run;
    prepared = std::move(*answer);
  } else if (kernel.prepare) {
    auto answer = kernel.prepare(*test.op, in_specs, out_specs);
    run.supported = answer.has_value();
    if (!answer) return run;
    prepared = std::move(*answer);
  }
  set_layouts(in_specs, prepared.layouts.in);
  set_layouts(out_specs, prepared.layouts.out);
  std::vector<Guarded> buffers;
  buffers.reserve(in_specs.size() + out_specs.size() + 1);
  std::vector<Tensor> in, out;
  for (size_t i = 0; i < in_specs.size(); ++i) {
    in.push_back(buffers.emplace_back(in_specs[i], uint8_t{0xff}).tensor);
    fill_tensor(in.back(), lay_out(inputs[i], in_specs[i]));
  }
  for (const Spec& s : out_specs) out.push_back(buffers.emplace_back(s, uint8_t{0xff}).tensor);
  const Guarded& workspace = buffers.emplace_back(Spec{{prepared.workspace_bytes}, Dtype::u8}, uint8_t{0xff});
  run_where_it_belongs(kernel,
                       {.op = *test.op,
                        .in = in,
                        .out = out,
                        .workspace = workspace.tensor.data,
                        .prepared = prepared.state.get()},
                       buffers);
  for (size_t b = 0; b < buffers.size(); ++b) {
    if (!buffers[b].intact()) run.complaints.push_back(fmt::format("wrote outside of operand {}", b));
  }
  for (size_t o = 0; o < out.size(); ++o) {
    const Tensor array{out[o].data, {out_specs[o].elements()}, out[o].dtype};
    run.out.push_back(collect(to_double(array), out_specs[o], run.complaints));
    run.dtypes.push_back(array.dtype);
    run.bits.emplace_back(array.as<char>(), array.as<char>() + array.bytes());
  }
  return run;
}

}  // namespace

std::vector<std::vector<double>> draw_inputs(const Case& test) {
  Random random(seed_of(std::string(test.op->name()) + test.name));
  std::vector<std::vector<double>> inputs;
  for (const CaseInput& in : test.in) {
    std::vector<double> values(static_cast<size_t>(in.shape.count()));
    for (double& v : values) v = static_cast<float>(in.draw(random));
    inputs.push_back(std::move(values));
  }
  return inputs;
}

Complaints gradient(const Case& test) {
  const std::string title = std::string(test.op->name()) + " '" + test.name + "'";
  std::vector<std::vector<double>> inputs = draw_inputs(test);
  const std::vector<size_t> wanted = differentiable_inputs(test);
  if (wanted.empty()) return {title + ": no input is differentiable, nothing was compared"};

  Built forward = build(test), backward = build(test);
  Random random(seed_of(title));
  std::vector<std::vector<double>> r;
  std::vector<Value> seeds, wanted_values;
  for (size_t o = 0; o < backward.out.size(); ++o) {
    seeds.push_back(backward.graph.input("r" + std::to_string(o), backward.graph.shape(backward.out[o])));
    r.emplace_back(static_cast<size_t>(backward.graph.shape(seeds.back()).count()));
    for (double& v : r.back()) v = random.uniform(.5, 1.5) * (random.integer(0, 1) ? 1 : -1);
  }
  for (size_t i : wanted) wanted_values.push_back(backward.in[i]);
  const std::vector<Value> d = gradients(backward.graph, backward.out, seeds, wanted_values);
  for (size_t k = 0; k < d.size(); ++k) backward.graph.output("d" + input_name(wanted[k]), d[k]);

  auto device = make_device("cpu");
  State state(*device);
  const PlanOptions plain{.device = "cpu", .versions = {}, .rewrite = true};
  Session f(make_plan(forward.graph, plain), state, {.arena = nullptr, .poison = true});
  Session b(make_plan(backward.graph, plain), state, {.arena = nullptr, .poison = true});
  for (size_t i = 0; i < inputs.size(); ++i) {
    set_input(f, input_name(i), inputs[i]);
    set_input(b, input_name(i), inputs[i]);
  }
  for (size_t o = 0; o < r.size(); ++o) set_input(b, "r" + std::to_string(o), r[o]);
  b.run();

  Worst worst;
  for (size_t i : wanted) {
    const std::vector<double> analytic = b.get("d" + input_name(i));
    for (size_t e = 0; e < inputs[i].size(); ++e) {
      const double x = inputs[i][e];
      inputs[i][e] = x + kStep;
      set_input(f, input_name(i), inputs[i]);
      const double above = loss(f, r);
      inputs[i][e] = x - kStep;
      set_input(f, input_name(i), inputs[i]);
      const double below = loss(f, r);
      inputs[i][e] = x;
      worst.compare(analytic[e], (above - below) / (2 * kStep), {"input", i, e});
    }
    set_input(f, input_name(i), inputs[i]);
  }
  const double tolerance = test.gradient_tolerance > 0 ? test.gradient_tolerance : kGradientTolerance;
  if (worst.compared == 0) return {title + ": nothing was compared"};
  if (!(worst.error <= tolerance * std::max(worst.scale, 1e-3))) {
    return {fmt::format("{}: {} (largest derivative {:.3g}, tolerance {:.1g})", title, worst.where,
                        worst.scale, tolerance)};
  }
  return {};
}

namespace {

const Kernel* plain_double(const Case& test) {
  for (const Kernel* k : Registry::get().kernels(test.op->name(), "cpu", Dtype::f64)) {
    if (k->version == "plain") return k;
  }
  return nullptr;
}

// A bf16 output may be off by its rounding, half the spacing of such numbers; what is over that counts.
double without_rounding(double got, double want) {
  const double rounding = 0x1p-8 * std::abs(want), error = got - want;
  if (std::abs(error) <= rounding) return want;
  return want + error - std::copysign(rounding, error);  // a NaN stays one
}

Complaints compare(const Case& test, const Kernel& kernel, const Run& run, const Run& reference) {
  Complaints complaints = run.complaints;
  const double fallback = kernel.dtype == Dtype::f64 ? kParityTolerance64 : kParityTolerance32;
  const double wanted =
      kernel.dtype == Dtype::bf16 && test.bf16_tolerance > 0 ? test.bf16_tolerance : test.parity_tolerance;
  const double tolerance = std::max(wanted > 0 ? wanted : fallback, kernel.rounding);
  for (size_t o = 0; o < reference.out.size(); ++o) {
    Worst worst;
    for (size_t e = 0; e < reference.out[o].size(); ++e) {
      const double want = reference.out[o][e];
      const double raw = run.out[o][e];
      const double got = run.dtypes[o] == Dtype::bf16 ? without_rounding(raw, want) : raw;
      worst.compare(got, want, {"output", o, e});
    }
    if (worst.compared == 0) complaints.push_back("nothing was compared");
    if (!(worst.error <= tolerance * worst.scale)) {
      complaints.push_back(
          fmt::format("{} (largest {:.3g}, tolerance {:.1g})", worst.where, worst.scale, tolerance));
    }
  }
  return complaints;
}

}  // namespace

namespace {

// To what the kernel can be given, so that both kernels start from the same numbers.
void round_inputs(const Case& test, std::vector<std::vector<double>>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (test.in[i].precise || !is_real(test.in[i].dtype)) continue;
    for (double& v : inputs[i]) v = to_float(round_to_bf16(static_cast<float>(v)));
  }
}

}  // namespace

Complaints parity(const Case& test, const Kernel& kernel, bool& ran) {
  ran = false;
  auto inputs = draw_inputs(test);
  if (kernel.dtype == Dtype::bf16) round_inputs(test, inputs);
  const Kernel* truth = plain_double(test);
  Complaints complaints;
  std::optional<Run> reference;
  const Layout padded{{0, 1, 2, 3}, {}, {{3, 8}}};
  for (const Layout& layout : {Layout{}, channel_blocked(8), channel_blocked(16), padded}) {
    if (!layout.dense() && (!kernel.follow || test.benchmark)) continue;
    const Run first = run_kernel(test, kernel, inputs, layout);
    if (!first.supported) continue;
    ran = true;
    const std::string title = fmt::format("{} '{}' {} {} {} {}", test.op->name(), test.name, kernel.device,
                                          kernel.version, name_of(kernel.dtype), layout.to_string());
    if (kernel.repeatable && run_kernel(test, kernel, inputs, layout).bits != first.bits)
      complaints.push_back(title + ": two runs differ");
    if (!truth) return {title + ": there is no plain double kernel on the CPU"};
    if (!reference) reference = run_kernel(test, *truth, inputs);
    for (const std::string& c : compare(test, kernel, first, *reference))
      complaints.push_back(title + ": " + c);
  }
  return complaints;
}

}  // namespace millrace::check
