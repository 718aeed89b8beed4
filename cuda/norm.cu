#include "cuda/numbers.cuh"
#include "cuda/op.cuh"
#include "cuda/reduce.cuh"
#include "optim/norm.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

__device__ double square(float x) { return static_cast<double>(x) * x; }

// Of the whole vector, by one block: thread t adds the squares of elements t, t + 256, ...; then block_sum.
// In double, as are all sums here: a square is exact, no square of a float overflows, and what the sum of
// 2^28 of them loses is far below the rounding of y. Bytes per element: 4 or 2 read. One block of the many
// that a GPU runs at once has a hundredth of its bandwidth.
template <class T> __global__ void __launch_bounds__(kBlock) norm_one_block(const T* x, int64_t P, float* y) {
  __shared__ double shared[kBlock / kLanes];
  double sum = 0;
  for (int64_t k = threadIdx.x; k < P; k += kBlock) sum += square(to_float(x[k]));
  sum = block_sum<kBlock>(sum, shared);
  if (threadIdx.x == 0) *y = static_cast<float>(sqrt(sum));
}

// Block b of the first launch adds the squares of run b, 2,048 vectors of 16 bytes; thread t takes the
// vectors t, t + 256, ... of it. All blocks of the GPU read at once, 16 bytes at
// a time, and a thread's eight loads wait for nothing. Bytes per element: 4 or 2 read, and 8 per run written
// and read again by the second launch (cuda/reduce.cuh), which adds the runs in their order.
constexpr int kVectors = 8;
template <class T> constexpr int kWidth = 16 / sizeof(T);
template <class T> constexpr int64_t kRun = int64_t{kBlock} * kVectors* kWidth<T>;
template <class T> int64_t runs(int64_t P) { return P < 1 ? 1 : (P - 1) / kRun<T> + 1; }

template <class T> __global__ void __launch_bounds__(kBlock)
    norm_runs(const T* x, int64_t P, double* partials) {
  __shared__ double shared[kBlock / kLanes];
  const int64_t run = blockIdx.x * kRun<T>;
  double sum = 0;
  if (run + kRun<T> <= P) {
    Floats<kWidth<T>> v[kVectors];
#pragma unroll
    for (int u = 0; u < kVectors; ++u)
      v[u] = load_floats<kWidth<T>>(x + run + kWidth<T> * (u * kBlock + static_cast<int>(threadIdx.x)));
#pragma unroll
    for (int u = 0; u < kVectors; ++u) {
#pragma unroll
      for (int i = 0; i < kWidth<T>; ++i) sum += square(v[u][i]);
    }
  } else {
    for (int64_t k = run + threadIdx.x; k < P; k += kBlock) sum += square(to_float(x[k]));
  }
  sum = block_sum<kBlock>(sum, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

struct WriteRoot {
  float* y;
  __device__ void operator()(const double (&sums)[1]) const { *y = static_cast<float>(sqrt(sums[0])); }
};

template <class T> void one_block(const KernelArgs& args) {
  launch(norm_one_block<T>, {.grid = 1, .block = kBlock}, args.stream, args.in[0].as<T>(), args.in[0].count(),
         args.out[0].as<float>());
}

template <class T> void blocks(const KernelArgs& args) {
  const int64_t P = args.in[0].count();
  auto* partials = static_cast<double*>(args.workspace);
  launch(norm_runs<T>, {.grid = static_cast<unsigned>(runs<T>(P)), .block = kBlock}, args.stream,
         args.in[0].as<T>(), P, partials);
  finish_partials<1>(partials, runs<T>(P), WriteRoot{args.out[0].as<float>()}, args.stream);
}

template <class T>
std::optional<Prepared> one_partial_a_run(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  Prepared prepared;
  prepared.workspace_bytes = runs<T>(in[0].shape.count()) * static_cast<int64_t>(sizeof(double));
  return prepared;
}

template <class T> void add_versions(Registry& r) {
  add_cuda_kernel(r, {.op = Norm::kName, .dtype = dtype_of<T>(), .run = one_block<T>});
  add_cuda_kernel(r, {.op = Norm::kName,
                      .version = "blocks",
                      .dtype = dtype_of<T>(),
                      .run = blocks<T>,
                      .prepare = one_partial_a_run<T>,
                      .preference = 1});
}

}  // namespace

void register_norm(Registry& r) {
  add_versions<float>(r);
  add_versions<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
