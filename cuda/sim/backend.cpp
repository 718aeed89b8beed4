// The device "cuda-sim": its kernels, its driver, and convolutions by the CPU.
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/registry.h"
#include "cuda/conv2d_layouts.h"
#include "cuda/device.h"
#include "cuda/register.h"
#include "cuda/sim/driver_sim.h"

namespace millrace::cuda_sim {
namespace {

constexpr const char* kName = "cuda-sim";
constexpr int kFirst = 1000;  // before all simulated kernels

const Kernel& cpu_kernel(std::string_view op, Dtype dtype) {
  for (const Kernel* kernel : Registry::get().kernels(op, "cpu", dtype)) {
    if (kernel->version == "plain") return *kernel;
  }
  fail(ErrorKind::device, {std::string(op), "a plain kernel on the CPU", "none", ""});
}

// Operands of the CPU's kernels, which are dense and of f32, in the place of those of a plan.
class ForCpu {
 public:
  ForCpu(std::span<const Tensor> operands, const std::vector<Layout>& layouts)
      : operands_(operands), layouts_(layouts) {
    for (size_t k = 0; k < operands.size(); ++k) {
      tensors_.push_back(operands[k]);
      if (as_it_is(k)) continue;
      std::vector<float>& numbers = memory_.emplace_back(static_cast<size_t>(operands[k].count()));
      tensors_.back() = {.data = numbers.data(), .shape = operands[k].shape, .dtype = Dtype::f32};
    }
  }
  std::span<const Tensor> tensors() const { return tensors_; }
  void read(const Op& op) const {
    each([](float& number, auto& element) { number = to_number(element); });
    for (size_t k = 0; k < operands_.size(); ++k) {
      if (!layouts_[k].dense()) check_pads(op, k);
    }
  }
  void write() const {
    for (size_t k = 0; k < operands_.size(); ++k) {
      if (!layouts_[k].dense())
        std::memset(operands_[k].data, 0,
                    static_cast<size_t>(layouts_[k].count(operands_[k].shape) * size_of(operands_[k].dtype)));
    }
    each([](float number, auto& element) { set(element, number); });
  }

 private:
  static float to_number(float x) { return x; }
  static float to_number(Bf16 x) { return to_float(x); }
  static void set(float& element, float number) { element = number; }
  static void set(Bf16& element, float number) { element = round_to_bf16(number); }

  // A GPU's library multiplies what fills up: a NaN there is one in every sum.
  void check_pads(const Op& op, size_t k) const {
    const Tensor& t = operands_[k];
    const int64_t all = layouts_[k].count(t.shape);
    const int64_t in_memory =
        t.dtype == Dtype::bf16 ? count_not_zero(t.as<Bf16>(), all) : count_not_zero(t.as<float>(), all);
    const int64_t others = in_memory - count_not_zero(tensors_[k].as<float>(), t.count());
    if (others != 0) {
      fail(ErrorKind::device, {std::string(op.name()) + ", operand " + std::to_string(k),
                               "zeros where " + layouts_[k].to_string() + " fills up " + t.shape.to_string(),
                               std::to_string(others) + " others", ""});
    }
  }
  template <class T> static int64_t count_not_zero(const T* numbers, int64_t count) {
    return std::count_if(numbers, numbers + count, [](T x) { return !(to_number(x) == 0); });
  }

  bool as_it_is(size_t k) const { return operands_[k].dtype != Dtype::bf16 && layouts_[k].dense(); }

  // f(number, element) for all that are not as they are.
  template <class F> void each(const F& f) const {
    for (size_t k = 0; k < operands_.size(); ++k) {
      if (as_it_is(k)) continue;
      if (operands_[k].dtype == Dtype::bf16)
        each_of(k, operands_[k].as<Bf16>(), f);
      else
        each_of(k, operands_[k].as<float>(), f);
    }
  }
  template <class T, class F> void each_of(size_t k, T* elements, const F& f) const {
    auto* number = tensors_[k].as<float>();
    if (layouts_[k].dense()) {
      for (int64_t e = 0; e < operands_[k].count(); ++e) f(number[e], elements[e]);
      return;
    }
    const LayoutTable table = layout_table(layouts_[k], operands_[k].shape);
    for (int64_t n : table[0]) {
      for (int64_t i : table[1]) {
        for (int64_t j : table[2]) {
          for (int64_t c : table[3]) f(*number++, elements[n + i + j + c]);
        }
      }
    }
  }

  std::span<const Tensor> operands_;
  const std::vector<Layout>& layouts_;
  std::vector<Tensor> tensors_;
  std::deque<std::vector<float>> memory_;
};

// Sums in f32, as tensor cores do.
void run_by_cpu(const KernelArgs& args) {
  sim::SimDriver::run_on(args.stream, [args] {
    const auto& layouts = *static_cast<const Layouts*>(args.prepared);
    const ForCpu in(args.in, layouts.in), out(args.out, layouts.out);
    in.read(args.op);
    cpu_kernel(args.op.name(), Dtype::f32).run({args.op, in.tensors(), out.tensors(), args.workspace});
    out.write();
  });
}

Prepared prepared_with(const Op& op, std::span<const Spec> in, std::span<const Spec> out, Layouts layouts) {
  Prepared prepared;
  const Kernel& kernel = cpu_kernel(op.name(), Dtype::f32);
  if (kernel.prepare) prepared.workspace_bytes = kernel.prepare(op, in, out).value().workspace_bytes;
  prepared.state = std::make_shared<Layouts>(layouts);
  prepared.layouts = std::move(layouts);
  return prepared;
}

// As the libraries of a GPU want them.
std::optional<Prepared> prepare_padded(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  return prepared_with(op, in, out, padded_layouts(op, in, out));
}

// Sums of columns do not mind.
std::optional<Prepared> prepare_dense(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  return prepared_with(op, in, out, {std::vector<Layout>(in.size()), std::vector<Layout>(out.size())});
}
std::optional<Prepared> follow_padded(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  return prepared_with(op, in, out, {{in[0].layout}, {Layout{}}});
}

// Convolutions are most of a net's work, and simulated they take minutes where the CPU's own loops take
// seconds.
void add_cpu_convolutions(Registry& registry) {
  for (const char* op : {"conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db"}) {
    const bool sums = op == std::string_view("conv2d_db");
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      registry.add_kernel({.op = op,
                           .device = kName,
                           .version = "cpu",
                           .dtype = dtype,
                           .run = run_by_cpu,
                           .prepare = sums ? prepare_dense : prepare_padded,
                           .follow = sums ? follow_padded : nullptr,
                           .preference = kFirst});
    }
  }
  registry.set_weight_layout(kName, padded_weights);
}

// MILLRACE_SIM_FAULT=launch:17:cudaErrorLaunchFailure lets the 17th launch of a program fail, for tests of
// whole programs.
void inject_from_environment(sim::SimDriver& driver) {
  const char* text = std::getenv("MILLRACE_SIM_FAULT");
  if (!text || !*text) return;
  const std::string fault = text;
  const size_t first = fault.find(':'), second = fault.rfind(':');
  sim::SimFault parsed{.call = fault.substr(0, first), .nth = 0, .name = fault.substr(second + 1)};
  const auto read = std::from_chars(fault.data() + std::min(first + 1, fault.size()),
                                    fault.data() + std::min(second, fault.size()), parsed.nth);
  if (read.ec != std::errc() || read.ptr != fault.data() + second || parsed.nth < 1) {
    fail(ErrorKind::usage,
         {"MILLRACE_SIM_FAULT", "call:number:status, as launch:17:cudaErrorLaunchFailure", fault, ""});
  }
  driver.inject(parsed);
}

}  // namespace

void register_device(Registry& registry) {
  const auto driver = std::make_shared<sim::SimDriver>();
  inject_from_environment(*driver);
  add_cuda_backend(registry, {.name = kName, .automatic = false, .driver = driver});
}

void register_backend(Registry& registry) {
  register_kernels(registry);
  add_cpu_convolutions(registry);
  register_device(registry);
}

}  // namespace millrace::cuda_sim
