#include "cuda/channels.cuh"
#include "cuda/column_sums.cuh"
#include "layers/conv2d.h"

// db(o), the sum of column o of dy, an array of N OH OW rows and O columns. Sums are f32 also where dy is
// bf16.
namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// One thread per column. Runs of rows have sums of their own, which keeps rounding small. Bytes per column:
// those of dy once. At 64 columns two warps of a GPU work, each with one load under way.
constexpr int64_t kRun = 1024;

template <class T> __global__ void __launch_bounds__(kBlock)
    column_sums(const T* dy, int64_t rows, int64_t columns, int64_t pitch, float* db) {
  const int64_t o = global_thread();
  if (o >= columns) return;
  float sum = 0;
  for (int64_t first = 0; first < rows; first += kRun) {
    float run = 0;
    for (int64_t row = first; row < min(first + kRun, rows); ++row) run += to_float(dy[row * pitch + o]);
    sum += run;
  }
  db[o] = sum;
}

template <class T> void conv2d_db(const KernelArgs& args) {
  const int64_t columns = args.out[0].count();
  launch(column_sums<T>, {.grid = blocks_for(columns, kBlock), .block = kBlock}, args.stream,
         args.in[0].as<const T>(), args.in[0].count() / columns, columns, pitch_in(args, 0),
         args.out[0].as<float>());
}

// Two stages with one kernel. A block of the first sums kRowsOfBlock rows of kWide vectors of columns into a
// row of partial sums; the second stage is one such block in a column, which sums the partial sums. In a
// block thread (r, v) adds rows r, r + kTall, ... in order, and a tree over shared memory adds the threads of
// a column: an order that no scheduling changes.
constexpr int kWide = 8, kTall = kBlock / kWide;
constexpr int64_t kRowsOfBlock = 512;

// Bytes per element of dy: its own, read once, and 4 / kRowsOfBlock of partial sums written and read. With 8
// vectors side by side a row's piece is one line of 128 bytes (32 for single floats), and N OH OW / 512 x
// O / columns of a block keep all multiprocessors at work.
template <class T, int kLanes> __global__ void __launch_bounds__(kBlock)
    partial_column_sums(const T* dy, int64_t rows, int64_t rows_of_block, int64_t columns, int64_t pitch,
                        float* sums) {
  auto* shared = dynamic_shared<float>();
  const int r = static_cast<int>(threadIdx.x) / kWide, v = static_cast<int>(threadIdx.x) % kWide;
  const int64_t column = (int64_t{blockIdx.y} * kWide + v) * kLanes;
  const int64_t first = int64_t{blockIdx.x} * rows_of_block;
  const int64_t end = min(first + rows_of_block, rows);
  Floats<kLanes> sum{};
  if (column < columns) {
#pragma unroll 4  // loads that do not wait for one another
    for (int64_t row = first + r; row < end; row += kTall) {
      const Floats<kLanes> x = load_floats<kLanes>(dy + row * pitch + column);
#pragma unroll
      for (int i = 0; i < kLanes; ++i) sum[i] += x[i];
    }
  }
  float* own =
      shared + threadIdx.x;  // lane i lies i kBlock further on: no two threads of a warp share a bank
#pragma unroll
  for (int i = 0; i < kLanes; ++i) own[i * kBlock] = sum[i];
  for (int half = kTall / 2; half > 0; half /= 2) {
    __syncthreads();
    if (r < half) {
#pragma unroll
      for (int i = 0; i < kLanes; ++i) own[i * kBlock] += own[i * kBlock + half * kWide];
    }
  }
  if (r == 0 && column < columns) {
#pragma unroll
    for (int i = 0; i < kLanes; ++i) sums[blockIdx.x * columns + column + i] = own[i * kBlock];
  }
}

struct Columns {
  int64_t count, rows, pitch;

  Columns(const Shape& x, int64_t channel_pitch)
      : count(x[3]), rows(x.count() / x[3]), pitch(channel_pitch) {}
  int64_t partial_rows() const { return (rows + kRowsOfBlock - 1) / kRowsOfBlock; }
};

template <class T, int kLanes>
void launch_stage(const T* x, const Columns& c, int64_t rows_of_block, float* sums, void* stream) {
  launch(partial_column_sums<T, kLanes>,
         {.grid = {blocks_for(c.rows, static_cast<int>(rows_of_block)), blocks_for(c.count, kWide * kLanes)},
          .block = kBlock,
          .shared_bytes = sizeof(float) * kBlock * kLanes},
         stream, x, c.rows, rows_of_block, c.count, c.pitch, sums);
}

template <class T, Rung kRung>
void launch_stages(const Tensor& x, int64_t pitch, const Tensor& sums, void* workspace, void* stream) {
  const Columns c(x.shape, pitch);
  const T* data = x.as<const T>();
  auto* partial = static_cast<float*>(workspace);
  const int lanes = kRung == Rung::plain ? 1 : widest_lanes<T>({c.count, c.pitch, element_of(data)});
  with_lanes<T>(lanes, [&](auto lane_count) {
    launch_stage<T, decltype(lane_count)::value>(data, c, kRowsOfBlock, partial, stream);
  });
  Columns of_partial = c;
  of_partial.rows = c.partial_rows();
  of_partial.pitch = c.count;
  launch_stage<float, 1>(partial, of_partial, of_partial.rows, sums.as<float>(), stream);
}

template <class T, Rung kRung> void conv2d_db_stages(const KernelArgs& args) {
  launch_stages<T, kRung>(args.in[0], pitch_in(args, 0), args.out[0], args.workspace, args.stream);
}

std::optional<Prepared> prepare_stages(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return Prepared{.state = {}, .workspace_bytes = column_sums_workspace(in[0].shape)};
}

std::optional<Prepared> follow(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return with_pitches(in, out);
}

std::optional<Prepared> follow_stages(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  Prepared prepared = with_pitches(in, out);
  prepared.workspace_bytes = column_sums_workspace(in[0].shape);
  return prepared;
}

std::optional<Prepared> prepare_vector(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  if (in[0].shape[3] % 2 != 0) return {};
  return prepare_stages(op, in, out);
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Conv2dDb::kName, .dtype = kDtype, .run = conv2d_db<T>, .follow = follow});
  add_cuda_kernel(r, {.op = Conv2dDb::kName,
                      .version = "two-stage",
                      .dtype = kDtype,
                      .run = conv2d_db_stages<T, Rung::plain>,
                      .prepare = prepare_stages,
                      .preference = 1,
                      .follow = follow_stages});
  add_cuda_kernel(r, {.op = Conv2dDb::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = conv2d_db_stages<T, Rung::vector>,
                      .prepare = prepare_vector,
                      .preference = 2,
                      .follow = follow_stages});
}

}  // namespace

int64_t column_sums_workspace(const Shape& x) {
  const Columns c(x, x[3]);
  return c.partial_rows() * c.count * static_cast<int64_t>(sizeof(float));
}

void sum_columns(const Tensor& x, const Tensor& sums, void* workspace, void* stream) {
  if (x.dtype == Dtype::bf16)
    launch_stages<Bf16, Rung::vector>(x, x.shape[3], sums, workspace, stream);
  else
    launch_stages<float, Rung::vector>(x, x.shape[3], sums, workspace, stream);
}

void register_conv2d_db(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
