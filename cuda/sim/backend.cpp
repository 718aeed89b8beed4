// The device "cuda-sim": its kernels, its driver, and convolutions by the CPU.
#include <charconv>
#include <cstdlib>
#include <memory>

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

// Convolutions are most of a net's work, and simulated they take minutes where the CPU's own loops take
// seconds.
void add_cpu_convolutions(Registry& registry) {
  for (const char* op : {"conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db"}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const Kernel* kernel : registry.kernels(op, "cpu", dtype)) {
        if (kernel->version != "plain") continue;
        registry.add_kernel({.op = op,
                             .device = kName,
                             .version = "cpu",
                             .dtype = dtype,
                             .run = run_by_cpu,
                             .prepare = kernel->prepare,
                             .preference = kFirst});
      }
    }
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
