// What the kernels of the optimizers share: they move one flat vector of parameters, and with each parameter
// kMoments numbers that belong to it.
#pragma once

#include "cuda/numbers.cuh"
#include "cuda/op.cuh"
#include "optim/flat.h"

namespace MILLRACE_CUDA_NS {

// Operands of one update. Old and new may lie at one place: each thread reads what it writes. G is the type
// of gradients, C that of the copy that a bf16 net computes with; null: there is none.
template <int kMoments, class G, class C> struct FlatUpdate {
  const float* p;
  const G* g;
  const float* moment[kMoments];
  const float *multipliers, *rate, *norm, *loss;
  float* p_next;
  float* moment_next[kMoments];
  C* copy;
  int64_t count;

  explicit FlatUpdate(const KernelArgs& a) {
    p = a.in[0].as<float>();
    g = a.in[1].as<G>();
    for (int k = 0; k < kMoments; ++k) moment[k] = a.in[2 + k].as<float>();
    multipliers = a.in[2 + kMoments].as<float>();
    rate = a.in[3 + kMoments].as<float>();
    norm = a.in[4 + kMoments].as<float>();
    loss = a.in[5 + kMoments].as<float>();
    p_next = a.out[0].as<float>();
    for (int k = 0; k < kMoments; ++k) moment_next[k] = a.out[1 + k].as<float>();
    copy = a.out.size() > 1 + kMoments ? a.out[1 + kMoments].as<C>() : nullptr;
    count = a.out[0].count();
  }

  // How the block of 64 moves that holds element k, and whether it does.
  __device__ bool moves(int64_t k, const GradientStep<float>& gradient, BlockStep<float>& here) const {
    const Float2 multiplier = load_vec<2>(multipliers + 2 * (k / kUpdateBlock));
    here = {gradient.scale(*norm), *rate * multiplier[0], gradient.weight_decay * multiplier[1]};
    return usable(*norm, *loss) && multiplier[0] != 0;
  }
};

// run(FlatUpdate) for the types of the gradient and the copy.
template <int kMoments, class F> void with_types(const KernelArgs& a, const F& run) {
  const bool bf16_copy = a.out.size() > 1 + kMoments && a.out[1 + kMoments].dtype == Dtype::bf16;
  if (a.in[1].dtype == Dtype::bf16)
    run(FlatUpdate<kMoments, Bf16, Bf16>(a));
  else if (bf16_copy)
    run(FlatUpdate<kMoments, float, Bf16>(a));
  else
    run(FlatUpdate<kMoments, float, float>(a));
}

}  // namespace MILLRACE_CUDA_NS
