// Runs one kernel of the registry on numbers, the simulated CUDA kernels too.
#pragma once

#include <cstring>
#include <limits>
#include <vector>

#include "core/device.h"
#include "core/registry.h"
#include "core/session.h"
#include "tests/catch.h"

namespace millrace::test {

struct KernelInput {
  Spec spec;
  std::vector<double> values;
};

// Memory of the host, aligned as a plan aligns it. All bytes are 0xff before the kernel writes it: NaN.
class KernelOperand {
 public:
  explicit KernelOperand(const Spec& spec)
      : device_(make_device("cpu")),
        memory_(*device_, std::max<int64_t>(spec.bytes(), 1)),
        tensor_{.data = memory_.data(), .shape = spec.shape, .dtype = spec.dtype} {
    std::memset(memory_.data(), 0xff, static_cast<size_t>(memory_.bytes()));
  }
  KernelOperand(const Spec& spec, const std::vector<double>& values) : KernelOperand(spec) {
    for (size_t k = 0; k < values.size(); ++k) {
      if (spec.dtype == Dtype::f64)
        tensor_.as<double>()[k] = values[k];
      else if (spec.dtype == Dtype::f32)
        tensor_.as<float>()[k] = static_cast<float>(values[k]);
      else if (spec.dtype == Dtype::bf16)
        tensor_.as<Bf16>()[k] = round_to_bf16(static_cast<float>(values[k]));
      else if (spec.dtype == Dtype::i32)
        tensor_.as<int32_t>()[k] = static_cast<int32_t>(values[k]);
      else
        tensor_.as<int64_t>()[k] = static_cast<int64_t>(values[k]);
    }
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  std::unique_ptr<Device> device_;
  Memory memory_;
  Tensor tensor_;
};

// All outputs. Real inputs take the types in their specs.
inline std::vector<std::vector<double>> run_kernel(const Kernel& kernel, const Op& op,
                                                   const std::vector<KernelInput>& inputs) {
  std::vector<Spec> in_specs;
  std::vector<KernelOperand> operands;
  std::vector<Tensor> in, out;
  for (const KernelInput& i : inputs) {
    in_specs.push_back(i.spec);
    in.push_back(operands.emplace_back(i.spec, i.values).tensor());
  }
  const std::vector<Spec> out_specs = op.infer(in_specs, kernel.dtype);
  for (const Spec& s : out_specs) out.push_back(operands.emplace_back(s).tensor());
  const auto prepared = kernel.prepare ? kernel.prepare(op, in_specs, out_specs) : Prepared{};
  REQUIRE(prepared.has_value());
  const KernelOperand workspace(Spec{{prepared->workspace_bytes}, Dtype::u8});
  kernel.run({.op = op,
              .in = in,
              .out = out,
              .workspace = workspace.tensor().data,
              .prepared = prepared->state.get()});
  std::vector<std::vector<double>> results;
  for (const Tensor& t : out) results.push_back(to_double(t));
  return results;
}

// The kernels of one op on both devices, if the simulated ones are registered, in all types.
inline std::vector<const Kernel*> all_kernels(const std::string& op) {
  std::vector<const Kernel*> kernels;
  for (const Kernel& k : Registry::get().all_kernels()) {
    if (k.op == op) kernels.push_back(&k);
  }
  return kernels;
}

}  // namespace millrace::test
