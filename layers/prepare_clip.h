// prepare_clip: the network's input and the images of its losses from 8-bit clips, in one pass. Per sample n,
// and of a window that belongs to it, (top, left, height, width, mirror):
//
//   r(n,·,·,c) = the window of x(n,·,·,c), resized to H x W by 8-bit bilinear interpolation, and mirrored
//   v(n,i,j,c) = (r(n,i,j,c) - mean(c mod 3)) * scale                      as normalize_image
//   images(n,i,j,c) = v(n,i,j,c) for c < 3T, else 0
//   loss_images(n,i,j,c) = v(n,i,j,c), after local response normalisation   as lrn
//
// x (N,H0,W0,3T) u8, frame-major, B G R; windows (N,5) i32, on the device, for every batch has its own;
// images (N,H,W,channels), loss_images (N,H,W,3T) in full precision. Resizing is OpenCV's, bit for bit, as in
// data/image.h: half-pixel centres, weights rounded to 11 bits, no smoothing when shrinking, an exact halving
// is the mean of 2 x 2, an equal size a copy. So the result is that of write_clip (data/geometry.h) followed
// by normalize_image and lrn. Source of the steps: the data layer of bryanyzhu/Hidden-Two-Stream
// (data_transformer.cpp). A window that does not lie in the frame is cut down to what does, to one pixel at
// least. No gradient: images are data.
#pragma once

#include <array>
#include <cmath>

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"
#include "layers/lrn.h"
#include "layers/normalize_image.h"

namespace millrace {

struct PrepareClipAttrs {
  int64_t height = 0, width = 0;  // of the outputs
  int64_t channels = 0;           // of images, at least 3T; 0: 3T
  bool loss_images = true;        // else images are the only output
  bool respond = true;            // LRN on the loss images
  NormalizeImageAttrs normalize = {};
  LrnAttrs response = {};

  template <class V> void visit(V v) const {
    v("height", height);
    v("width", width);
    v("channels", channels);
    v("loss_images", loss_images);
    v("respond", respond);
    normalize.visit(v);
    response.visit(v);
  }
};

constexpr int64_t kWindowNumbers = 5;

// What all kernels share.
struct ClipWindow {
  int top, left, height, width;
  bool mirror;

  // From five numbers, cut down to a frame of H0 x W0.
  MILLRACE_HD ClipWindow(const int32_t* numbers, int H0, int W0)
      : top(within(numbers[0], 0, H0 - 1)),
        left(within(numbers[1], 0, W0 - 1)),
        height(within(numbers[2], 1, H0 - top)),
        width(within(numbers[3], 1, W0 - left)),
        mirror(numbers[4] != 0) {}

  MILLRACE_HD static int within(int x, int low, int high) { return x < low ? low : x > high ? high : x; }
};

// One output coordinate of an axis: the two source coordinates it lies between, and weights of sum 2048.
struct ResizeTap {
  int first, second;
  int weight_first, weight_second;
};

// Beyond the edge OpenCV keeps both weights of rows and clamps the index; columns move all weight to the edge
// pixel. The last bit differs. For extents up to 32,768 a weight is the same whether or not a compiler fuses
// the multiply and the subtraction: what is rounded lies further from where rounding changes than that moves
// it.
MILLRACE_HD inline ResizeTap resize_tap(int x, int source, int target, bool is_column) {
  const double scale = 1.0 / (static_cast<double>(target) / static_cast<double>(source));
  float fraction = static_cast<float>((static_cast<double>(x) + 0.5) * scale - 0.5);
  int first = static_cast<int>(std::floor(fraction));
  fraction -= static_cast<float>(first);
  if (is_column && (first < 0 || first >= source - 1)) fraction = 0;
  return {ClipWindow::within(first, 0, source - 1), ClipWindow::within(first + 1, 0, source - 1),
          static_cast<int>(std::rint((1.0f - fraction) * 2048.0f)),
          static_cast<int>(std::rint(fraction * 2048.0f))};
}

// a b above c d, between rows and columns. In an exact halving and for an equal size this is just what
// OpenCV's own code for those gives.
MILLRACE_HD inline int resize_blend(int a, int b, int c, int d, const ResizeTap& row,
                                    const ResizeTap& column) {
  const int above = a * column.weight_first + b * column.weight_second;
  const int below = c * column.weight_first + d * column.weight_second;
  const int sum = ((row.weight_first * (above >> 4)) >> 16) + ((row.weight_second * (below >> 4)) >> 16);
  return (sum + 2) >> 2;
}

struct PrepareClip : OpBase<PrepareClip, PrepareClipAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "prepare_clip";  // (x, windows) -> images, loss_images

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  Bf16Operands bf16_operands() const override { return {.out = operand(0)}; }
  bool has_gradient() const override { return false; }
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct PreparedClip {
  Value images, loss_images;  // the second empty without PrepareClipAttrs::loss_images
};

inline PreparedClip prepare_clip(Graph& g, Value x, Value windows, const PrepareClipAttrs& attrs) {
  const std::vector<Value> out = g.add(make_op<PrepareClip>(attrs), std::array{x, windows});
  return {.images = out[0], .loss_images = attrs.loss_images ? out[1] : Value{}};
}

inline void register_prepare_clip(Registry& r) { r.add_op<PrepareClip>(); }

}  // namespace millrace
