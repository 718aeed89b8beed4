#include "optim/norm.h"

#include <algorithm>
#include <cmath>

#include "cpu/flat.h"

namespace millrace::cpu {
namespace {

constexpr int64_t kLanes = 16;  // partial sums of a chunk, so that additions need not wait for each other

template <class T> double square(T x) {
  const auto real = static_cast<double>(real_number(x));
  return real * real;
}

template <class T> double sum_of_squares(const T* x, int64_t count) {
  double lane[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) lane[i] += square(x[k + i]);
  }
  for (; k < count; ++k) lane[k % kLanes] += square(x[k]);
  double sum = 0;
  for (double part : lane) sum += part;
  return sum;
}

// The workspace holds one sum per chunk.
template <class T, class Y> void norm(const KernelArgs& args) {
  const T* x = args.in[0].as<T>();
  const int64_t P = args.in[0].count(), chunks = Norm::chunks(P);
  auto* sums = static_cast<double*>(args.workspace);
  parallel_rows(chunks, P, [&](int64_t c) {
    const int64_t begin = c * Norm::kChunk;
    sums[c] = sum_of_squares(x + begin, std::min(Norm::kChunk, P - begin));
  });
  double total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += sums[c];
  args.out[0].as<Y>()[0] = static_cast<Y>(std::sqrt(total));
}

std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const int64_t bytes = Norm::chunks(in[0].shape.count()) * static_cast<int64_t>(sizeof(double));
  return Prepared{.state = nullptr, .workspace_bytes = bytes, .implementation = {}};
}

}  // namespace

void register_norm(Registry& r) {
  Kernel kernel{.op = Norm::kName, .device = "cpu", .version = "plain", .prepare = prepare};
  kernel.dtype = Dtype::f64;
  kernel.run = norm<double, double>;
  r.add_kernel(kernel);
  kernel.dtype = Dtype::f32;
  kernel.run = norm<float, float>;
  r.add_kernel(kernel);
  kernel.dtype = Dtype::bf16;
  kernel.run = norm<Bf16, float>;
  r.add_kernel(kernel);
}

}  // namespace millrace::cpu
