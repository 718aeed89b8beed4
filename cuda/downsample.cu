#include <algorithm>

#include "cuda/op.cuh"
#include "cuda/reduce.cuh"
#include "layers/downsample.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// The tents of one axis in whole numbers. Times (in - 1), the weight of input p for output i is
//   (in - 1) - |p (out - 1) - i (in - 1)|
// where that is positive: no quotient that could be rounded, and the factor goes with the sum of the weights.
// In general, width - |p step - i pitch - middle|; an output extent of 1 has its tent around (in - 1) / 2.
struct Axis {
  int in, step, pitch, middle, width;

  Axis(int64_t in_, int64_t out) : in(static_cast<int>(in_)) {
    step = out == 1 ? 2 : static_cast<int>(out) - 1;
    pitch = out == 1 ? 0 : in - 1;
    middle = out == 1 ? in - 1 : 0;
    width = out == 1 ? std::max(2 * (in - 1), 1) : in - 1;
  }
};

// The taps of output i: inputs [first, last], weights width - |offset| with the offset growing by step. All
// are whole numbers that float holds exactly (in times out is below 2^24).
struct Taps {
  int first, last;
  float offset, step, width;

  __device__ Taps(const Axis& axis, int i) {
    const int peak = i * axis.pitch + axis.middle;
    first = peak < axis.width ? 0 : (peak - axis.width) / axis.step + 1;
    last = min(axis.in - 1, (peak + axis.width - 1) / axis.step);
    offset = static_cast<float>(first * axis.step - peak);
    step = static_cast<float>(axis.step);
    width = static_cast<float>(axis.width);
  }
  __device__ float weight(int p) const {
    return width - fabsf(offset + static_cast<float>(p - first) * step);
  }
  __device__ float sum() const {
    float total = 0;
    for (int p = first; p <= last; ++p) total += weight(p);
    return total;
  }
};

using In = View4<const float>;
using Out = View4<float>;

// The weighted sum along row p of an image.
__device__ __forceinline__ float sum_along(const float* row, int64_t C, const Taps& along) {
  float sum = 0, offset = along.offset;
#pragma unroll 4
  for (int q = along.first; q <= along.last; ++q, offset += along.step)
    sum += (along.width - fabsf(offset)) * row[q * C];
  return sum;
}

// --- plain

// One thread per output, which goes over all its taps, neighbours along channels. Two tents overlap
// everywhere, in both axes, so each input is loaded four times. Bytes per output: 4 written; per input 16
// read, of which memory sees 4, or 8 where the rows that two output rows share have left the cache in
// between.
__global__ void __launch_bounds__(kBlock) downsample_elements(In x, Axis rows, Axis columns, Out y) {
  const int64_t element = global_thread();
  if (element >= y.N * y.H * y.W * y.C) return;
  const int64_t c = element % y.C, j = element / y.C % y.W, i = element / y.C / y.W % y.H;
  const int64_t n = element / y.C / y.W / y.H;
  const Taps down(rows, static_cast<int>(i)), along(columns, static_cast<int>(j));
  float sum = 0;
  for (int p = down.first; p <= down.last; ++p) sum += down.weight(p) * sum_along(&x(n, p, 0, c), x.C, along);
  y.data[element] = sum / (down.sum() * along.sum());
}

// --- rows
//
// For outputs with many taps (2 37 rows of 75 at 224 to 7), of which there are few: a thread per output would
// leave most of the GPU without one, each going through thousands of loads. Here the rows of taps of an
// output are dealt to kGroups threads, whose sums meet in shared memory and are added in the order of the
// groups.

constexpr int kGroups = 8;
constexpr int kManyRows = 8;  // from this ratio on each group has at least two rows of taps

// block: x 32 neighbours of all (column, channel) of an output row, y the groups. grid: x blocks along the
// row, y output rows of all images. Bytes: as the plain version.
__global__ void __launch_bounds__(kLanes* kGroups) downsample_rows(In x, Axis rows, Axis columns, Out y) {
  __shared__ float shared[kGroups][kLanes];
  const int lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
  const int C = static_cast<int>(y.C), H = static_cast<int>(y.H), width = static_cast<int>(y.W) * C;
  const int element = static_cast<int>(blockIdx.x) * kLanes + lane, c = element % C;
  const int n = static_cast<int>(blockIdx.y) / H, i = static_cast<int>(blockIdx.y) % H;
  const Taps down(rows, i), along(columns, min(element, width - 1) / C);
  float sum = 0;
  for (int p = down.first + group; p <= down.last; p += kGroups)
    sum += down.weight(p) * sum_along(&x(n, p, 0, c), x.C, along);
  shared[group][lane] = sum;
  __syncthreads();
  if (group != 0 || element >= width) return;
  sum = 0;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) sum += shared[g][lane];
  y.data[static_cast<int64_t>(blockIdx.y) * width + element] = sum / (down.sum() * along.sum());
}

// --- strips
//
// For outputs with few taps, of which there are many: a thread keeps its column and channel and goes down
// kStrip output rows. An input row between the tents' peaks of output rows k and k + 1 is a tap of these two
// and no other, with weights that add up to one; so it is summed along once and added to both.

constexpr int kStrip = 8;  // output rows
constexpr int kStripBlock = 128;

// grid: x blocks of neighbours along an output row, y strips, z images. Faster than the plain version because
// an input is loaded twice in place of four times, and by one block (rows between two strips by two), and
// because what is divided to find the place is divided once in a strip. Bytes per output: 4 written; per
// input 9 read, of which memory sees 4.5.
__global__ void __launch_bounds__(kStripBlock) downsample_strips(In x, Axis rows, Axis columns, Out y) {
  const int C = static_cast<int>(y.C), width = static_cast<int>(y.W) * C;
  const int element = static_cast<int>(blockIdx.x * kStripBlock + threadIdx.x), c = element % C;
  if (element >= width) return;
  const int64_t n = blockIdx.z;
  const int first = static_cast<int>(blockIdx.y) * kStrip, H = static_cast<int>(y.H);
  const int end = min(first + kStrip, H);
  const Taps along(columns, element / C);
  const float along_sum = along.sum();
  const int pitch = rows.pitch, step = rows.step;
  int p = Taps(rows, first).first;
  int k = max(first - 1, 0);
  int past = p * step - k * pitch;                             // how far row p is past the peak of k
  float sum = 0, weights = 0, next_sum = 0, next_weights = 0;  // of output rows k and k + 1
  for (;; ++p, past += step) {
    if (p == rows.in || past >= pitch) {  // k has all its taps
      if (k >= first) y(n, k, 0, element) = sum / (weights * along_sum);
      if (++k == end) return;
      past -= pitch;
      sum = next_sum;
      weights = next_weights;
      next_sum = next_weights = 0;
    }
    const float row = sum_along(&x(n, p, 0, c), x.C, along);
    const float next = static_cast<float>(past), here = static_cast<float>(pitch - past);
    sum += here * row;
    weights += here;
    next_sum += next * row;
    next_weights += next;
  }
}

// --- how they are started

// Weights must be whole numbers that float holds: true where in times out is at most 2^23 along both axes.
std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  constexpr int64_t kExact = 1 << 24;
  for (int axis : {1, 2}) {
    if (2 * in[0].shape[axis] * std::max<int64_t>(out[0].shape[axis], 2) > kExact) return std::nullopt;
  }
  return Prepared{};
}

void downsample(const KernelArgs& args) {
  const Shape &x = args.in[0].shape, &y = args.out[0].shape;
  launch(downsample_elements, {.grid = blocks_for(y.count(), kBlock), .block = kBlock}, args.stream,
         args.in[0], Axis(x[1], y[1]), Axis(x[2], y[2]), args.out[0]);
}

bool many_rows(const Shape& x, const Shape& y) { return x[1] - 1 >= kManyRows * (y[1] - 1); }
bool grid_fits(const Shape& y) { return y[0] * y[1] <= 65535 && y[2] * y[3] <= 0x7fffffff - kBlock; }

std::optional<Prepared> prepare_rows(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  if (!grid_fits(out[0].shape) || !many_rows(in[0].shape, out[0].shape)) return std::nullopt;
  return prepare(op, in, out);
}

void downsample_by_rows(const KernelArgs& args) {
  const Shape &x = args.in[0].shape, &y = args.out[0].shape;
  const dim3 grid(blocks_for(y[2] * y[3], kLanes), static_cast<unsigned>(y[0] * y[1]));
  launch(downsample_rows, {.grid = grid, .block = dim3(kLanes, kGroups)}, args.stream, args.in[0],
         Axis(x[1], y[1]), Axis(x[2], y[2]), args.out[0]);
}

std::optional<Prepared> prepare_strips(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  if (!grid_fits(out[0].shape) || many_rows(in[0].shape, out[0].shape)) return std::nullopt;
  return prepare(op, in, out);
}

void downsample_by_strips(const KernelArgs& args) {
  const Shape &x = args.in[0].shape, &y = args.out[0].shape;
  const dim3 grid(blocks_for(y[2] * y[3], kStripBlock), blocks_for(y[1], kStrip),
                  static_cast<unsigned>(y[0]));
  launch(downsample_strips, {.grid = grid, .block = kStripBlock}, args.stream, args.in[0], Axis(x[1], y[1]),
         Axis(x[2], y[2]), args.out[0]);
}

}  // namespace

void register_downsample(Registry& r) {
  add_cuda_kernel(r, {.op = Downsample::kName, .run = downsample, .prepare = prepare});
  add_cuda_kernel(r, {.op = Downsample::kName,
                      .version = "rows",
                      .run = downsample_by_rows,
                      .prepare = prepare_rows,
                      .preference = 1});
  add_cuda_kernel(r, {.op = Downsample::kName,
                      .version = "strips",
                      .run = downsample_by_strips,
                      .prepare = prepare_strips,
                      .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
