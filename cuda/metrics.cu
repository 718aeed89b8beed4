#include <limits>

#include "cuda/op.cuh"
#include "optim/flat.h"
#include "optim/metrics.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 128;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
static_assert(Metrics::kMaxValues <= kBlock);

struct Row {
  const float* x[Metrics::kMaxValues];
  int count;
};

// One block: the ring has some hundred numbers. Thread t copies elements t, t + 128, ... of the ring, and
// takes those of the new row from shared memory, where the threads have brought them; the ring may lie in its
// old place. Bytes: some hundred; the launch is what it costs.
__global__ void __launch_bounds__(kBlock)
    metrics_block(const float* ring, const float* at, Row values, int rows, int columns, float* next,
                  float* at_next, float* guard) {
  __shared__ float line[Metrics::kMaxValues];
  const int t = static_cast<int>(threadIdx.x);
  const auto row = static_cast<int>(at[0]);
  const float before = at[1];
  if (t < values.count) line[t] = *values.x[t];
  __syncthreads();
  for (int k = t; k < rows * columns; k += kBlock) {
    const int column = k % columns;
    if (k / columns == row)
      next[k] = column < values.count ? line[column] : 0.f;
    else
      next[k] = ring[k];
  }
  if (t > 0) return;
  bool finite = usable(before, before);
  for (int k = 0; k < values.count; ++k) finite = finite && usable(line[k], line[k]);
  *guard = finite ? 0.f : kNan;
  at_next[0] = static_cast<float>((row + 1) % rows);
  at_next[1] = *guard;
}

void metrics(const KernelArgs& args) {
  Row row{.x = {}, .count = static_cast<int>(args.in.size() - Metrics::kFirst)};
  for (int k = 0; k < row.count; ++k)
    row.x[k] = args.in[Metrics::kFirst + static_cast<size_t>(k)].as<const float>();
  const Shape& shape = args.in[0].shape;
  launch(metrics_block, {.grid = 1, .block = kBlock}, args.stream, args.in[0].as<const float>(),
         args.in[1].as<const float>(), row, static_cast<int>(shape[0]), static_cast<int>(shape[1]),
         args.out[0].as<float>(), args.out[1].as<float>(), args.out[2].as<float>());
}

}  // namespace

void register_metrics(Registry& r) { add_cuda_kernel(r, {.op = Metrics::kName, .run = metrics}); }

}  // namespace MILLRACE_CUDA_NS
