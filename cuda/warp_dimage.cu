// The warp's gradient to the image: every sample adds to four pixels, and any number of samples may meet in
// one.
#include "cuda/op.cuh"
#include "cuda/warp.cuh"
#include "layers/warp.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kRowsBlock = 64;
constexpr int kBlock = 256;

using In = View4<const float>;
using Out = View4<float>;

// plain. One thread per image (block z), flow (block y) and row of dimage. It looks through all pixels of its
// image, in their order, for samples that touch its row: flow is unbounded, so any pixel may. Rows belong to
// one thread each, so the sums need no atomics and have one order. Threads of a warp look at the same pixel:
// its flow is one read for all of them. Bytes per output: 4 written, and per row 8 H W of flow (from the
// caches) and, of dy, what hits it.
__global__ void __launch_bounds__(kRowsBlock) warp_dimage_rows(In dy, In flow, Out dimage) {
  const int p = static_cast<int>(global_thread()), k = static_cast<int>(blockIdx.y);
  const int64_t n = blockIdx.z;
  const int H = static_cast<int>(dy.H), W = static_cast<int>(dy.W);
  const int C = static_cast<int>(dy.C) / static_cast<int>(gridDim.y);
  if (p >= H) return;
  for (int q = 0; q < W; ++q)
    for (int c = k * C; c < k * C + C; ++c) dimage(n, p, q, c) = 0;
  for (int i = 0; i < H; ++i) {
    for (int j = 0; j < W; ++j) {
      const Cell at(i, j, flow(n, i, j, 2 * k), flow(n, i, j, 2 * k + 1), H, W);
      if (p != at.row && p != at.row + 1) continue;
      const float row_weight = p == at.row ? 1 - at.down : at.down;
      for (int q = at.column; q <= at.column + 1; ++q) {
        if (!dimage.inside(p, q)) continue;
        const float weight = row_weight * (q == at.column ? 1 - at.right : at.right);
        for (int c = k * C; c < k * C + C; ++c) dimage(n, p, q, c) += weight * dy(n, i, j, c);
      }
    }
  }
}

void warp_dimage(const KernelArgs& args) {
  const In dy(args.in[0]), flow(args.in[1]);
  const dim3 grid(blocks_for(dy.H, kRowsBlock), static_cast<unsigned>(flow.C / 2),
                  static_cast<unsigned>(dy.N));
  launch(warp_dimage_rows, {.grid = grid, .block = kRowsBlock}, args.stream, dy, flow, args.out[0]);
}

// --- sorted
//
// The samples are sorted by their cells, and each pixel gathers from the four cells round it. That reads each
// sample four times, from the caches, in place of `plain`'s once per row of the image, and has a thread for
// every pixel. Cells are those of row -1 to H - 1 and column -1 to W - 1, numbered
// ((n (H + 1) + row + 1) (W + 1) + column + 1) K + k: flow last, so that threads of neighbouring samples meet
// neighbouring cells and all accesses are nearly whole lines where flow is smooth.
//
// It is a counting sort by integer atomics, in five launches. Which thread comes first decides where a cell's
// list lies and how it is ordered at first, but neither the counts nor, once each list is sorted by the
// samples' numbers, the order of any sum: equal inputs give equal bits.
//
// The list of a cell is short where neighbours flow alike. Where a whole image flows to one point, one thread
// sorts a list of H W samples and four threads add them: right, but as slow as one thread is.

struct CellLists {
  int* count;  // samples of each cell
  int* end;    // where in `order` its list ends; while lists are filled, how far they are
  int* order;  // samples, list after list
  int* used;   // one number: how much of `order` is given away
  int cells;
};

int64_t cell_count(const Shape& flow) { return flow[0] * (flow[1] + 1) * (flow[2] + 1) * (flow[3] / 2); }

// Where the lists lie in the workspace: cells, cells, samples and one number.
CellLists lists_in(void* workspace, const Shape& flow) {
  const int64_t cells = cell_count(flow);
  int* const count = static_cast<int*>(workspace);
  int* const order = count + 2 * cells;
  return {.count = count,
          .end = count + cells,
          .order = order,
          .used = order + flow.count() / 2,
          .cells = static_cast<int>(cells)};
}

__global__ void __launch_bounds__(kBlock) clear_counts(CellLists lists) {
  const int cell = static_cast<int>(global_thread());
  if (cell < lists.cells) lists.count[cell] = 0;
  if (cell == 0) *lists.used = 0;
}

// The cell of sample s, or -1 where no tap is inside.
__device__ __forceinline__ int cell_number(const float* __restrict__ flow, int s, const WarpExtents& e) {
  const auto [n, i, j, k] = e.place(s);
  const Float2 uv = load_vec<2>(flow + 2 * s);
  const Cell at(i, j, uv[0], uv[1], e.H, e.W);
  if (at.row < -1 || at.row >= e.H || at.column < -1 || at.column >= e.W) return -1;
  return ((n * (e.H + 1) + at.row + 1) * (e.W + 1) + at.column + 1) * e.K + k;
}

// One thread per sample. Bytes per sample: 8 of flow read, 4 of count changed.
__global__ void __launch_bounds__(kBlock)
    count_samples(const float* __restrict__ flow, CellLists lists, WarpExtents extents) {
  const int s = static_cast<int>(global_thread());
  if (s >= extents.samples) return;
  const int cell = cell_number(flow, s, extents);
  if (cell >= 0) atomicAdd(lists.count + cell, 1);
}

// One thread per cell: gives it its part of `order`. A block adds up its cells first, so that the number all
// blocks share is changed once a block. No prefix sum is needed: lists may lie in any order.
// Bytes per cell: 4 read, 4 written.
__global__ void __launch_bounds__(kBlock) place_lists(CellLists lists) {
  __shared__ int wanted, begin;
  const int cell = static_cast<int>(global_thread());
  if (threadIdx.x == 0) wanted = 0;
  __syncthreads();
  const int count = cell < lists.cells ? lists.count[cell] : 0;
  const int offset = count > 0 ? atomicAdd(&wanted, count) : 0;
  __syncthreads();
  if (threadIdx.x == 0) begin = atomicAdd(lists.used, wanted);
  __syncthreads();
  if (cell < lists.cells) lists.end[cell] = begin + offset;
}

// One thread per sample. Bytes per sample: 8 of flow read, 4 of end changed, 4 of order written.
__global__ void __launch_bounds__(kBlock)
    fill_lists(const float* __restrict__ flow, CellLists lists, WarpExtents extents) {
  const int s = static_cast<int>(global_thread());
  if (s >= extents.samples) return;
  const int cell = cell_number(flow, s, extents);
  if (cell >= 0) lists.order[atomicAdd(lists.end + cell, 1)] = s;
}

// One thread per cell: a Shell sort, which on a list of few is an insertion sort, and on a long one does not
// take the square of its length. Bytes per cell: 8 read; per sample that is not alone, 4 read and written.
__global__ void __launch_bounds__(kBlock) sort_lists(CellLists lists) {
  const int cell = static_cast<int>(global_thread());
  if (cell >= lists.cells) return;
  const int count = lists.count[cell];
  if (count < 2) return;
  int* const list = lists.order + lists.end[cell] - count;
  for (int gap = count / 2; gap > 0; gap /= 2) {
    for (int from = gap; from < count; ++from) {
      const int sample = list[from];
      int to = from;
      for (; to >= gap && list[to - gap] > sample; to -= gap) list[to] = list[to - gap];
      list[to] = sample;
    }
  }
}

// One thread per pixel and flow of dimage, with all its colours. Bytes per output (one colour): 4 written,
// 4 of dy and, for all C colours together, 8 of flow, 4 of order and 8 of the lists; as much again, three
// times, from the caches.
template <int C> __global__ void __launch_bounds__(kBlock)
    gather_lists(const float* __restrict__ dy, const float* __restrict__ flow, CellLists lists,
                 float* __restrict__ dimage, WarpExtents e) {
  const int t = static_cast<int>(global_thread());
  if (t >= e.samples) return;
  const auto [n, p, q, k] = e.place(t);
  Floats<C> sum;
#pragma unroll
  for (int c = 0; c < C; ++c) sum[c] = 0;
  for (int corner = 0; corner < 4; ++corner) {
    const int lower = corner / 2, right = corner % 2;  // of the four cells round the pixel
    const int cell = ((n * (e.H + 1) + p + lower) * (e.W + 1) + q + right) * e.K + k;
    const int end = lists.end[cell];
#pragma unroll 1  // the list of a cell is a sample or two; by four, as nvcc would, one colour spills on sm_90
    for (int at = end - lists.count[cell]; at < end; ++at) {
      const int s = lists.order[at];
      const Float2 uv = load_vec<2>(flow + 2 * s);
      const SamplePlace its = e.place(s);
      const Cell from(its.i, its.j, uv[0], uv[1], e.H, e.W);
      const float weight = (lower ? 1 - from.down : from.down) * (right ? 1 - from.right : from.right);
      const Floats<C> d = load_colours<C>(dy + s * C);
#pragma unroll
      for (int c = 0; c < C; ++c) sum[c] += weight * d[c];
    }
  }
  store_colours(dimage + t * C, sum);
}

LaunchShape threads(int64_t count) { return {.grid = blocks_for(count, kBlock), .block = kBlock}; }

void warp_dimage_sorted(const KernelArgs& args) {
  const Tensor& flow = args.in[1];
  const WarpExtents extents(args.in[0].shape, flow.shape);
  const CellLists lists = lists_in(args.workspace, flow.shape);
  const float* const uv = flow.as<float>();
  launch(clear_counts, threads(lists.cells), args.stream, lists);
  launch(count_samples, threads(extents.samples), args.stream, uv, lists, extents);
  launch(place_lists, threads(lists.cells), args.stream, lists);
  launch(fill_lists, threads(extents.samples), args.stream, uv, lists, extents);
  launch(sort_lists, threads(lists.cells), args.stream, lists);
  by_colours(args.in[0], flow, [&]<int C>() {
    launch(gather_lists<C>, threads(extents.samples), args.stream, args.in[0].as<float>(), uv, lists,
           args.out[0].as<float>(), extents);
  });
}

std::optional<Prepared> prepare_sorted(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const Shape &dy = in[0].shape, &flow = in[1].shape;
  if (!fits_fast_warp(dy, flow) || cell_count(flow) > kMostElements) return {};
  const int64_t numbers = 2 * cell_count(flow) + flow.count() / 2 + 1;
  return Prepared{.state = nullptr, .workspace_bytes = numbers * static_cast<int64_t>(sizeof(int))};
}

// --- atomic
//
// What a first attempt does, and many libraries: each sample adds to its four pixels by float atomics. Sums
// then have the order in which threads come, and their last bits differ from run to run, so no plan takes
// this version unless it is asked for by name. It is here to be measured against `sorted`.

__global__ void __launch_bounds__(kBlock) clear_image(float* dimage, int count) {
  const int element = static_cast<int>(global_thread());
  if (element < count) dimage[element] = 0;
}

// One thread per sample. Bytes per sample: 8 of flow and 4 C of dy read; 4 C additions in the L2 cache.
template <int C> __global__ void __launch_bounds__(kBlock)
    scatter_samples(const float* __restrict__ dy, const float* __restrict__ flow, float* dimage,
                    WarpExtents extents) {
  const int s = static_cast<int>(global_thread());
  if (s >= extents.samples) return;
  const Reach at(load_vec<2>(flow + 2 * s), s, extents);
  const Floats<C> d = load_colours<C>(dy + s * C);
  const auto add = [&](int tap, bool inside, float weight) {
    if (!inside) return;
#pragma unroll
    for (int c = 0; c < C; ++c) atomicAdd(dimage + tap * C + c, weight * d[c]);
  };
  const float down = at.cell.down, right = at.cell.right;
  add(at.first, at.top && at.left, (1 - down) * (1 - right));
  add(at.first + extents.K, at.top && at.right, (1 - down) * right);
  add(at.first + at.below, at.bottom && at.left, down * (1 - right));
  add(at.first + at.below + extents.K, at.bottom && at.right, down * right);
}

void warp_dimage_atomic(const KernelArgs& args) {
  const WarpExtents extents(args.in[0].shape, args.in[1].shape);
  float* const dimage = args.out[0].as<float>();
  const int64_t count = args.out[0].count();
  launch(clear_image, threads(count), args.stream, dimage, static_cast<int>(count));
  by_colours(args.in[0], args.in[1], [&]<int C>() {
    launch(scatter_samples<C>, threads(extents.samples), args.stream, args.in[0].as<float>(),
           args.in[1].as<float>(), dimage, extents);
  });
}

std::optional<Prepared> prepare_atomic(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  if (!fits_fast_warp(in[0].shape, in[1].shape)) return {};
  return Prepared{};
}

}  // namespace

void register_warp_dimage(Registry& r) {
  const char* const op = WarpDimage::kName;
  add_cuda_kernel(r, {.op = op, .run = warp_dimage});
  add_cuda_kernel(
      r,
      {.op = op, .version = "sorted", .run = warp_dimage_sorted, .prepare = prepare_sorted, .preference = 1});
  add_cuda_kernel(r, {.op = op,
                      .version = "atomic",
                      .run = warp_dimage_atomic,
                      .prepare = prepare_atomic,
                      .preference = -1,
                      .repeatable = false});
}

}  // namespace MILLRACE_CUDA_NS
