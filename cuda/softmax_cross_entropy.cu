#include "cuda/numbers.cuh"
#include "cuda/op.cuh"
#include "cuda/reduce.cuh"
#include "losses/softmax_cross_entropy.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T> struct Logits {
  const T* x;
  const int32_t* labels;
  int64_t rows, C, ignore;

  Logits(const Tensor& logits, const Tensor& label, const SoftmaxCrossEntropyAttrs& attrs)
      : x(logits.as<T>()),
        labels(label.as<int32_t>()),
        rows(label.count()),
        C(logits.shape[logits.shape.rank() - 1]),
        ignore(attrs.ignore) {}

  __device__ bool counts(int64_t n) const { return labels[n] != ignore; }
  __device__ bool is_class(int64_t label) const { return label >= 0 && label < C; }
  __device__ float at(int64_t n, int64_t c) const { return to_float(x[n * C + c]); }
};

// The largest logit of a row, and the sum of exp(x - largest).
struct Exponentials {
  float largest, sum;
};

// What one row adds to the loss, and to the count.
template <class T>
__device__ void write_row(const Logits<T>& logits, int64_t n, const Exponentials& e, float* terms) {
  const int64_t label = logits.labels[n];
  const bool counts = logits.counts(n);
  const float picked = logits.is_class(label) ? logits.at(n, label) : kNan;
  terms[n] = counts ? logf(e.sum) + (e.largest - picked) : 0.0f;
  terms[logits.rows + n] = counts ? 1.0f : 0.0f;
}

// The factor of softmax - [c = label] in a row.
template <class T>
__device__ float factor_of(const Logits<T>& logits, int64_t n, const float* dloss, const float* count) {
  if (!logits.counts(n)) return 0.0f;
  return logits.is_class(logits.labels[n]) ? *dloss / *count : kNan;
}

template <class T>
__device__ T slope(const Logits<T>& logits, int64_t n, int64_t c, const Exponentials& e, float factor) {
  const float one_hot = c == logits.labels[n] ? 1.0f : 0.0f;
  return from_float<T>(factor * (expf(logits.at(n, c) - e.largest) / e.sum - one_hot));
}

template <class T> __device__ Exponentials exponentials_by_thread(const Logits<T>& logits, int64_t n) {
  float largest = -kInfinity, sum = 0;
  for (int64_t c = 0; c < logits.C; ++c) largest = fmaxf(largest, logits.at(n, c));
  for (int64_t c = 0; c < logits.C; ++c) sum += expf(logits.at(n, c) - largest);
  return {largest, sum};
}

// plain. One thread per row, which goes over it for its largest logit, and again for the sum: neighbouring
// threads read C logits apart, so each access of a warp touches 32 places in memory. The rows' terms are
// added by a second launch (cuda/reduce.cuh), in a fixed order and in double. Bytes per row: C logits and a
// label read, 8 bytes written and read again.
template <class T> __global__ void __launch_bounds__(kBlock)
    cross_entropy_by_thread(Logits<T> logits, float* terms) {
  const int64_t n = global_thread();
  if (n < logits.rows) write_row(logits, n, exponentials_by_thread(logits, n), terms);
}

// plain. One thread per row. Bytes per row: C logits and a label read (three times, the logits from the
// caches after the first), C numbers written.
template <class T> __global__ void __launch_bounds__(kBlock)
    cross_entropy_dx_by_thread(Logits<T> logits, const float* dloss, const float* count, T* dx) {
  const int64_t n = global_thread();
  if (n >= logits.rows) return;
  const Exponentials e = exponentials_by_thread(logits, n);
  const float factor = factor_of(logits, n, dloss, count);
  for (int64_t c = 0; c < logits.C; ++c) dx[n * logits.C + c] = slope(logits, n, c, e, factor);
}

// The same for all lanes of the warp that has the row. Lane l takes the classes l, l + 32, ...
template <class T>
__device__ Exponentials exponentials_by_warp(const Logits<T>& logits, int64_t n, int lane) {
  float largest = -kInfinity, sum = 0;
  for (int64_t c = lane; c < logits.C; c += kLanes) largest = fmaxf(largest, logits.at(n, c));
  largest = warp_max(largest);
  for (int64_t c = lane; c < logits.C; c += kLanes) sum += expf(logits.at(n, c) - largest);
  return {largest, warp_sum(sum)};
}

// warp. One warp per row: its lanes read neighbouring logits, so an access of the warp is one piece of
// memory, and the row's largest logit and sum are found by shuffles, without shared memory or barriers. 32
// times as many threads wait for memory: a batch has few rows. Bytes as in `plain`.
template <class T> __global__ void __launch_bounds__(kBlock)
    cross_entropy_by_warp(Logits<T> logits, float* terms) {
  const int64_t n = global_thread() / kLanes;
  if (n >= logits.rows) return;  // the whole warp
  const int lane = block_thread() % kLanes;
  const Exponentials e = exponentials_by_warp(logits, n, lane);
  if (lane == 0) write_row(logits, n, e, terms);
}

// warp. The same; dx is written as x is read. Bytes as in `plain`.
template <class T> __global__ void __launch_bounds__(kBlock)
    cross_entropy_dx_by_warp(Logits<T> logits, const float* dloss, const float* count, T* dx) {
  const int64_t n = global_thread() / kLanes;
  if (n >= logits.rows) return;  // the whole warp
  const int lane = block_thread() % kLanes;
  const Exponentials e = exponentials_by_warp(logits, n, lane);
  const float factor = factor_of(logits, n, dloss, count);
  for (int64_t c = lane; c < logits.C; c += kLanes) dx[n * logits.C + c] = slope(logits, n, c, e, factor);
}

struct WriteMean {
  float *loss, *count;
  __device__ void operator()(const double (&sums)[2]) const {
    const double rows = sums[1] > 1 ? sums[1] : 1.0;
    *loss = static_cast<float>(sums[0] / rows);
    *count = static_cast<float>(rows);
  }
};

enum class RowBy { thread, warp };

template <RowBy kBy> LaunchShape shape_for(int64_t rows) {
  return {.grid = blocks_for(kBy == RowBy::warp ? rows * kLanes : rows, kBlock), .block = kBlock};
}

template <class T, RowBy kBy> void cross_entropy(const KernelArgs& args) {
  const Logits<T> logits(args.in[0], args.in[1], args.attrs<SoftmaxCrossEntropy>());
  auto* terms = static_cast<float*>(args.workspace);
  launch(kBy == RowBy::warp ? cross_entropy_by_warp<T> : cross_entropy_by_thread<T>,
         shape_for<kBy>(logits.rows), args.stream, logits, terms);
  finish_partials<2>(terms, logits.rows, WriteMean{args.out[0].as<float>(), args.out[1].as<float>()},
                     args.stream);
}

template <class T, RowBy kBy> void cross_entropy_dx(const KernelArgs& args) {
  const Logits<T> logits(args.in[2], args.in[3], args.attrs<SoftmaxCrossEntropyDx>());
  launch(kBy == RowBy::warp ? cross_entropy_dx_by_warp<T> : cross_entropy_dx_by_thread<T>,
         shape_for<kBy>(logits.rows), args.stream, logits, args.in[0].as<float>(), args.in[1].as<float>(),
         args.out[0].as<T>());
}

std::optional<Prepared> two_terms_a_row(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  Prepared prepared;
  prepared.workspace_bytes = 2 * in[1].shape.count() * static_cast<int64_t>(sizeof(float));
  return prepared;
}

template <class T> void add_versions(Registry& r) {
  constexpr Dtype kType = dtype_of<T>();
  add_cuda_kernel(r, {.op = SoftmaxCrossEntropy::kName,
                      .dtype = kType,
                      .run = cross_entropy<T, RowBy::thread>,
                      .prepare = two_terms_a_row});
  add_cuda_kernel(r, {.op = SoftmaxCrossEntropy::kName,
                      .version = "warp",
                      .dtype = kType,
                      .run = cross_entropy<T, RowBy::warp>,
                      .prepare = two_terms_a_row,
                      .preference = 1});
  add_cuda_kernel(
      r, {.op = SoftmaxCrossEntropyDx::kName, .dtype = kType, .run = cross_entropy_dx<T, RowBy::thread>});
  add_cuda_kernel(r, {.op = SoftmaxCrossEntropyDx::kName,
                      .version = "warp",
                      .dtype = kType,
                      .run = cross_entropy_dx<T, RowBy::warp>,
                      .preference = 1});
}

}  // namespace

void register_softmax_cross_entropy(Registry& r) {
  add_versions<float>(r);
  add_versions<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
