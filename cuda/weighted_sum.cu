#include <algorithm>

#include "cuda/op.cuh"
#include "cuda/reduce.cuh"
#include "losses/weighted_sum.h"

namespace MILLRACE_CUDA_NS {
namespace {

// Up to 32 terms, handed over in the launch's own arguments: nothing is copied to the device beforehand.
struct Terms {
  const float* x[kLanes];
  double weight[kLanes];
  int count;
};

// One warp, a lane per term, so that all terms are on their way at once; added in double. `more` adds to what
// an earlier launch wrote. Bytes: 4 read per term, 4 written; all of the time is the launch and one latency.
__global__ void __launch_bounds__(kLanes) weighted_sum_warp(Terms terms, bool more, float* y) {
  const int lane = static_cast<int>(threadIdx.x);
  const double sum = warp_sum(lane < terms.count ? terms.weight[lane] * *terms.x[lane] : 0.0);
  if (lane == 0) *y = static_cast<float>(more ? *y + sum : sum);
}

void weighted_sum(const KernelArgs& args) {
  const std::vector<double>& weights = args.attrs<WeightedSum>().weights;
  for (size_t from = 0; from < weights.size(); from += kLanes) {
    Terms terms{};
    terms.count = static_cast<int>(std::min<size_t>(weights.size() - from, kLanes));
    for (size_t m = 0; m < static_cast<size_t>(terms.count); ++m) {
      terms.x[m] = args.in[from + m].as<float>();
      terms.weight[m] = weights[from + m];
    }
    launch(weighted_sum_warp, {.grid = 1, .block = kLanes}, args.stream, terms, from > 0,
           args.out[0].as<float>());
  }
}

}  // namespace

void register_weighted_sum(Registry& r) {
  add_cuda_kernel(r, {.op = WeightedSum::kName, .run = weighted_sum});
}

}  // namespace MILLRACE_CUDA_NS
