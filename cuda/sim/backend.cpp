// The device "cuda-sim": its kernels, its driver, and convolutions by the CPU.
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/registry.h"
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

void run_by_cpu(const KernelArgs& args) {
  sim::SimDriver::run_on(args.stream, [args] { cpu_kernel(args.op.name(), args.out[0].dtype).run(args); });
}

// Operands of f32 in the place of bf16 ones, of the same numbers.
class InFloat {
 public:
  explicit InFloat(std::span<const Tensor> operands) {
    for (const Tensor& t : operands) {
      tensors_.push_back(t);
      if (t.dtype != Dtype::bf16) continue;
      std::vector<float>& numbers = memory_.emplace_back(static_cast<size_t>(t.count()));
      std::transform(t.as<Bf16>(), t.as<Bf16>() + t.count(), numbers.begin(),
                     [](Bf16 x) { return to_float(x); });
      tensors_.back() = {.data = numbers.data(), .shape = t.shape, .dtype = Dtype::f32};
    }
  }
  std::span<const Tensor> tensors() const { return tensors_; }
  void round_into(std::span<const Tensor> operands) const {
    for (size_t k = 0; k < operands.size(); ++k) {
      if (operands[k].dtype != Dtype::bf16) continue;
      const float* numbers = tensors_[k].as<float>();
      std::transform(numbers, numbers + operands[k].count(), operands[k].as<Bf16>(), round_to_bf16);
    }
  }

 private:
  std::vector<Tensor> tensors_;
  std::deque<std::vector<float>> memory_;
};

// Sums in f32, as tensor cores do.
void run_bf16_by_cpu(const KernelArgs& args) {
  sim::SimDriver::run_on(args.stream, [args] {
    const InFloat in(args.in), out(args.out);
    KernelArgs in_float{args.op, in.tensors(), out.tensors(), args.workspace};
    cpu_kernel(args.op.name(), Dtype::f32).run(in_float);
    out.round_into(args.out);
  });
}

// Convolutions are most of a net's work, and simulated they take minutes where the CPU's own loops take
// seconds.
void add_cpu_convolutions(Registry& registry) {
  for (const char* op : {"conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db"}) {
    Kernel kernel = cpu_kernel(op, Dtype::f32);
    kernel.device = kName;
    kernel.version = "cpu";
    kernel.follow = nullptr;
    kernel.preference = kFirst;
    kernel.run = run_by_cpu;
    registry.add_kernel(kernel);
    kernel.dtype = Dtype::bf16;
    kernel.run = run_bf16_by_cpu;
    registry.add_kernel(kernel);
  }
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
