// The unsupervised loss of MotionNet: how well its flows explain a clip, at each of its scales.
//
//   loss = sum over levels l of  pixel_l + smooth_u_l + smooth_v_l + ssim_l
//
// At level l both full images are normalised (lrn) and downsampled to the level's size, frame k + 1 is warped
// by s_l flow_k, and then, with K = T - 1 flows and V valid pixels inside the border:
//
//   pixel_l     charbonnier of frame k - warped frame k + 1, alpha .4, beta 255
//   smooth_u_l  charbonnier of the differences of s_l u, alpha .3, and smooth_v_l of s_l v
//   ssim_l      weight_l times the sum of 1 - SSIM(warped, frame k) over windows and channels
//
// Each is a value per clip, averaged over the batch. Source: bryanyzhu/Hidden-Two-Stream,
// models/multiframe_MotionNet/train.prototxt.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "nets/motionnet.h"

namespace millrace {

// What the sums over a plane are divided by. SSIM is a sum under both: its weights are made for that.
enum class LossNormalization {
  // As in the authors' code: pixel and smoothness by n_ref 3 K V. The code divides twice by the batch (n_ref
  // was its batch) and counts 3 K channels for smoothness, which has 2 K.
  caffe,
  // Plain means over valid pixels and channels: pixel by 3 K V, smoothness by its 2 K V differences.
  mean,
};

struct MotionLossOptions {
  int64_t frames = 11;  // T
  LossNormalization normalization = LossNormalization::caffe;
  double n_ref = 16;  // 16: the authors' pre-training, 8: their end-to-end training; `caffe` only
  // Of levels 2 to 6; a net with fewer levels takes the first of them.
  std::array<double, 5> ssim_weights = {.01, .02, .04, .08, .16};
  bool pixel = true, smoothness = true, ssim = true;
  bool lrn = true;  // normalise the images of the loss across their colours
};

struct LossTerm {
  std::string name;  // "pixel2", "smooth_u2", "smooth_v2", "ssim2", ..., "ssim6"
  Value value;       // (1), with its weight
};

struct MotionLoss {
  std::vector<LossTerm> terms;
  Value loss;  // (1), their sum
};

// images: normalised clips (N,H,W,3T), frame-major B G R. No gradient goes to them.
MotionLoss motion_loss(Graph& g, Value images, const MotionNetFlows& flows, const MotionLossOptions& options);

}  // namespace millrace
