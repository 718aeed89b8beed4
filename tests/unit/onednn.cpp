// The convolutions that oneDNN computes: which of its implementations plans get, and what running one costs.
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <new>

#include "core/plan.h"
#include "layers/conv2d.h"
#include "nets/motionnet.h"
#include "tests/catch.h"

namespace {
std::atomic<int64_t> allocated_bytes = 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCounted = false;  // the allocator is the sanitizer's
#else
constexpr bool kCounted = true;

// Every allocation of this program and of oneDNN, which takes its buffers by posix_memalign.
extern "C" int posix_memalign(void** memory, size_t alignment, size_t bytes) noexcept {
  allocated_bytes += static_cast<int64_t>(bytes);
  *memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  return *memory ? 0 : ENOMEM;
}

// Not inline: g++ 12 would see malloc() meet operator delete, and warn.
[[gnu::noinline]] void* operator new(size_t bytes) {
  allocated_bytes += static_cast<int64_t>(bytes);
  void* memory = std::malloc(bytes ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#endif

namespace millrace {
namespace {

bool has_onednn() {
  const auto kernels = Registry::get().kernels(Conv2d::kName, "cpu", Dtype::f32);
  if (kernels.front()->version == "onednn") return true;
  std::cout << "skipped: built without oneDNN\n";
  return false;
}

struct Setting {
  MotionNetOptions net;
  int64_t size, batch;
};

// The net and its gradients.
Plan training_plan(const Setting& s) {
  Graph g(Dtype::f32);
  ParamStore params;
  const Value images = g.input("images", Shape{s.batch, s.size, s.size, 3 * s.net.frames});
  const MotionNetFlows net = motionnet(g, params, images, s.net);
  std::vector<Value> seeds, weights;
  for (Value flow : net.all()) seeds.push_back(g.input("d" + std::to_string(seeds.size()), g.shape(flow)));
  for (const FlatSlice& slice : params.layout().slices) {
    weights.push_back(params.parameter(g, slice.name, slice.shape, {}));
  }
  const std::vector<Value> d = gradients(g, net.all(), seeds, weights);
  for (size_t k = 0; k < d.size(); ++k) g.output("g" + std::to_string(k), d[k]);
  g.output("flow2", net.at(2));
  return make_plan(g);
}

const std::vector<Setting> kSettings{{{.frames = 11}, 224, 1},
                                     {{.frames = 11}, 64, 1},
                                     {{.frames = 2, .channels = .25}, 128, 8},
                                     {{.frames = 2, .channels = .25}, 64, 2},
                                     {{.frames = 3, .channels = .125}, 64, 1},
                                     {{.frames = 2, .channels = .1}, 96, 1},
                                     {{.frames = 11, .small_displacement = false}, 224, 1},
                                     {{.frames = 2, .channels = .25, .small_displacement = false}, 128, 8},
                                     {{.frames = 11, .smooth_conv = false}, 224, 1},
                                     {{.frames = 2, .channels = .25, .smooth_conv = false}, 128, 8},
                                     {{.frames = 11, .kind = MotionNetKind::tiny}, 224, 1},
                                     {{.frames = 2, .channels = .25, .kind = MotionNetKind::tiny}, 128, 8}};

// Of the encoder, heads and smooth_conv; and deconvolutions.
struct Layers {
  int convolutions = 0, deconvolutions = 0;
};
Layers layers_of(const MotionNetOptions& o) {
  Layers n = o.kind == MotionNetKind::tiny ? Layers{4 + 3, 4} : Layers{12 + 5, 8};
  if (!o.small_displacement) --n.convolutions;
  if (o.smooth_conv) n.convolutions += n.deconvolutions / 2;
  return n;
}

}  // namespace

TEST_CASE("no convolution of MotionNet runs in plain or reference loops") {
  if (!has_onednn()) return;
  for (const Setting& s : kSettings) {
    std::map<std::string, int> seen;
    for (const PlanStep& step : training_plan(s).steps) {
      const std::string op(step.op->name());
      if (op != Conv2d::kName && op != Conv2dDx::kName && op != Conv2dDw::kName) continue;
      INFO(s.size << " " << s.net.channels << " " << step.name << " " << step.prepared.implementation);
      CHECK(
          (step.kernel->version == "onednn" || (step.kernel->version == "vector" && op == Conv2dDw::kName)));
      CHECK(!step.prepared.implementation.empty());
      CHECK(step.prepared.implementation.find("ref") == std::string::npos);
      ++seen[op];
    }
    const Layers n = layers_of(s.net);
    CHECK(seen[Conv2d::kName] == n.convolutions + n.deconvolutions);
    CHECK(seen[Conv2dDx::kName] == n.convolutions - 1 + n.deconvolutions);  // the images need no gradient
    CHECK(seen[Conv2dDw::kName] == n.convolutions + n.deconvolutions);
  }
}

namespace {

// The second run of a kernel: what it allocates, in bytes.
int64_t allocated_by_run(const Kernel& kernel, const Op& op, const std::vector<Spec>& in,
                         const Prepared& prepared) {
  const auto device = make_device("cpu");
  std::vector<Memory> memory;
  const auto tensor = [&](const Spec& s) {
    device->fill_bytes(memory.emplace_back(*device, s.bytes()).data(), 0, s.bytes());
    return Tensor{memory.back().data(), s.shape, s.dtype};
  };
  std::vector<Tensor> in_tensors;
  for (const Spec& s : in) in_tensors.push_back(tensor(s));
  const std::vector<Tensor> out_tensors{tensor(op.infer(in, Dtype::f32)[0])};
  const Memory workspace(*device, prepared.workspace_bytes);
  const KernelArgs args{.op = op,
                        .in = in_tensors,
                        .out = out_tensors,
                        .workspace = workspace.data(),
                        .prepared = prepared.state.get()};
  kernel.run(args);
  const int64_t before = allocated_bytes;
  kernel.run(args);
  return allocated_bytes - before;
}

}  // namespace

TEST_CASE("a run takes no memory but oneDNN's small change") {
  if (!has_onednn()) return;
  if (!kCounted) {
    std::cout << "skipped: a sanitizer owns the allocator\n";
    return;
  }
  const Spec x{{2, 56, 56, 64}}, w{{128, 3, 3, 64}}, b{{128}}, y{{2, 28, 28, 128}}, whole{{2, 56, 56, 128}};
  const std::vector<std::pair<std::shared_ptr<const Op>, std::vector<Spec>>> problems{
      {make_op<Conv2d>(Conv2dAttrs{.stride = 2, .pad = 1}), {x, w, b}},
      {make_op<Conv2dDx>(Conv2dDxAttrs{2, 1, 56, 56}), {y, w}},
      {make_op<Conv2dDw>(Conv2dDwAttrs{2, 1, 3, 3}), {x, y}},
      {make_op<Conv2d>(Conv2dAttrs{.pad = 1, .negative_slope = .1}), {x, w, b}},
      {make_op<Conv2dDx>(Conv2dDxAttrs{1, 1, 56, 56}), {whole, w}},
      {make_op<Conv2dDw>(Conv2dDwAttrs{1, 1, 3, 3}), {x, whole}}};
  for (const auto& [op, in] : problems) {
    for (const Kernel* kernel : Registry::get().kernels(op->name(), "cpu", Dtype::f32)) {
      if (kernel->version == "plain") continue;
      const auto prepared = kernel->prepare(*op, in, op->infer(in, Dtype::f32));
      if (!prepared) {  // it is for stride 1, and for AVX-512
        REQUIRE(kernel->version == "onednn-winograd");
        continue;
      }
      const std::string& implementation = prepared->implementation;
      INFO(op->name() << " " << kernel->version << " " << implementation);
      if (implementation.find("gemm") != std::string::npos) {
        std::cout << "skipped: " << implementation
                  << ", oneDNN's code for old processors, packs matrices into memory of its own\n";
        continue;
      }
      CHECK(allocated_by_run(*kernel, *op, in, *prepared) < 16384);  // the tensors are megabytes
    }
  }
}

}  // namespace millrace
