// The warp's gradient to the image: every sample adds to four pixels, and any number of samples may meet in
// one.
#include "cuda/op.cuh"
#include "cuda/warp.cuh"
#include "layers/warp.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kRowsBlock = 64;

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

}  // namespace

void register_warp_dimage(Registry& r) { add_cuda_kernel(r, {.op = WarpDimage::kName, .run = warp_dimage}); }

}  // namespace MILLRACE_CUDA_NS
