// Registry: (op, device, dtype, version) -> kernel. Planner, tests and benchmarks enumerate it. It is filled
// once, by calls that CMake generates from the names of the op headers.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/op.h"
#include "core/tensor.h"

namespace millrace {

// How the operands of a node lie, in its order. Empty: all dense.
struct Layouts {
  std::vector<Layout> in, out;
  bool operator==(const Layouts&) const = default;
};

// What a kernel version decided for one node, once, at plan time.
struct Prepared {
  std::shared_ptr<const void>
      state;                    // whatever the kernel wants to find again, for instance a library's primitive
  int64_t workspace_bytes = 0;  // scratch, inside the arena, only while the kernel runs
  std::string implementation{};  // printed in the plan, for instance oneDNN's name for its code
  Layouts layouts{};             // how the kernel wants its operands to lie
};

struct KernelArgs {
  const Op& op;
  std::span<const Tensor> in, out;
  void* workspace = nullptr;
  const void* prepared = nullptr;  // Prepared::state
  void* stream = nullptr;          // of a CUDA device: its cudaStream_t

  // The attributes of the op: args.attrs<Warp>().
  template <class T> const auto& attrs() const { return static_cast<const T&>(op).attrs; }
};

// Overwrites every element of every output, with zeros what fills up the blocks of its layout. Computes;
// never allocates, throws or checks.
using KernelFn = void (*)(const KernelArgs&);
// Nothing: this version cannot do this node.
using PrepareFn = std::optional<Prepared> (*)(const Op&, std::span<const Spec> in, std::span<const Spec> out);

// The same for a version that can work in other layouts too: told how the inputs lie, it says how it would
// take them and how its outputs then lie. Nothing: only dense.
using FollowFn = PrepareFn;

struct Kernel {
  std::string op;
  std::string device;   // "cpu", "cuda-sim", "cuda"
  std::string version;  // "plain", "onednn", ...
  Dtype dtype = Dtype::f32;
  KernelFn run = nullptr;
  PrepareFn prepare = nullptr;
  FollowFn follow = nullptr;
  int preference = 0;  // the `heuristic` policy takes the highest that can do the node
  // False: the last bits of results depend on which thread comes first. Taken only when a plan is asked for
  // this version by name, never by preference, measurement or a file of choices.
  bool repeatable = true;
  // True: products of float round their factors to TF32. Taken only by plans of Precision::tf32.
  bool tf32 = false;
  // What the version rounds beside its result, relative to the largest: what parity tests allow it more.
  double rounding = 0;
};

// The type under which kernels for such operands are registered: bf16 as soon as one of them is, because
// sums and parameters beside it are f32; else that of the first output.
Dtype kernel_dtype(std::span<const Spec> in, std::span<const Spec> out);

struct OpEntry {
  std::string name;
  std::string family;  // the header that describes it: warp for warp, warp_dflow and warp_dimage
  bool has_gradient = true;
  std::vector<Case> (*cases)() = nullptr;
};

// A pass that puts one op in the place of many nodes where it finds them; else the graph stays as it is. The
// results are equal within rounding, not to the bit.
struct Fusion {
  std::string op;
  Graph (*run)(const Graph&) = nullptr;
  std::vector<std::string> devices{};  // where it pays; PlanOptions::fusions may say otherwise
};

class Registry {
 public:
  // The one registry, filled.
  static const Registry& get();

  void begin_family(const std::string& name) { family_ = name; }
  template <class T> void add_op() { ops_.push_back({T::kName, family_, T{}.has_gradient(), &T::cases}); }
  void add_kernel(Kernel kernel) { kernels_.push_back(std::move(kernel)); }
  void add_fusion(Fusion fusion) { fusions_.push_back(std::move(fusion)); }

  const std::vector<OpEntry>& ops() const { return ops_; }
  const std::vector<Fusion>& fusions() const { return fusions_; }
  // All versions for one op, highest preference first.
  std::vector<const Kernel*> kernels(std::string_view op, std::string_view device, Dtype dtype) const;
  const std::deque<Kernel>& all_kernels() const { return kernels_; }
  std::vector<std::string> devices() const;

  // In place of one of that name, if there is one.
  void add_backend(Backend backend);
  const std::deque<Backend>& backends() const { return backends_; }

  // How convolution weights (O,kh,kw,I) of real numbers best lie in the State for a device's kernels; dense
  // where nothing else was said.
  using WeightLayoutFn = Layout (*)(const Spec& weights);
  void set_weight_layout(const std::string& device, WeightLayoutFn layout) { weights_[device] = layout; }
  Layout weight_layout(const std::string& device, const Spec& weights) const;

  // For tests that register deliberately wrong kernels, and for backends in libraries of their own.
  static Registry& mutable_registry();

 private:
  std::vector<OpEntry> ops_;
  std::deque<Kernel> kernels_;  // plans point into it
  std::deque<Backend> backends_;
  std::string family_;
  std::vector<Fusion> fusions_;
  std::map<std::string, WeightLayoutFn> weights_;
};

// Registers one CPU kernel template for double, the truth of all tests, and float.
inline void add_cpu_kernel(Registry& r, const char* op, KernelFn f32, KernelFn f64,
                           FollowFn follow = nullptr) {
  r.add_kernel(
      {.op = op, .device = "cpu", .version = "plain", .dtype = Dtype::f64, .run = f64, .follow = follow});
  r.add_kernel(
      {.op = op, .device = "cpu", .version = "plain", .dtype = Dtype::f32, .run = f32, .follow = follow});
}

}  // namespace millrace
