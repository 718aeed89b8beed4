// What parity tests do not show of pointwise kernels: outputs that lie where an input lies, as the ops
// license it, and operands that lie at any element of a flat buffer.
#include <numeric>

#include "core/add.h"
#include "core/pack.h"
#include "cuda/register.h"
#include "layers/bias.h"
#include "layers/concat.h"
#include "tests/catch.h"

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

std::vector<float> counted(size_t count, float first) {
  std::vector<float> v(count);
  std::iota(v.begin(), v.end(), first);
  return v;
}

// A row of n numbers, or (1,1,n/C,C) for ops on channels.
Tensor row(float* data, int64_t n) { return {.data = data, .shape = {n}, .dtype = Dtype::f32}; }
Tensor pixels(float* data, int64_t n, int64_t C) {
  return {.data = data, .shape = {1, 1, n / C, C}, .dtype = Dtype::f32};
}

void run(const Kernel& kernel, const Op& op, std::vector<Tensor> in, Tensor out) {
  INFO(kernel.op << " " << kernel.version);
  kernel.run({.op = op, .in = in, .out = {&out, 1}});
}

}  // namespace

TEST_CASE("a sum lies where either of its terms lies, at any element") {
  constexpr int64_t kCount = 1030;
  for (const Kernel* kernel : kernels_of(Add::kName)) {
    for (int64_t shift : {0, 1, 2, 3}) {
      for (bool first : {true, false}) {
        std::vector<float> a = counted(kCount + 4, 1), b = counted(kCount + 4, 1000);
        float* y = (first ? a : b).data() + shift;
        run(*kernel, Add(), {row(a.data() + shift, kCount), row(b.data() + shift, kCount)}, row(y, kCount));
        for (int64_t k = 0; k < kCount; ++k) REQUIRE(y[k] == static_cast<float>(1001 + 2 * (k + shift)));
      }
    }
  }
}

TEST_CASE("a bias is added in place, at any element") {
  constexpr int64_t kCount = 1024, kChannels = 8;
  for (const Kernel* kernel : kernels_of(Bias::kName)) {
    for (int64_t shift : {0, 1, 2}) {
      std::vector<float> x = counted(kCount + 4, 1), b = counted(kChannels, 100);
      float* y = x.data() + shift;
      run(*kernel, Bias(), {pixels(y, kCount, kChannels), row(b.data(), kChannels)},
          pixels(y, kCount, kChannels));
      for (int64_t k = 0; k < kCount; ++k)
        REQUIRE(y[k] == static_cast<float>(1 + k + shift + 100 + k % kChannels));
    }
  }
}

TEST_CASE("channels are joined from and to any element") {
  constexpr int64_t kPixels = 10;
  for (const Kernel* kernel : kernels_of(Concat::kName)) {
    for (int64_t shift : {0, 1, 2}) {
      std::vector<float> a = counted(4 * kPixels + 4, 1), b = counted(8 * kPixels + 4, 1000);
      std::vector<float> y(12 * kPixels + 4);
      run(*kernel, Concat(),
          {pixels(a.data() + shift, 4 * kPixels, 4), pixels(b.data() + shift, 8 * kPixels, 8)},
          pixels(y.data() + shift, 12 * kPixels, 12));
      for (int64_t k = 0; k < 12 * kPixels; ++k) {
        const int64_t p = k / 12, c = k % 12;
        const auto want = static_cast<float>(shift + (c < 4 ? 1 + 4 * p + c : 1000 + 8 * p + c - 4));
        REQUIRE(y[static_cast<size_t>(shift + k)] == want);
      }
    }
  }
}

TEST_CASE("pack leaves slices that lie in place, and copies to any element") {
  const Pack op(PackAttrs{.total = 300, .offsets = {3, 150}});
  for (const Kernel* kernel : kernels_of(Pack::kName)) {
    std::vector<float> out(300, -1), slice = counted(100, 1);
    std::iota(out.begin() + 150, out.begin() + 160, 500.0f);
    run(*kernel, op, {row(slice.data(), 100), row(out.data() + 150, 10)}, row(out.data(), 300));
    for (size_t k = 0; k < 300; ++k) {
      const auto at = static_cast<float>(k);
      const float want = k >= 3 && k < 103 ? at - 2 : k >= 150 && k < 160 ? at + 350 : 0;
      REQUIRE(out[k] == want);
    }
  }
}

}  // namespace millrace
