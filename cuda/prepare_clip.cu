#include "cuda/normalization.cuh"
#include "cuda/numbers.cuh"
#include "cuda/op.cuh"
#include "cuda/power.cuh"
#include "layers/prepare_clip.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

struct Extents {
  int H0, W0;    // of frames
  int H, W;      // of outputs
  int C;         // 3T
  int channels;  // of images
};

// What is done to the bytes, and the extents.
struct Preparation {
  Extents e;
  Normalization normalize;
  float k, weight, exponent;  // of LRN
  bool respond;

  Preparation(const PrepareClipAttrs& a, const Shape& x, const Shape& images)
      : e{static_cast<int>(x[1]),      static_cast<int>(x[2]), static_cast<int>(images[1]),
          static_cast<int>(images[2]), static_cast<int>(x[3]), static_cast<int>(images[3])},
        normalize(a.normalize),
        k(static_cast<float>(a.response.k)),
        weight(static_cast<float>(a.response.alpha / static_cast<double>(a.response.size))),
        exponent(static_cast<float>(-a.response.beta)),
        respond(a.respond) {}

  __device__ float response(float b, float g, float r) const {
    return respond ? power(k + weight * (b * b + g * g + r * r), exponent) : 1.0f;
  }
};

// Where an output pixel reads.
struct PixelTaps {
  ResizeTap row, column;
  int64_t origin;  // element of the window's first pixel

  __device__ PixelTaps(const ResizeTap& row_, const ResizeTap& column_, int64_t origin_)
      : row(row_), column(column_), origin(origin_) {}

  __device__ PixelTaps(const int* __restrict__ windows, int64_t pixel, const Extents& e) {
    const int j = static_cast<int>(pixel % e.W), i = static_cast<int>(pixel / e.W % e.H);
    const int64_t n = pixel / e.W / e.H;
    const ClipWindow window(windows + n * kWindowNumbers, e.H0, e.W0);
    row = resize_tap(i, window.height, e.H, false);
    column = resize_tap(window.mirror ? e.W - 1 - j : j, window.width, e.W, true);
    origin = ((n * e.H0 + window.top) * e.W0 + window.left) * e.C;
  }

  // Channel c of the output pixel. A tap without weight is not read: an equal size reads one of the four.
  __device__ int blend(const uint8_t* __restrict__ x, const Extents& e, int c) const {
    const auto tap = [&](int p, int q) -> int {
      return x[origin + (static_cast<int64_t>(p) * e.W0 + q) * e.C + c];
    };
    const bool right = column.weight_second != 0, below = row.weight_second != 0;
    const int first = tap(row.first, column.first);
    const int second = right ? tap(row.first, column.second) : 0;
    const int third = below ? tap(row.second, column.first) : 0;
    const int fourth = right && below ? tap(row.second, column.second) : 0;
    return resize_blend(first, second, third, fourth, row, column);
  }
};

// plain. One thread per pixel and frame, which makes its three colours; that of the last frame writes the
// zeros behind it. Each thread finds window and weights anew, and its stores are three numbers in every
// 3 T. Bytes per pixel: 3T read (12T from the caches where windows are resized), what images and loss images
// have written.
template <class T> __global__ void __launch_bounds__(kBlock)
    prepare_frames(const uint8_t* __restrict__ x, const int* __restrict__ windows, T* __restrict__ images,
                   float* __restrict__ loss_images, int64_t count, Preparation prepare) {
  const Extents& e = prepare.e;
  const int64_t thread = global_thread();
  if (thread >= count) return;
  const int frames = e.C / 3, frame = static_cast<int>(thread % frames);
  const int64_t pixel = thread / frames;
  const PixelTaps taps(windows, pixel, e);
  float v[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const auto byte = static_cast<uint8_t>(taps.blend(x, e, 3 * frame + c));
    v[c] = prepare.normalize(byte, prepare.normalize.mean[c]);
    images[pixel * e.channels + 3 * frame + c] = from_float<T>(v[c]);
  }
  for (int c = e.C; frame == frames - 1 && c < e.channels; ++c)
    images[pixel * e.channels + c] = from_float<T>(0);
  if (loss_images == nullptr) return;
  const float factor = prepare.response(v[0], v[1], v[2]);
#pragma unroll
  for (int c = 0; c < 3; ++c) loss_images[3 * thread + c] = v[c] * factor;
}

// staged. A block makes kPixels neighbouring pixels of the outputs, whichever rows they lie in, in four
// phases: window and weights of each pixel by one thread, once for all its channels; the resized bytes, a
// thread each, into shared memory, where neighbours read neighbouring bytes; the response of each frame's
// three bytes; and then both outputs, which each are one stretch of memory, 16 bytes a thread, for which
// shared memory is read as it comes. Bytes per pixel as in `plain`, in whole lines both ways.
constexpr int kPixels = 64;

// Shared memory besides the taps: a factor per pixel and frame, a byte per pixel and channel.
int64_t staged_bytes(int64_t C) { return kPixels * (C / 3 * static_cast<int64_t>(sizeof(float)) + C); }

// out[0..count) = value(0), value(1), ...; `out` is 16-byte aligned.
template <class T, class F> __device__ __forceinline__ void store_block(T* out, int count, const F& value) {
  constexpr int kLanes = 16 / sizeof(T);
  for (int v = static_cast<int>(threadIdx.x); v * kLanes < count; v += kBlock) {
    Floats<kLanes> lanes;
    value(v * kLanes, lanes);
    if ((v + 1) * kLanes <= count) {
      store_floats(out + v * kLanes, lanes);
    } else {
#pragma unroll
      for (int i = 0; i < kLanes; ++i)
        if (v * kLanes + i < count) out[v * kLanes + i] = from_float<T>(lanes[i]);
    }
  }
}

template <class T> __global__ void __launch_bounds__(kBlock)
    prepare_tiles(const uint8_t* __restrict__ x, const int* __restrict__ windows, T* __restrict__ images,
                  float* __restrict__ loss_images, int64_t count, Preparation prepare) {
  __shared__ ResizeTap rows[kPixels], columns[kPixels];
  __shared__ int64_t origins[kPixels];
  const Extents& e = prepare.e;
  const Normalization& normalize = prepare.normalize;
  float* const factors = dynamic_shared<float>();
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(factors + kPixels * (e.C / 3));
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kPixels;
  const int pixels = count - begin < kPixels ? static_cast<int>(count - begin) : kPixels;

  if (thread < pixels) {
    const PixelTaps taps(windows, begin + thread, e);
    rows[thread] = taps.row;
    columns[thread] = taps.column;
    origins[thread] = taps.origin;
  }
  __syncthreads();

  for (int at = thread; at < pixels * e.C; at += kBlock) {
    const int pixel = at / e.C;
    const PixelTaps taps(rows[pixel], columns[pixel], origins[pixel]);
    bytes[at] = static_cast<uint8_t>(taps.blend(x, e, at - pixel * e.C));
  }
  __syncthreads();

  if (loss_images != nullptr) {
    for (int frame = thread; frame < pixels * (e.C / 3); frame += kBlock)
      factors[frame] = prepare.response(normalize(bytes[3 * frame], normalize.mean[0]),
                                        normalize(bytes[3 * frame + 1], normalize.mean[1]),
                                        normalize(bytes[3 * frame + 2], normalize.mean[2]));
    __syncthreads();
  }

  store_block(images + begin * e.channels, pixels * e.channels, [&](int first, auto& lanes) {
    int pixel = first / e.channels, c = first - pixel * e.channels;
#pragma unroll
    for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i) {
      lanes[i] = pixel < pixels && c < e.C ? normalize(bytes[pixel * e.C + c], normalize.mean_of(c % 3)) : 0;
      if (++c == e.channels) c = 0, ++pixel;
    }
  });
  if (loss_images == nullptr) return;
  const int numbers = pixels * e.C;
  store_block(loss_images + begin * e.C, numbers, [&](int first, auto& lanes) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = first + i;  // 3T channels a pixel: the colour is the number modulo 3
      lanes[i] = at < numbers ? normalize(bytes[at], normalize.mean_of(at % 3)) * factors[at / 3] : 0;
    }
  });
}

// What the launches of both versions pass on.
struct Operands {
  const uint8_t* x;
  const int* windows;
  float* loss_images;
  int64_t pixels;
  Preparation prepare;

  explicit Operands(const KernelArgs& args)
      : x(args.in[0].as<uint8_t>()),
        windows(args.in[1].as<int>()),
        loss_images(args.out.size() > 1 ? args.out[1].as<float>() : nullptr),
        pixels(args.out[0].count() / args.out[0].shape[3]),
        prepare(args.attrs<PrepareClip>(), args.in[0].shape, args.out[0].shape) {}
};

template <class T> void prepare_by_frames(const KernelArgs& args) {
  const Operands o(args);
  const int64_t count = o.pixels * (o.prepare.e.C / 3);
  launch(prepare_frames<T>, {.grid = blocks_for(count, kBlock), .block = kBlock}, args.stream, o.x, o.windows,
         args.out[0].as<T>(), o.loss_images, count, o.prepare);
}

template <class T> void prepare_by_tiles(const KernelArgs& args) {
  const Operands o(args);
  const LaunchShape shape{.grid = blocks_for(o.pixels, kPixels),
                          .block = kBlock,
                          .shared_bytes = static_cast<size_t>(staged_bytes(o.prepare.e.C))};
  launch(prepare_tiles<T>, shape, args.stream, o.x, o.windows, args.out[0].as<T>(), o.loss_images, o.pixels,
         o.prepare);
}

// A tile must fit shared memory, beside the taps.
std::optional<Prepared> prepare_staged(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  if (staged_bytes(in[0].shape[3]) > 40 * 1024) return {};
  return Prepared{};
}

template <class T> void add_rungs(Registry& r) {
  add_cuda_kernel(r, {.op = PrepareClip::kName, .dtype = dtype_of<T>(), .run = prepare_by_frames<T>});
  add_cuda_kernel(r, {.op = PrepareClip::kName,
                      .version = "staged",
                      .dtype = dtype_of<T>(),
                      .run = prepare_by_tiles<T>,
                      .prepare = prepare_staged,
                      .preference = 1});
}

}  // namespace

void register_prepare_clip(Registry& r) {
  add_rungs<float>(r);
  add_rungs<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
