#include "cuda/op.cuh"
#include "cuda/power.cuh"
#include "cuda/vec.cuh"
#include "layers/lrn.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

struct Response {
  float k, weight, exponent;

  explicit Response(const LrnAttrs& a)
      : k(static_cast<float>(a.k)),
        weight(static_cast<float>(a.alpha / static_cast<double>(a.size))),
        exponent(static_cast<float>(-a.beta)) {}

  // Normalises one frame's three colours; y may be x.
  __device__ void operator()(const float* x, float* y) const {
    const float b = x[0], g = x[1], r = x[2];
    const float factor = power(k + weight * (b * b + g * g + r * r), exponent);
    y[0] = b * factor;
    y[1] = g * factor;
    y[2] = r * factor;
  }
};

// One thread per pixel and frame: with a thread per colour each would need the others' values, which must not
// be overwritten meanwhile (y may lie where x lies), and the power thrice. Neighbours are 12 bytes apart, so
// each of a warp's accesses touches all 12 of its sectors and takes a third of them.
// Bytes per output: 4 read, 4 written (each sector asked for three times).
__global__ void __launch_bounds__(kBlock)
    lrn_frames(const float* x, int64_t frames, Response response, float* y) {
  const int64_t frame = global_thread();
  if (frame < frames) response(x + 3 * frame, y + 3 * frame);
}

// A block takes kTile frames through shared memory: it loads and stores them 16 bytes a thread, side by side
// in memory, and in between a thread takes whole frames; 3 is odd, so the 32 threads of a warp, 3 numbers
// apart, meet all banks. Faster than the plain version because each sector is asked for once, by accesses
// four times as wide, three of which a thread has under way at a time. The last tile may be a part of one.
// Bytes per output: 4 read, 4 written.
constexpr int kFramesPerThread = 4;
constexpr int kTile = kBlock * kFramesPerThread;

__global__ void __launch_bounds__(kBlock)
    lrn_tiles(const float* x, int64_t frames, Response response, float* y) {
  __shared__ __align__(16) float tile[3 * kTile];
  const int t = static_cast<int>(threadIdx.x);
  const int64_t start = static_cast<int64_t>(blockIdx.x) * kTile;
  const int here = static_cast<int>(min(frames - start, static_cast<int64_t>(kTile)));
  const int numbers = 3 * here, whole = numbers / 4 * 4;
  x += 3 * start;
  y += 3 * start;
#pragma unroll
  for (int e = 4 * t; e < 3 * kTile; e += 4 * kBlock) {
    if (e < whole) store_vec(tile + e, load_vec<4>(x + e));
  }
  if (whole + t < numbers) tile[whole + t] = x[whole + t];
  __syncthreads();
#pragma unroll
  for (int f = t; f < kTile; f += kBlock) {
    if (f < here) response(tile + 3 * f, tile + 3 * f);
  }
  __syncthreads();
#pragma unroll
  for (int e = 4 * t; e < 3 * kTile; e += 4 * kBlock) {
    if (e < whole) store_vec(y + e, load_vec<4>(tile + e));
  }
  if (whole + t < numbers) y[whole + t] = tile[whole + t];
}

void lrn(const KernelArgs& args) {
  const int64_t frames = args.in[0].count() / 3;
  launch(lrn_frames, {.grid = blocks_for(frames, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<float>(), frames, Response(args.attrs<Lrn>()), args.out[0].as<float>());
}

void lrn_by_tiles(const KernelArgs& args) {
  const int64_t frames = args.in[0].count() / 3;
  launch(lrn_tiles, {.grid = blocks_for(frames, kTile), .block = kBlock}, args.stream, args.in[0].as<float>(),
         frames, Response(args.attrs<Lrn>()), args.out[0].as<float>());
}

}  // namespace

void register_lrn(Registry& r) {
  add_cuda_kernel(r, {.op = Lrn::kName, .run = lrn});
  add_cuda_kernel(r, {.op = Lrn::kName, .version = "tiles", .run = lrn_by_tiles, .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
