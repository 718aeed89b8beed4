// MotionNet (Zhu et al., Hidden Two-Stream Convolutional Networks, arXiv 1704.00389, Table 1): an encoder and
// decoder that predicts the optical flow between neighbouring frames of a clip at five scales, learned
// without labels.
//
// Layers, names and widths follow the authors' multiframe_MotionNet/train.prototxt where the paper differs:
// learned 4x4 deconvolutions carry the flow upwards (the table omits them, though its channel counts include
// them), smooth_conv, the flow heads and those deconvolutions have no activation, and the order of a
// concatenation is skip, deconv, flow.
#pragma once

#include <array>

#include "core/params.h"

namespace millrace {

struct MotionNetOptions {
  int64_t frames = 11;  // T: the net sees 3 T channels and predicts T - 1 flows
  double channels = 1;  // factor of all widths but the flows'
  std::string scope = "motionnet";
};

// Levels 2 to 6: level l has the size of the input divided by 2^(l-1).
constexpr int kFinestLevel = 2, kCoarsestLevel = 6;

struct MotionNetFlows {
  // predict_flow of level l, (N, H / 2^(l-1), W / 2^(l-1), 2 (T-1)): channels (2k, 2k+1) are u and v of the
  // flow from frame k to k+1. Times 20 it is in pixels of the input, times level_scale(l) in pixels of the
  // level.
  Value at(int level) const { return flows[static_cast<size_t>(level - kFinestLevel)]; }
  std::array<Value, 5> flows;
};

// Network units to pixels of the input.
constexpr double kFlowScale = 20;
// Network units to pixels of level l: 20 / 2^(l-1).
constexpr double level_scale(int level) { return kFlowScale / static_cast<double>(1 << (level - 1)); }

// Extents must be multiples of this, and at least kMotionNetSmallest.
constexpr int64_t kMotionNetMultiple = 32;
constexpr int64_t kMotionNetSmallest = 64;
// Throws ErrorKind::usage and names the nearest sizes that fit.
void check_motionnet_extent(const std::string& what, int64_t extent);

// images: (N,H,W,3T), frame-major B G R, normalised (layers/normalize_image.h).
MotionNetFlows motionnet(Graph& g, ParamStore& params, Value images, const MotionNetOptions& options);

}  // namespace millrace
