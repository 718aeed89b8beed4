// MotionNet (Zhu et al., Hidden Two-Stream Convolutional Networks, arXiv 1704.00389, Table 1): an encoder and
// decoder that predicts the optical flow between neighbouring frames of a clip at five scales, learned
// without labels.
//
// Layers, names and widths follow the authors' multiframe_MotionNet/train.prototxt where the paper differs:
// learned 4x4 deconvolutions carry the flow upwards (the table omits them, though its channel counts include
// them), smooth_conv, the flow heads and those deconvolutions have no activation, and the order of a
// concatenation is skip, deconv, flow.
//
// Parameters at full width, 11 frames (docs/motionnet.md has the layers):
//
//   MotionNet                               42,319,860
//   without the small-displacement front    42,367,412
//   without smooth_conv                     38,924,148
//   without either                          38,971,700
//   Tiny MotionNet                           1,950,308
#pragma once

#include <array>
#include <span>

#include "core/params.h"

namespace millrace {

enum class MotionNetKind {
  full,
  // Fewer and narrower layers, levels 2 to 4 only. The authors lost theirs; this is the one of
  // jbohnslav/deepethogram (TinyMotionNet.py) without batch normalisation.
  tiny,
};

struct MotionNetOptions {
  int64_t frames = 11;  // T: the net sees 3 T channels and predicts T - 1 flows
  double channels = 1;  // factor of all widths but the flows'
  std::string scope = "motionnet";
  MotionNetKind kind = MotionNetKind::full;
  // What the paper's Table 3 takes away. It gives no layers for either; these are our readings.
  // Front for small displacements: conv1 and conv1_1 see the full resolution. Without it conv1 is 7x7 with
  // stride 2, there is no conv1_1, and conv2 has stride 1; the rest stays. Of the full net only.
  bool small_displacement = true;
  // Convolutions between deconvolutions. Without them the flow head and the next deconvolution read the
  // concatenation.
  bool smooth_conv = true;
};

// Level l has the size of the input divided by 2^(l-1). The coarsest is 6, in Tiny MotionNet 4.
constexpr int kFinestLevel = 2, kCoarsestLevel = 6;
constexpr int coarsest_level(MotionNetKind kind) { return kind == MotionNetKind::tiny ? 4 : kCoarsestLevel; }

struct MotionNetFlows {
  // predict_flow of level l, (N, H / 2^(l-1), W / 2^(l-1), 2 (T-1)): channels (2k, 2k+1) are u and v of the
  // flow from frame k to k+1. Times 20 it is in pixels of the input, times level_scale(l) in pixels of the
  // level.
  Value& at(int level) { return flows[static_cast<size_t>(level - kFinestLevel)]; }
  Value at(int level) const { return flows[static_cast<size_t>(level - kFinestLevel)]; }
  // From the finest level to the coarsest.
  std::span<const Value> all() const {
    return std::span(flows).first(static_cast<size_t>(coarsest - kFinestLevel + 1));
  }
  int coarsest = kCoarsestLevel;
  std::array<Value, 5> flows;  // those above the coarsest level stay empty
};

// Network units to pixels of the input.
constexpr double kFlowScale = 20;
// Network units to pixels of level l: 20 / 2^(l-1).
constexpr double level_scale(int level) { return kFlowScale / static_cast<double>(1 << (level - 1)); }

// Heights and widths that fit: each level is half the one below it, and the coarsest has at least 2 pixels.
struct MotionNetExtents {
  int64_t multiple = 0, smallest = 0;
};
constexpr MotionNetExtents motionnet_extents(MotionNetKind kind) {
  const int64_t multiple = int64_t{1} << (coarsest_level(kind) - 1);
  return {multiple, 2 * multiple};  // 32 and 64, of Tiny MotionNet 8 and 16
}
// Throws ErrorKind::usage and names the nearest sizes that fit.
void check_motionnet_extent(const std::string& what, int64_t extent,
                            MotionNetKind kind = MotionNetKind::full);

// images: (N,H,W,3T), frame-major B G R, normalised (layers/normalize_image.h).
MotionNetFlows motionnet(Graph& g, ParamStore& params, Value images, const MotionNetOptions& options);

}  // namespace millrace
