#include "cuda/flat.cuh"
#include "optim/adam.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;
constexpr int kWidth = 4;  // a vector of 16 bytes of float; 16 of them are one block of 64

template <class G, class C> using Update = FlatUpdate<2, G, C>;

// One thread per parameter. Rate, norm and loss are read from memory by every thread, which costs nothing
// (all read one address, from the caches) and lets a recorded step see new ones. Where the norm or the loss
// is not finite, or the block's lr_mult is 0, what was read is written back to the bit. Bytes per parameter:
// 12 read for p, m and v, 4 or 2 for g; 12 written, 2 or 4 more with the copy.
template <class G, class C> __global__ void __launch_bounds__(kBlock)
    adam_elements(Update<G, C> x, AdamStep<float> step) {
  const int64_t k = global_thread();
  if (k >= x.count) return;
  BlockStep<float> here;
  const bool moves = x.moves(k, step.gradient, here);
  float p = x.p[k], m = x.moment[0][k], v = x.moment[1][k];
  if (moves) step(here, to_float(x.g[k]), p, m, v);
  x.p_next[k] = p;
  x.moment_next[0][k] = m;
  x.moment_next[1][k] = v;
  if (x.copy) x.copy[k] = from_float<C>(p);
}

// One thread per four parameters, which lie in one block of 64: one access of 16 bytes each for p, m, v and
// g. A quarter of the instructions and of the address arithmetic per byte, and four times as many bytes under
// way per thread: enough to cover the latency of memory with few warps. More than four would pull the
// accesses of neighbouring threads apart. All are asked for before the scalars are waited for, and before it
// is known whether the block moves: one wait for memory in place of three. Bytes per parameter as before.
template <class G, class C> __global__ void __launch_bounds__(kBlock)
    adam_vector(Update<G, C> x, AdamStep<float> step) {
  const int64_t k = kWidth * global_thread();
  if (k >= x.count) return;
  Floats<kWidth> p = load_floats<kWidth>(x.p + k), m = load_floats<kWidth>(x.moment[0] + k);
  Floats<kWidth> v = load_floats<kWidth>(x.moment[1] + k);
  const Floats<kWidth> g = load_floats<kWidth>(x.g + k);
  BlockStep<float> here;
  const bool moves = x.moves(k, step.gradient, here);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    float p_new = p[i], m_new = m[i], v_new = v[i];
    step(here, g[i], p_new, m_new, v_new);
    p[i] = moves ? p_new : p[i];
    m[i] = moves ? m_new : m[i];
    v[i] = moves ? v_new : v[i];
  }
  store_floats(x.p_next + k, p);
  store_floats(x.moment_next[0] + k, m);
  store_floats(x.moment_next[1] + k, v);
  if (x.copy) store_floats(x.copy + k, p);
}

void elements(const KernelArgs& args) {
  with_types<2>(args, [&]<class G, class C>(const Update<G, C>& x) {
    launch(adam_elements<G, C>, {.grid = blocks_for(x.count, kBlock), .block = kBlock}, args.stream, x,
           AdamStep<float>(args.attrs<Adam>()));
  });
}

void vector(const KernelArgs& args) {
  with_types<2>(args, [&]<class G, class C>(const Update<G, C>& x) {
    launch(adam_vector<G, C>, {.grid = blocks_for(x.count / kWidth, kBlock), .block = kBlock}, args.stream, x,
           AdamStep<float>(args.attrs<Adam>()));
  });
}

}  // namespace

void register_adam(Registry& r) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    add_cuda_kernel(r, {.op = Adam::kName, .dtype = dtype, .run = elements});
    add_cuda_kernel(r,
                    {.op = Adam::kName, .version = "vector", .dtype = dtype, .run = vector, .preference = 1});
  }
}

}  // namespace MILLRACE_CUDA_NS
