// Channels of (N,H,W,C) arrays side by side: what concat, slice_channels and embed_channels do. Here an array
// is `pixels` rows of C channels.
#pragma once

#include <memory>
#include <numeric>
#include <vector>

#include "cuda/conv2d_layouts.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {

// Lanes of the widest vector of T, at most 16 bytes, that divides each number: a power of two.
template <class T> int widest_lanes(std::initializer_list<int64_t> numbers) {
  int64_t common = kVectorBytes / sizeof(T);
  for (int64_t n : numbers) common = std::gcd(common, n);
  return static_cast<int>(common);
}
// An address as a number of elements, for widest_lanes.
template <class T> int64_t element_of(const T* p) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) / sizeof(T));
}

// body(std::integral_constant<int, lanes>): the number of lanes as a constant of the compiler.
template <class T, class F> void with_lanes(int lanes, F body) {
  if (lanes == 1) return body(std::integral_constant<int, 1>{});
  if (lanes == 2) return body(std::integral_constant<int, 2>{});
  if constexpr (sizeof(T) == 2) {
    if (lanes == 8) return body(std::integral_constant<int, 8>{});
  }
  body(std::integral_constant<int, 4>{});
}

// Elements that 32 bits can count, and so index.
inline bool counts_in_32_bits(int64_t count) { return count <= 0x7fffffff; }

// The channels that pixels of (N,H,W,C) values end at, per operand: what kernels find in KernelArgs::prepared
// that go along with padded channels. Without it all are dense.
struct Pitches {
  std::vector<int64_t> in, out;
};
inline int64_t pitch_in(const KernelArgs& args, size_t i) {
  return args.prepared ? static_cast<const Pitches*>(args.prepared)->in[i]
                       : args.in[i].shape[args.in[i].shape.rank() - 1];
}
inline int64_t pitch_out(const KernelArgs& args, size_t o) {
  return args.prepared ? static_cast<const Pitches*>(args.prepared)->out[o]
                       : args.out[o].shape[args.out[o].shape.rank() - 1];
}

// Inputs as they lie, where only their channels are padded, else dense; outputs of rank 4 padded where they
// are bf16, for the convolutions that read them.
inline Prepared with_pitches(std::span<const Spec> in, std::span<const Spec> out) {
  Pitches pitches;
  Layouts layouts;
  const auto add = [](const Spec& s, const Layout& layout, std::vector<Layout>& lies,
                      std::vector<int64_t>& pitch) {
    lies.push_back(layout);
    pitch.push_back(channel_pitch(layout, s.shape));
  };
  for (const Spec& s : in) add(s, is_channel_padded(s.layout) ? s.layout : Layout{}, layouts.in, pitches.in);
  for (const Spec& s : out) {
    const bool pads = s.shape.rank() == 4 && s.dtype == Dtype::bf16;
    add(s, pads ? channel_padded(s.shape, channel_multiple(s.dtype)) : Layout{}, layouts.out, pitches.out);
  }
  return {.state = std::make_shared<Pitches>(std::move(pitches)),
          .workspace_bytes = 0,
          .implementation = {},
          .layouts = std::move(layouts)};
}

inline constexpr int kMaxParts = 4;

// What stands side by side. Index is the type of all index arithmetic.
template <class T, class Index> struct Parts {
  struct Part {
    const T* data;  // of the first pixel's first channel; null: zeros
    Index pitch;    // elements from one pixel to the next
    Index end;      // the channel of y behind this part, counted from the first part
  };
  Part part[kMaxParts];
  int used;
};

// y(pixel, begin + c) = part(pixel, c), `width` channels in all. One thread per kLanes channels, which lie in
// one part; neighbours along channels, then pixels, so that y is written in one piece and each part is read
// in pieces of its width. Bytes per element: one read (none of zeros), one written.
template <class T, int kLanes, class Index> __global__ void __launch_bounds__(kPointwiseBlock)
    join_channels(Parts<T, Index> parts, Index count, Index width, T* y, Index pitch) {
  const auto at =
      static_cast<Index>(blockIdx.x) * static_cast<Index>(kPointwiseBlock) + static_cast<Index>(threadIdx.x);
  if (at >= count) return;
  const Index vectors = width / kLanes, pixel = at / vectors, c = at % vectors * kLanes;
  auto part = parts.part[0];
  Index begin = 0;
#pragma unroll  // with indices known to the compiler the table stays in constant memory
  for (int m = 1; m < kMaxParts; ++m) {
    if (m < parts.used && c >= parts.part[m - 1].end) {
      begin = parts.part[m - 1].end;
      part = parts.part[m];
    }
  }
  Vec<T, kLanes> value{};
  if (part.data) value = load_vec<kLanes>(part.data + int64_t{pixel} * part.pitch + (c - begin));
  store_vec(y + int64_t{pixel} * pitch + c, value);
}

// Host side: collects the parts of y from left to right, and starts a kernel for each kMaxParts of them.
// Rung::plain: one element per thread, in 64 bits. Rung::vector: the widest vectors that fit the parts at
// hand, in 32 bits; whole divisions in 64 cost some 40 instructions each, as much as all the rest.
template <class T, Rung kRung> class Joiner {
  using Index = std::conditional_t<kRung == Rung::plain, int64_t, unsigned>;

 public:
  // `pitch` of y: elements from one pixel to the next.
  Joiner(const Tensor& y, int64_t pitch, void* stream) : y_(y), pitch_(pitch), stream_(stream) {}

  void add(const T* data, int64_t pitch, int64_t width) {
    if (width == 0) return;
    if (parts_.used == kMaxParts) flush();
    if (kRung == Rung::vector)
      lanes_ = widest_lanes<T>({lanes_, data ? pitch : 0, width, data ? element_of(data) : 0});
    end_ += width;
    parts_.part[parts_.used++] = {data, static_cast<Index>(pitch), static_cast<Index>(end_)};
  }
  // Zeros behind the last channel, and starts what was collected; to be called once at the end.
  void finish() {
    add(nullptr, 0, pitch_ - y_.C);
    flush();
  }

 private:
  void flush() {
    if (parts_.used == 0) return;
    T* y = y_.data + begin_;
    const int lanes = kRung == Rung::plain ? 1 : widest_lanes<T>({lanes_, pitch_, element_of(y)});
    const auto launch_with = [&](auto lane_count) {
      constexpr int kLanes = decltype(lane_count)::value;
      const int64_t count = y_.N * y_.H * y_.W * (end_ / kLanes);
      launch(join_channels<T, kLanes, Index>,
             {.grid = blocks_for(count, kPointwiseBlock), .block = kPointwiseBlock}, stream_, parts_,
             static_cast<Index>(count), static_cast<Index>(end_), y, static_cast<Index>(pitch_));
    };
    if constexpr (kRung == Rung::plain)
      launch_with(std::integral_constant<int, 1>{});
    else
      with_lanes<T>(lanes, launch_with);
    begin_ += end_;
    end_ = 0;
    parts_.used = 0;
    lanes_ = kVectorBytes / sizeof(T);
  }

  View4<T> y_;
  int64_t pitch_;
  void* stream_;
  Parts<T, Index> parts_{};
  int64_t begin_ = 0, end_ = 0;  // channels of y before the collected parts, and of these
  int lanes_ = kVectorBytes / sizeof(T);
};

}  // namespace MILLRACE_CUDA_NS
