// What parity tests do not show of the losses' kernels: outputs that lie where an input lies, as the ops
// license it, and scalars that change between two runs of what was prepared once.
#include "cuda/register.h"
#include "layers/lrn.h"
#include "losses/charbonnier.h"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace millrace {
namespace {

std::vector<const Kernel*> kernels_of(const char* op) {
  static const bool registered = [] {
    cuda_sim::register_kernels(Registry::mutable_registry());
    return true;
  }();
  REQUIRE(registered);
  const auto found = Registry::get().kernels(op, "cuda-sim", Dtype::f32);
  REQUIRE(found.size() >= 2);
  return found;
}

Tensor tensor(std::vector<float>& data, Shape shape) { return {.data = data.data(), .shape = shape}; }

}  // namespace

TEST_CASE("images are normalised in place") {
  const Shape shape{1, 9, 41, 9};  // more than a tile, and no multiple of 4
  for (const Kernel* kernel : kernels_of(Lrn::kName)) {
    INFO(kernel->version);
    std::vector<float> x = ramp(static_cast<size_t>(shape.count())), y(x.size());
    const Tensor in = tensor(x, shape), apart = tensor(y, shape);
    kernel->run({.op = Lrn(), .in = {&in, 1}, .out = {&apart, 1}});
    kernel->run({.op = Lrn(), .in = {&in, 1}, .out = {&in, 1}});
    CHECK(x == y);
  }
}

TEST_CASE("the Charbonnier gradient lies where its input lies, and follows dloss") {
  const Shape shape{2, 4, 70, 8};
  const CharbonnierDx op({.beta = 2, .border_y = 1, .border_x = 1});
  for (const Kernel* kernel : kernels_of(CharbonnierDx::kName)) {
    INFO(kernel->version);
    std::vector<float> x = ramp(static_cast<size_t>(shape.count())), dx(x.size()), dloss{1};
    const Tensor in[] = {tensor(dloss, {1}), tensor(x, shape)};
    const Tensor apart = tensor(dx, shape);
    kernel->run({.op = op, .in = in, .out = {&apart, 1}});
    dloss[0] = 2;  // a power of 2 rounds nothing
    kernel->run({.op = op, .in = in, .out = {&in[1], 1}});
    for (float& d : dx) d *= 2;
    CHECK(x == dx);
  }
}

}  // namespace millrace
