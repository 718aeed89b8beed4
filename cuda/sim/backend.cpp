// The device "cuda-sim": its kernels, its driver, and convolutions by the CPU.
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/kernel_choice.h"
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

// A node for the CPU's plain loops: how its operands lie, and what that kernel prepared.
struct Padded {
  Layouts layouts;
  Prepared plain;
};

// Dense operands of f32 in the place of a node's own.
class Plain {
 public:
  Plain(std::span<const Tensor> operands, const std::vector<Layout>& layouts)
      : operands_(operands), layouts_(layouts) {
    for (const Tensor& t : operands) {
      memory_.emplace_back(static_cast<size_t>(t.count()));
      tensors_.push_back({.data = memory_.back().data(), .shape = t.shape, .dtype = Dtype::f32});
    }
  }

  // Takes the operands' numbers, and refuses others than zeros where the layout has more places: in a GPU's
  // library they are parts of sums.
  void read(const Op& op) {
    for (size_t k = 0; k < operands_.size(); ++k) {
      const Tensor& t = operands_[k];
      const std::vector<int64_t> places = layout_places(layouts_[k], t.shape);
      for (size_t e = 0; e < places.size(); ++e) memory_[k][e] = number(t, places[e]);
      int64_t others = 0;
      for (int64_t at = 0; at < layouts_[k].count(t.shape); ++at) others += !(number(t, at) == 0);
      for (const float x : memory_[k]) others -= !(x == 0);
      if (others != 0) {
        fail(ErrorKind::device,
             {std::string(op.name()) + ", operand " + std::to_string(k),
              "zeros where " + layouts_[k].to_string() + " fills up " + t.shape.to_string(),
              std::to_string(others) + " others", ""});
      }
    }
  }
  // Gives them its own, with zeros where the layout has more places.
  void write() const {
    for (size_t k = 0; k < operands_.size(); ++k) {
      const Tensor& t = operands_[k];
      std::memset(t.data, 0, static_cast<size_t>(layouts_[k].count(t.shape) * size_of(t.dtype)));
      const std::vector<int64_t> places = layout_places(layouts_[k], t.shape);
      for (size_t e = 0; e < places.size(); ++e) {
        const auto at = static_cast<size_t>(places[e]);
        if (t.dtype == Dtype::bf16)
          t.as<Bf16>()[at] = round_to_bf16(memory_[k][e]);
        else
          t.as<float>()[at] = memory_[k][e];
      }
    }
  }
  std::span<const Tensor> tensors() const { return tensors_; }

 private:
  static float number(const Tensor& t, int64_t at) {
    return t.dtype == Dtype::bf16 ? to_float(t.as<Bf16>()[at]) : t.as<float>()[at];
  }

  std::span<const Tensor> operands_;
  const std::vector<Layout>& layouts_;
  std::vector<Tensor> tensors_;
  std::vector<std::vector<float>> memory_;
};

// Sums in f32, as tensor cores do.
void run_by_cpu(const KernelArgs& args) {
  sim::SimDriver::run_on(args.stream, [args] {
    const auto& node = *static_cast<const Padded*>(args.prepared);
    Plain in(args.in, node.layouts.in), out(args.out, node.layouts.out);
    in.read(args.op);
    cpu_kernel(args.op.name(), Dtype::f32)
        .run({args.op, in.tensors(), out.tensors(), args.workspace, node.plain.state.get()});
    out.write();
  });
}

std::optional<Prepared> prepare_by_cpu(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  std::optional<Prepared> plain = prepare_kernel(cpu_kernel(op.name(), Dtype::f32), op, in, out);
  if (!plain) return {};
  const auto node = std::make_shared<Padded>(Padded{padded_conv2d(op, in, out), std::move(*plain)});
  return Prepared{.state = node,
                  .workspace_bytes = node->plain.workspace_bytes,
                  .implementation = {},
                  .layouts = node->layouts};
}

// Convolutions are most of a net's work, and simulated they take minutes where the CPU's own loops take
// seconds. Their operands lie as cuDNN wants them.
void add_cpu_convolutions(Registry& registry) {
  for (const char* op : {"conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db"}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      registry.add_kernel({.op = op,
                           .device = kName,
                           .version = "cpu",
                           .dtype = dtype,
                           .run = run_by_cpu,
                           .prepare = prepare_by_cpu,
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
