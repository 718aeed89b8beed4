// Fully connected layers, from products of matrices that are easy to believe to one pass over the weights.
//
// With few images the weights' bytes are everything: each weight serves one multiply-add per image. fc6 of
// VGG16 has 103 million, 411 MB in float, which take 96 us of memory's time; one image's own bytes are a
// four-thousandth of that. With hundreds of images they are products of matrices proper, which is cuBLASLt's
// work (cuda/linear_cublaslt.cpp).
#include "cuda/linear.cuh"
#include "cuda/linear_finish.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// One result: sum over t of a[r ar + t at] b[c bc + t bt]. One thread per result, c fastest. For each
// multiply-add two numbers come from the caches; where bt is 1 (linear) the threads of a warp read 32 rows.
struct Operand {
  int64_t line, term;  // elements from one line, or term, to the next
};

template <class T>
__device__ __forceinline__ float dot(const T* a, int64_t a_step, const T* b, int64_t b_step, int64_t terms) {
  float sum = 0;
  for (int64_t t = 0; t < terms; ++t) sum += to_float(a[t * a_step]) * to_float(b[t * b_step]);
  return sum;
}

template <class T, class Out> __global__ void __launch_bounds__(kBlock)
    products(const T* a, Operand as, const T* b, Operand bs, int64_t terms, int64_t rows, int64_t columns,
             Out* out) {
  const int64_t k = global_thread();
  if (k >= rows * columns) return;
  const int64_t r = k / columns, c = k % columns;
  out[k] = from_float<Out>(dot(a + r * as.line, as.term, b + c * bs.line, bs.term, terms));
}

template <class T, class Y> __global__ void __launch_bounds__(kBlock)
    linear_elements(const T* x, const T* w, LinearEnd end, int64_t terms, int64_t rows, int64_t columns,
                    Y* y) {
  const int64_t k = global_thread();
  if (k >= rows * columns) return;
  const int64_t n = k / columns, o = k % columns;
  y[k] = from_float<Y>(end(dot(x + n * terms, 1, w + o * terms, 1, terms), o));
}

// db: one thread per column of dy, in the order of rows.
template <class T> __global__ void __launch_bounds__(kBlock)
    column_sums(const T* dy, int64_t rows, int64_t columns, float* db) {
  const int64_t o = global_thread();
  if (o >= columns) return;
  float sum = 0;
  for (int64_t n = 0; n < rows; ++n) sum += to_float(dy[n * columns + o]);
  db[o] = sum;
}

template <class T, class Y> void linear_plain(const KernelArgs& args) {
  const auto [N, O, K] = linear_sizes(args.in[0], args.in[1]);
  launch(linear_elements<T, Y>, {.grid = blocks_for(N * O, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<const T>(), args.in[1].as<const T>(), end_of(args), K, N, O, args.out[0].as<Y>());
}

// y is f32 where it is precise, else a T.
template <class T> void linear_plain_of(const KernelArgs& args) {
  if (args.attrs<Linear>().precise) return linear_plain<T, float>(args);
  linear_plain<T, T>(args);
}

template <class T> void linear_dx_plain(const KernelArgs& args) {
  const auto [N, O, K] = linear_sizes(args.out[0], args.in[1]);
  launch(products<T, T>, {.grid = blocks_for(N * K, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<const T>(), Operand{O, 1}, args.in[1].as<const T>(), Operand{1, K}, O, N, K,
         args.out[0].as<T>());
}

template <class T> void linear_dw_plain(const KernelArgs& args) {
  const auto [N, O, K] = linear_sizes(args.in[0], args.out[0]);
  launch(products<T, float>, {.grid = blocks_for(O * K, kBlock), .block = kBlock}, args.stream,
         args.in[1].as<const T>(), Operand{1, O}, args.in[0].as<const T>(), Operand{1, K}, N, O, K,
         args.out[0].as<float>());
}

template <class T> void linear_db_plain(const KernelArgs& args) {
  const int64_t rows = args.in[0].shape[0], columns = args.in[0].shape[1];
  launch(column_sums<T>, {.grid = blocks_for(columns, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<const T>(), rows, columns, args.out[0].as<float>());
}

// One thread per result. Bytes per result: 4 of its sum, and its own.
template <class Y> __global__ void __launch_bounds__(kBlock)
    finish_elements(const float* sums, LinearEnd end, int64_t count, int64_t columns, Y* y) {
  const int64_t k = global_thread();
  if (k < count) y[k] = from_float<Y>(end(sums[k], k % columns));
}

template <class Y> void finish(const LinearFinish& f) {
  const int64_t count = f.y.count();
  launch(finish_elements<Y>, {.grid = blocks_for(count, kBlock), .block = kBlock}, f.stream, f.sums,
         LinearEnd{f.bias, {static_cast<float>(f.negative_slope)}}, count, f.y.shape[1], f.y.as<Y>());
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Linear::kName, .dtype = kDtype, .run = linear_plain_of<T>});
  add_cuda_kernel(r, {.op = LinearDx::kName, .dtype = kDtype, .run = linear_dx_plain<T>});
  add_cuda_kernel(r, {.op = LinearDw::kName, .dtype = kDtype, .run = linear_dw_plain<T>});
  add_cuda_kernel(r, {.op = LinearDb::kName, .dtype = kDtype, .run = linear_db_plain<T>});
}

}  // namespace

void linear_finish(const LinearFinish& f) { f.y.dtype == Dtype::bf16 ? finish<Bf16>(f) : finish<float>(f); }

void register_linear(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
