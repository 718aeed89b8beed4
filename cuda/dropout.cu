#include "cuda/elementwise.cuh"
#include "layers/dropout.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// plain. One thread per element, which uses one of the four words that it draws. Bytes per element: one read
// and one written. The random numbers need no memory but some hundred integer instructions, a third of them
// to make the key from the seed, which lies in the device's memory.
template <class T> __global__ void __launch_bounds__(kBlock)
    dropout_elements(const T* x, const int64_t* at, T* y, int64_t count, DropoutFactor<float> factor) {
  const int64_t k = global_thread();
  if (k < count) y[k] = from_float<T>(to_float(x[k]) * factor(at, k));
}

// vector. One thread per 16 bytes, whose 4 or 8 elements are one or two whole blocks of random words, with
// one key: a quarter of the integer instructions that bound the version before. What is no whole vector, at
// the end, goes to the first threads of the grid. Bytes as before.
template <class T> __global__ void __launch_bounds__(kBlock)
    dropout_vectors(const T* x, const int64_t* at, T* y, int64_t count, DropoutFactor<float> factor) {
  constexpr int kWidth = kVectorBytes / sizeof(T);
  const int64_t vectors = count / kWidth, v = global_thread();
  if (v < vectors) {
    Floats<kWidth> values = load_floats<kWidth>(x + v * kWidth);
    constexpr int kGroup = DropoutFactor<float>::kGroup, kGroups = kWidth / kGroup;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const PhiloxBlock b = factor.words(at, v * kGroups + g);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) values[g * kGroup + i] *= factor.of(b.word[i]);
    }
    store_floats(y + v * kWidth, values);
  }
  const int64_t k = vectors * kWidth + v;
  if (k < count) y[k] = from_float<T>(to_float(x[k]) * factor(at, k));
}

template <class T, Rung kRung> void dropout(const KernelArgs& args) {
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  const int64_t count = args.out[0].count();
  const bool vectors = kRung == Rung::vector && vector_aligned(x) && vector_aligned(y);
  const int64_t threads = vectors ? std::max<int64_t>(count * static_cast<int64_t>(sizeof(T)) / kVectorBytes,
                                                      kVectorBytes / sizeof(T))
                                  : count;
  launch(vectors ? dropout_vectors<T> : dropout_elements<T>,
         {.grid = blocks_for(threads, kBlock), .block = kBlock}, args.stream, x, args.in[1].as<int64_t>(), y,
         count, DropoutFactor<float>(args.attrs<Dropout>()));
}

}  // namespace

void register_dropout(Registry& r) {
  add_pointwise(r, Dropout::kName, {dropout<float, Rung::plain>, dropout<float, Rung::vector>},
                {dropout<Bf16, Rung::plain>, dropout<Bf16, Rung::vector>}, nullptr);
}

}  // namespace MILLRACE_CUDA_NS
