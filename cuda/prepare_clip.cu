#include "cuda/divide.cuh"
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
  Divisor by_frames, by_channels;
};

// What is done to the bytes, and the extents.
struct Preparation {
  Extents e;
  Normalization normalize;
  float k, weight, exponent;  // of LRN
  bool respond;

  Preparation(const PrepareClipAttrs& a, const Shape& x, const Shape& images)
      : e{static_cast<int>(x[1]),
          static_cast<int>(x[2]),
          static_cast<int>(images[1]),
          static_cast<int>(images[2]),
          static_cast<int>(x[3]),
          static_cast<int>(images[3]),
          Divisor(static_cast<int>(x[3] / 3)),
          Divisor(static_cast<int>(images[3]))},
        normalize(a.normalize),
        k(static_cast<float>(a.response.k)),
        weight(static_cast<float>(a.response.alpha / static_cast<double>(a.response.size))),
        exponent(static_cast<float>(-a.response.beta)),
        respond(a.respond) {}

  // LRN's factor of one frame's colours.
  __device__ float response(const Floats<3>& v) const {
    return respond ? power(k + weight * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), exponent) : 1.0f;
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

  // One frame's three colours of the output pixel, normalised. Taps without weight are not read, and where
  // one tap has all of it, as everywhere in a window of the output's size, that is its byte: no weights,
  // which are half of the instructions of the other way, and all threads of a warp go the same.
  __device__ Floats<3> colours(const uint8_t* __restrict__ x, int frame, const Preparation& prepare) const {
    const Extents& e = prepare.e;
    const uint8_t* const a =
        x + origin + (static_cast<int64_t>(row.first) * e.W0 + column.first) * e.C + 3 * frame;
    const int to_right = (column.second - column.first) * e.C;
    const int to_below = (row.second - row.first) * e.W0 * e.C;
    const bool right = column.weight_second != 0, below = row.weight_second != 0;
    Floats<3> v;
    if (!right && !below) {
#pragma unroll
      for (int c = 0; c < 3; ++c) v[c] = prepare.normalize(a[c], prepare.normalize.mean[c]);
      return v;
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const int second = right ? a[to_right + c] : 0, third = below ? a[to_below + c] : 0;
      const int fourth = right && below ? a[to_below + to_right + c] : 0;
      const auto byte = static_cast<uint8_t>(resize_blend(a[c], second, third, fourth, row, column));
      v[c] = prepare.normalize(byte, prepare.normalize.mean[c]);
    }
    return v;
  }
};

// plain. One thread per pixel and frame, which makes its three colours; that of the last frame writes the
// zeros behind it. Each thread finds window and weights anew, and each of its stores is one number in three.
// Bytes per pixel: 3T read (12T from the caches where windows are resized), what images and loss images have
// written.
template <class T> __global__ void __launch_bounds__(kBlock)
    prepare_frames(const uint8_t* __restrict__ x, const int* __restrict__ windows, T* __restrict__ images,
                   float* __restrict__ loss_images, int64_t count, Preparation prepare) {
  const Extents& e = prepare.e;
  const int64_t thread = global_thread();
  if (thread >= count) return;
  const int frames = e.C / 3, frame = static_cast<int>(thread % frames);
  const int64_t pixel = thread / frames;
  const Floats<3> v = PixelTaps(windows, pixel, e).colours(x, frame, prepare);
#pragma unroll
  for (int c = 0; c < 3; ++c) images[pixel * e.channels + 3 * frame + c] = from_float<T>(v[c]);
  for (int c = e.C; frame == frames - 1 && c < e.channels; ++c)
    images[pixel * e.channels + c] = from_float<T>(0);
  if (loss_images == nullptr) return;
  const float factor = prepare.response(v);
#pragma unroll
  for (int c = 0; c < 3; ++c) loss_images[3 * thread + c] = v[c] * factor;
}

// staged. A block makes kPixels neighbouring pixels of the outputs, whichever rows they lie in, in three
// phases: window and weights of each pixel by one thread, once for all its frames; each pixel's frames as in
// `plain`, but into shared memory (a stride of three numbers meets every bank once); and then both outputs,
// which each are one stretch of memory, 16 bytes a thread. Double arithmetic, which is in the first phase
// only, is T times less, and stores are whole lines. Bytes per pixel as in `plain`.
constexpr int kPixels = 64;

// Shared memory besides the taps: the numbers of the pixels, and those for the losses.
int64_t staged_bytes(int64_t C, bool loss_images) {
  return kPixels * C * static_cast<int64_t>(sizeof(float)) * (loss_images ? 2 : 1);
}

// out[0..count) = value(0), value(1), ... in vectors: `lanes_from(k)` is value(k) and those behind it. `out`
// is 16-byte aligned.
template <class T, class F>
__device__ __forceinline__ void store_block(T* out, int count, const F& lanes_from) {
  constexpr int kLanes = 16 / sizeof(T);
  for (int at = static_cast<int>(threadIdx.x) * kLanes; at < count; at += kBlock * kLanes) {
    const Floats<kLanes> lanes = lanes_from(at);
    if (at + kLanes <= count) {
      store_floats(out + at, lanes);
    } else {
#pragma unroll
      for (int i = 0; i < kLanes; ++i)
        if (at + i < count) out[at + i] = from_float<T>(lanes[i]);
    }
  }
}

template <class T> __global__ void __launch_bounds__(kBlock)
    prepare_tiles(const uint8_t* __restrict__ x, const int* __restrict__ windows, T* __restrict__ images,
                  float* __restrict__ loss_images, int64_t count, Preparation prepare) {
  __shared__ ResizeTap rows[kPixels], columns[kPixels];
  __shared__ int64_t origins[kPixels];
  const Extents& e = prepare.e;
  const int C = e.C, channels = e.channels, frames = C / 3;
  float* const values = dynamic_shared<float>();
  float* const responses = values + kPixels * C;
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

  for (int task = thread; task < pixels * frames; task += kBlock) {
    const int pixel = e.by_frames.quotient(task), frame = e.by_frames.remainder(task, pixel);
    const PixelTaps taps(rows[pixel], columns[pixel], origins[pixel]);
    const Floats<3> v = taps.colours(x, frame, prepare);
    const float factor = loss_images != nullptr ? prepare.response(v) : 0;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      values[3 * task + c] = v[c];
      if (loss_images != nullptr) responses[3 * task + c] = v[c] * factor;
    }
  }
  __syncthreads();

  constexpr int kLanes = 16 / sizeof(T);
  store_block(images + begin * channels, pixels * channels, [&](int at) {
    int pixel = e.by_channels.quotient(at), c = e.by_channels.remainder(at, pixel);
    Floats<kLanes> lanes;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
      lanes[i] = pixel < pixels && c < C ? values[pixel * C + c] : 0;
      if (++c == channels) c = 0, ++pixel;
    }
    return lanes;
  });
  // What a vector reads behind the last pixel's responses is not stored.
  if (loss_images != nullptr)
    store_block(loss_images + begin * C, pixels * C, [&](int at) { return load_floats<4>(responses + at); });
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
  const LaunchShape shape{
      .grid = blocks_for(o.pixels, kPixels),
      .block = kBlock,
      .shared_bytes = static_cast<size_t>(staged_bytes(o.prepare.e.C, o.loss_images != nullptr))};
  launch(prepare_tiles<T>, shape, args.stream, o.x, o.windows, args.out[0].as<T>(), o.loss_images, o.pixels,
         o.prepare);
}

// A tile must fit shared memory, beside the taps.
std::optional<Prepared> prepare_staged(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (staged_bytes(in[0].shape[3], out.size() > 1) > 40 * 1024) return {};
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
