#include <algorithm>

#include "cuda/channels.cuh"
#include "cuda/normalization.cuh"
#include "layers/normalize_image.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// plain. One thread per element; 3T channels a pixel, so the colour of an element is its number modulo 3.
// Bytes per output: 1 read, 4 written (2 as bf16).
template <class T> __global__ void __launch_bounds__(kBlock)
    normalize_elements(const uint8_t* __restrict__ x, T* __restrict__ y, int64_t count, Normalization f) {
  const int64_t element = global_thread();
  if (element >= count) return;
  y[element] = from_float<T>(f(x[element], f.mean_of(static_cast<int>(element % 3))));
}

// vector. The same bytes in fewer instructions: a thread reads 4 or 8 bytes and stores 16, twice, a block
// apart, with both loads before the first store: a warp's accesses are whole lines, and there are enough of
// them under way, where one byte a thread leaves the memory waiting. What is no whole vector, at the end,
// goes to the first threads of the grid. Bytes per output as in `plain`.
constexpr int kUnroll = 2;

template <class T> __global__ void __launch_bounds__(kBlock)
    normalize_vectors(const uint8_t* __restrict__ x, T* __restrict__ y, int64_t count, Normalization f) {
  constexpr int kLanes = 16 / sizeof(T);
  const int64_t vectors = count / kLanes;
  const int64_t first = int64_t{blockIdx.x} * (kUnroll * kBlock) + threadIdx.x;
  const int first_colour = static_cast<int>(first * kLanes % 3);
  Vec<uint8_t, kLanes> pixels[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t v = first + u * kBlock;
    if (v < vectors) pixels[u] = load_vec<kLanes>(x + v * kLanes);
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t v = first + u * kBlock;
    if (v >= vectors) continue;
    const int colour = (first_colour + u * (kBlock * kLanes % 3)) % 3;  // of the first lane
    const float means[3] = {f.mean_of(colour), f.mean_of((colour + 1) % 3), f.mean_of((colour + 2) % 3)};
    Floats<kLanes> result;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) result[i] = f(pixels[u][i], means[i % 3]);
    store_floats(y + v * kLanes, result);
  }
  const int64_t element = vectors * kLanes + global_thread();
  if (element < count) y[element] = from_float<T>(f(x[element], f.mean_of(static_cast<int>(element % 3))));
}

template <class T> void normalize_plain(const KernelArgs& args) {
  const int64_t count = args.out[0].count();
  launch(normalize_elements<T>, {.grid = blocks_for(count, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<uint8_t>(), args.out[0].as<T>(), count, Normalization(args.attrs<NormalizeImage>()));
}

template <class T> void normalize_vector(const KernelArgs& args) {
  const int64_t count = args.out[0].count();
  const int64_t vectors = std::max<int64_t>(count * static_cast<int64_t>(sizeof(T)) / 16, 1);
  launch(normalize_vectors<T>, {.grid = blocks_for(vectors, kUnroll * kBlock), .block = kBlock}, args.stream,
         args.in[0].as<uint8_t>(), args.out[0].as<T>(), count, Normalization(args.attrs<NormalizeImage>()));
}

// channels. A thread stores 8 neighbours of one pixel, 16 bytes; what its pixel does not have of them is
// zero. Bytes per output: 1 read, 2 written. The 3T bytes of a pixel begin anywhere, so that they are read
// one by one.
constexpr int kChannels = 8;

__global__ void __launch_bounds__(kBlock)
    normalize_channels(const uint8_t* __restrict__ x, Bf16* __restrict__ y, int64_t vectors, unsigned C,
                       unsigned pitch, Normalization f) {
  const int64_t v = global_thread();
  if (v >= vectors) return;
  const int64_t pixel = v / (pitch / kChannels);
  const auto first = static_cast<unsigned>(v - pixel * (pitch / kChannels)) * kChannels;
  Floats<kChannels> result{};
#pragma unroll
  for (unsigned i = 0; i < kChannels; ++i) {
    if (first + i < C) result[i] = f(x[pixel * C + first + i], f.mean_of(static_cast<int>((first + i) % 3)));
  }
  store_floats(y + v * kChannels, result);
}

void normalize_padded(const KernelArgs& args) {
  const int64_t C = args.in[0].shape[3], pitch = pitch_out(args, 0);
  const int64_t vectors = args.out[0].count() / C * (pitch / kChannels);
  launch(normalize_channels, {.grid = blocks_for(vectors, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<uint8_t>(), args.out[0].as<Bf16>(), vectors, static_cast<unsigned>(C),
         static_cast<unsigned>(pitch), Normalization(args.attrs<NormalizeImage>()));
}

std::optional<Prepared> prepare_padded(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (out[0].shape[3] % kChannels == 0) return {};
  return with_pitches(in, out);
}

template <class T> void add_rungs(Registry& r) {
  add_cuda_kernel(r, {.op = NormalizeImage::kName, .dtype = dtype_of<T>(), .run = normalize_plain<T>});
  add_cuda_kernel(r, {.op = NormalizeImage::kName,
                      .version = "vector",
                      .dtype = dtype_of<T>(),
                      .run = normalize_vector<T>,
                      .preference = 1});
}

}  // namespace

void register_normalize_image(Registry& r) {
  add_rungs<float>(r);
  add_rungs<Bf16>(r);
  add_cuda_kernel(r, {.op = NormalizeImage::kName,
                      .version = "channels",
                      .dtype = Dtype::bf16,
                      .run = normalize_padded,
                      .prepare = prepare_padded,
                      .preference = 2});
}

}  // namespace MILLRACE_CUDA_NS
