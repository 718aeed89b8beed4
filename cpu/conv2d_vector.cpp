// The weight gradient of convolutions in registers, for processors with vectors of 8 floats.
//
//   dw(o,p,q,c) = sum over n,i,j of  dy(n,i,j,o) x(n, i s - a + p, j s - a + q, c)
//
// Operands are blocked by 8 channels: planes of pixels of 8 floats, weights (O/8)(I/8)(kh)(kw)(8 c)(8 o). One
// pass over a tile of pixels makes 4 c times up to 24 o of one tap (p,q): 12 sums in registers, which for
// each pixel cost 3 loads of dy and 4 broadcasts of x for 12 multiply-adds. oneDNN's code for AVX2 holds one
// vector of o, broadcasts x anew for each multiply-add, and so is bound by loads.
// Measured (2026-11-25, 2 threads of an EPYC whose AVX2 reaches 200 GFLOP/s; bench_conv --op conv2d_dw): 135
// to 177 GFLOP/s where oneDNN 2.6.3 has 85 to 105; all of a full-width MotionNet 287 ms instead of 433.
//
// A tile is as many rows of dy as keep in the first cache, with the row of x that a tap needs; all c go over
// it before the next. Each dw is summed by one thread, tile after tile, so results do not depend on the
// number of threads.
#include <omp.h>

#include <algorithm>

#include "cpu/versions.h"
#include "layers/conv2d.h"

namespace millrace::cpu {
#if defined(__AVX2__) && defined(__FMA__)
namespace {

constexpr int64_t kBlock = 8;     // channels in a vector
constexpr int64_t kGroup = 3;     // vectors of o at a time
constexpr int64_t kChannels = 4;  // c at a time
constexpr int64_t kTileBytes = 22 << 10;

using Vector = float __attribute__((vector_size(kBlock * sizeof(float)), may_alias));

const Vector& vector_at(const float* p) { return *reinterpret_cast<const Vector*>(p); }
Vector& vector_at(float* p) { return *reinterpret_cast<Vector*>(p); }

// Loaded once: the compiler would take it from memory for each product.
inline Vector in_register(Vector v) {
  asm("" : "+x"(v));
  return v;
}

// A piece of dy's planes and what lies under it in x for one tap.
struct Piece {
  int64_t rows, columns;
  int64_t x_row, x_column;  // floats from one of dy's rows or columns to the next, in x
  int64_t dy_row, dy_plane;
  int64_t dw_group;  // floats between the weights of two vectors of o
};

// dw(c..c+3, o..o+8G-1) += sum over the piece. Sums of a tile begin at 0: adding up tiles loses less than one
// long sum. Not inlined, for the caller's many variables would take registers from the inner loop.
template <int64_t G>
[[gnu::noinline]] void add_products(const Piece& piece, const float* x, const float* dy, float* dw) {
  Vector sum[G][kChannels] = {};
  const int64_t x_column = piece.x_column, dy_plane = piece.dy_plane, columns = piece.columns;
  for (int64_t i = 0; i < piece.rows; ++i, x += piece.x_row, dy += piece.dy_row) {
    const float *from = x, *d = dy;
    for (int64_t j = 0; j < columns; ++j, from += x_column, d += kBlock) {
      Vector y[G];
      for (int64_t g = 0; g < G; ++g) y[g] = in_register(vector_at(d + g * dy_plane));
      for (int64_t c = 0; c < kChannels; ++c) {
        for (int64_t g = 0; g < G; ++g) sum[g][c] += y[g] * from[c];
      }
    }
  }
  for (int64_t g = 0; g < G; ++g) {
    for (int64_t c = 0; c < kChannels; ++c) vector_at(dw + g * piece.dw_group + c * kBlock) += sum[g][c];
  }
}

// Rows or columns of dy whose tap `p` lies inside of x's `extent`.
struct Range {
  int64_t first, last;  // [first, last)
};
Range inside(const Range& wanted, int64_t p, int64_t extent, const Conv2dDwAttrs& a) {
  const int64_t most = extent - 1 + a.pad - p;
  return {std::max(wanted.first, (std::max<int64_t>(0, a.pad - p) + a.stride - 1) / a.stride),
          std::min(wanted.last, most < 0 ? 0 : most / a.stride + 1)};
}

class Problem {
 public:
  explicit Problem(const KernelArgs& args)
      : a_(args.attrs<Conv2dDw>()),
        x_(args.in[0].shape),
        y_(args.in[1].shape),
        x_data_(args.in[0].as<float>()),
        dy_data_(args.in[1].as<float>()),
        dw_data_(args.out[0].as<float>()),
        blocks_(blocks(x_[3])),
        groups_((blocks(y_[3]) + kGroup - 1) / kGroup) {}

  // Pairs of a group of o and a share of the c: what a thread takes at a time.
  int64_t shares() const { return std::min<int64_t>(blocks_, omp_get_max_threads()); }
  int64_t units() const { return groups_ * shares(); }
  void run_unit(int64_t unit, int64_t shares) const {
    const int64_t share = unit / groups_, group = unit % groups_;
    const Range c{blocks_ * share / shares, blocks_ * (share + 1) / shares};
    const int64_t first = group * kGroup, count = std::min(kGroup, blocks(y_[3]) - first);
    if (count == 3) return run<3>(first, c);
    count == 2 ? run<2>(first, c) : run<1>(first, c);
  }

 private:
  static int64_t blocks(int64_t channels) { return (channels + kBlock - 1) / kBlock; }
  int64_t taps() const { return a_.kernel_height * a_.kernel_width * kBlock * kBlock; }
  float* weights(int64_t o, int64_t c) const { return dw_data_ + (o * blocks_ + c) * taps(); }

  template <int64_t G> void run(int64_t o, Range c) const {
    for (int64_t g = 0; g < G; ++g) std::fill(weights(o + g, c.first), weights(o + g, c.last), 0.f);
    const int64_t rows = std::max<int64_t>(1, kTileBytes / (G * y_[2] * kBlock * int64_t{sizeof(float)}));
    for (int64_t n = 0; n < y_[0]; ++n) {
      for (int64_t i = 0; i < y_[1]; i += rows) {
        for (int64_t b = c.first; b < c.last; ++b) add_tile<G>(n, o, b, {i, std::min(i + rows, y_[1])});
      }
    }
  }

  template <int64_t G> void add_tile(int64_t n, int64_t o, int64_t c, const Range& tile) const {
    const int64_t x_row = x_[2] * kBlock, dy_row = y_[2] * kBlock;
    const float* x = x_data_ + (n * blocks_ + c) * x_[1] * x_row;
    const float* dy = dy_data_ + (n * blocks(y_[3]) + o) * y_[1] * dy_row;
    const int64_t channels = std::min(kBlock, x_[3] - c * kBlock);
    for (int64_t p = 0; p < a_.kernel_height; ++p) {
      const Range i = inside(tile, p, x_[1], a_);
      for (int64_t q = 0; q < a_.kernel_width && i.first < i.last; ++q) {
        const Range j = inside({0, y_[2]}, q, x_[2], a_);
        if (j.first >= j.last) continue;
        const Piece piece{.rows = i.last - i.first,
                          .columns = j.last - j.first,
                          .x_row = a_.stride * x_row,
                          .x_column = a_.stride * kBlock,
                          .dy_row = dy_row,
                          .dy_plane = y_[1] * dy_row,
                          .dw_group = blocks_ * taps()};
        const float* from =
            x + (i.first * a_.stride - a_.pad + p) * x_row + (j.first * a_.stride - a_.pad + q) * kBlock;
        float* dw = weights(o, c) + (p * a_.kernel_width + q) * kBlock * kBlock;
        for (int64_t k = 0; k < channels; k += kChannels) {
          add_products<G>(piece, from + k, dy + i.first * dy_row + j.first * kBlock, dw + k * kBlock);
        }
      }
    }
  }

  const Conv2dDwAttrs& a_;
  const Shape x_, y_;
  const float *x_data_, *dy_data_;
  float* dw_data_;
  int64_t blocks_, groups_;  // vectors of c; groups of vectors of o
};

void conv2d_dw(const KernelArgs& args) {
  const Problem problem(args);
  const int64_t shares = problem.shares(), units = problem.units();
#pragma omp parallel for schedule(dynamic)
  for (int64_t unit = 0; unit < units; ++unit) problem.run_unit(unit, shares);
}

std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (std::min(in[0].shape[3], in[1].shape[3]) < kBlock) return {};  // mostly zeros
  const Layout activations = channel_blocked(kBlock);
  return Prepared{.state = nullptr,
                  .workspace_bytes = 0,
                  .implementation = "blocked",
                  .layouts = {{activations, activations}, {Registry::get().weight_layout("cpu", out[0])}}};
}

}  // namespace

void register_conv2d_vector(Registry& r) {
  const Layout blocked{{0, 3, 1, 2}, {{3, kBlock}, {0, kBlock}}};
  if (r.weight_layout("cpu", {{kBlock, 1, 1, kBlock}, Dtype::f32}) != blocked) return;
  r.add_kernel({.op = Conv2dDw::kName,
                .device = "cpu",
                .version = "vector",
                .dtype = Dtype::f32,
                .run = conv2d_dw,
                .prepare = prepare,
                .preference = 4});
}

#else

void register_conv2d_vector(Registry&) {}

#endif
}  // namespace millrace::cpu
