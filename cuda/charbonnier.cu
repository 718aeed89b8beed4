#include "cuda/op.cuh"
#include "cuda/power.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "losses/charbonnier.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;
constexpr int kRowBlock = 128;  // of the kernels with a block per row

using In = View4<const float>;

// --- plain

__device__ bool in_border(const In& x, const Border& border, int64_t element) {
  const int64_t j = element / x.C % x.W, i = element / x.C / x.W % x.H;
  return i < border.y || i >= x.H - border.y || j < border.x || j >= x.W - border.x;
}

// One thread per element, those of the border add 0; a sum per block, which a second launch adds.
// Bytes per element: 4 read, border or not.
__global__ void __launch_bounds__(kBlock)
    charbonnier_elements(In x, Border border, Penalty rho, float* partials) {
  __shared__ float shared[kBlock / kLanes];
  const int64_t element = global_thread();
  float term = 0;
  if (element < x.N * x.H * x.W * x.C && !in_border(x, border, element)) term = rho(x.data[element]);
  const float sum = block_sum<kBlock>(term, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// One thread per element. Bytes per output: 4 read, 4 written. dx may lie where x lies: each thread reads
// only what it overwrites.
__global__ void __launch_bounds__(kBlock)
    charbonnier_dx_elements(const float* dloss, In x, Border border, Penalty power, float scale, float* dx) {
  const int64_t element = global_thread();
  if (element >= x.N * x.H * x.W * x.C) return;
  float d = 0;
  if (!in_border(x, border, element)) d = *dloss * scale * x.data[element] * power(x.data[element]);
  dx[element] = d;
}

// --- rows
//
// A row of x is W C elements one after another, and those between the borders are one run of them: what is
// inside is decided by the place in the row alone, with no division per element. A block takes a row, four
// neighbours a thread in one access of 16 bytes, which the row's length must be a multiple of. The run begins
// and ends where it likes, so the vectors there are looked at element by element.

struct Rows {
  int H, border_y, width;  // width: elements of a row
  int begin, end;          // of the run, elements

  Rows(const Shape& x, const CharbonnierAttrs& a)
      : H(static_cast<int>(x[1])),
        border_y(static_cast<int>(a.border_y)),
        width(static_cast<int>(x[2] * x[3])),
        begin(static_cast<int>(a.border_x * x[3])),
        end(static_cast<int>((x[2] - a.border_x) * x[3])) {}

  __device__ bool inside(int e) const { return e >= begin && e < end; }
  MILLRACE_HD int valid() const { return H - 2 * border_y; }  // rows of an image that have a run
};

// One block per row that has a run. Faster than the plain version because a quarter of the loads asks for as
// much, the border's rows are not read, nothing is divided, and there are ten times fewer partial sums.
// Bytes per element: 4 read inside, 0 in the border.
__global__ void __launch_bounds__(kRowBlock)
    charbonnier_rows(const float* x, Rows rows, Penalty rho, float* partials) {
  __shared__ float shared[kRowBlock / kLanes];
  const int n = static_cast<int>(blockIdx.x) / rows.valid(), i = static_cast<int>(blockIdx.x) % rows.valid();
  const float* row = x + static_cast<int64_t>(n * rows.H + rows.border_y + i) * rows.width;
  float sum = 0;
#pragma unroll 2
  for (int e = rows.begin / 4 * 4 + 4 * static_cast<int>(threadIdx.x); e < rows.end; e += 4 * kRowBlock) {
    const Float4 v = load_vec<4>(row + e);
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += rows.inside(e + k) ? rho(v[k]) : 0.0f;
  }
  sum = block_sum<kRowBlock>(sum, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// One block per row. Bytes per output: 4 written; 4 read inside, 0 in the border.
__global__ void __launch_bounds__(kRowBlock)
    charbonnier_dx_rows(const float* dloss, const float* x, Rows rows, Penalty power, float scale,
                        float* dx) {
  const int i = static_cast<int>(blockIdx.x) % rows.H;
  const bool valid = i >= rows.border_y && i < rows.H - rows.border_y;
  const int64_t start = static_cast<int64_t>(blockIdx.x) * rows.width;
  const float factor = *dloss * scale;
#pragma unroll 2
  for (int e = 4 * static_cast<int>(threadIdx.x); e < rows.width; e += 4 * kRowBlock) {
    Float4 d{};
    if (valid && e + 3 >= rows.begin && e < rows.end) {
      const Float4 v = load_vec<4>(x + start + e);
#pragma unroll
      for (int k = 0; k < 4; ++k) d[k] = rows.inside(e + k) ? factor * v[k] * power(v[k]) : 0.0f;
    }
    store_vec(dx + start + e, d);
  }
}

// --- how they are started

Border border_of(const CharbonnierAttrs& a) { return {.y = a.border_y, .x = a.border_x}; }
double mean_scale(const CharbonnierAttrs& a, const Tensor& x) {
  return 1 / (static_cast<double>(x.shape[0]) * a.normalizer);
}
// What dloss is multiplied with.
float slope_scale(const CharbonnierAttrs& a, const Tensor& x) {
  return static_cast<float>(2 * a.alpha * a.beta * a.beta * mean_scale(a, x));
}
bool rows_fit(const Shape& x) { return x[2] * x[3] % 4 == 0 && x.count() <= 1 << 30; }
int64_t sum_bytes(int64_t partials) { return partials * static_cast<int64_t>(sizeof(float)); }

std::optional<Prepared> prepare_charbonnier(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return Prepared{.state = nullptr, .workspace_bytes = sum_bytes(blocks_for(in[0].shape.count(), kBlock))};
}

void charbonnier(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<Charbonnier>();
  float* partials = static_cast<float*>(args.workspace);
  const unsigned blocks = blocks_for(args.in[0].count(), kBlock);
  launch(charbonnier_elements, {.grid = blocks, .block = kBlock}, args.stream, args.in[0], border_of(a),
         Penalty(a, a.alpha), partials);
  sum_partials<1>(partials, blocks, args.out[0].as<float>(), mean_scale(a, args.in[0]), args.stream);
}

void charbonnier_dx(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<CharbonnierDx>();
  launch(charbonnier_dx_elements, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock},
         args.stream, args.in[0].as<float>(), args.in[1], border_of(a), Penalty(a, a.alpha - 1),
         slope_scale(a, args.in[1]), args.out[0].as<float>());
}

unsigned valid_rows(const Shape& x, const CharbonnierAttrs& a) {
  return static_cast<unsigned>(x[0] * Rows(x, a).valid());
}

std::optional<Prepared> prepare_charbonnier_by_row(const Op& op, std::span<const Spec> in,
                                                   std::span<const Spec>) {
  if (!rows_fit(in[0].shape)) return std::nullopt;
  const CharbonnierAttrs& a = static_cast<const Charbonnier&>(op).attrs;
  return Prepared{.state = nullptr, .workspace_bytes = sum_bytes(valid_rows(in[0].shape, a))};
}

void charbonnier_by_row(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<Charbonnier>();
  float* partials = static_cast<float*>(args.workspace);
  const unsigned blocks = valid_rows(args.in[0].shape, a);
  launch(charbonnier_rows, {.grid = blocks, .block = kRowBlock}, args.stream, args.in[0].as<float>(),
         Rows(args.in[0].shape, a), Penalty(a, a.alpha), partials);
  sum_partials<1>(partials, blocks, args.out[0].as<float>(), mean_scale(a, args.in[0]), args.stream);
}

std::optional<Prepared> prepare_charbonnier_dx_by_row(const Op&, std::span<const Spec> in,
                                                      std::span<const Spec>) {
  if (!rows_fit(in[1].shape)) return std::nullopt;
  return Prepared{};
}

void charbonnier_dx_by_row(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<CharbonnierDx>();
  const Shape& x = args.in[1].shape;
  launch(charbonnier_dx_rows, {.grid = static_cast<unsigned>(x[0] * x[1]), .block = kRowBlock}, args.stream,
         args.in[0].as<float>(), args.in[1].as<float>(), Rows(x, a), Penalty(a, a.alpha - 1),
         slope_scale(a, args.in[1]), args.out[0].as<float>());
}

}  // namespace

void register_charbonnier(Registry& r) {
  add_cuda_kernel(r, {.op = Charbonnier::kName, .run = charbonnier, .prepare = prepare_charbonnier});
  add_cuda_kernel(r, {.op = Charbonnier::kName,
                      .version = "rows",
                      .run = charbonnier_by_row,
                      .prepare = prepare_charbonnier_by_row,
                      .preference = 1});
  add_cuda_kernel(r, {.op = CharbonnierDx::kName, .run = charbonnier_dx});
  add_cuda_kernel(r, {.op = CharbonnierDx::kName,
                      .version = "rows",
                      .run = charbonnier_dx_by_row,
                      .prepare = prepare_charbonnier_dx_by_row,
                      .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
