#include "nets/motion_loss.h"

#include "layers/downsample.h"
#include "layers/lrn.h"
#include "layers/scale.h"
#include "layers/slice_channels.h"
#include "layers/sub.h"
#include "layers/warp.h"
#include "losses/charbonnier.h"
#include "losses/smoothness.h"
#include "losses/ssim.h"
#include "losses/weighted_sum.h"

namespace millrace {
namespace {

// Grey levels per unit of the normalised image: the photometric error is in grey levels.
constexpr double kGreyLevels = 255;

void check(const Graph& g, Value images, const MotionNetFlows& flows, const MotionLossOptions& options) {
  const int64_t K = options.frames - 1;
  const Shape& x = g.shape(images);
  if (K < 1 || x.rank() != 4 || x[3] != 3 * options.frames) {
    fail(ErrorKind::runtime,
         {"motion_loss", "clips (N,H,W,3T) of T = " + std::to_string(options.frames), x.to_string(), ""});
  }
  if (!(options.n_ref > 0)) {
    fail(ErrorKind::usage, {"motion_loss", "n_ref > 0", std::to_string(options.n_ref), ""});
  }
  if (!options.pixel && !options.smoothness && !options.ssim) {
    fail(ErrorKind::usage, {"motion_loss", "at least one kind of term", "none", ""});
  }
  for (int level = kFinestLevel; level <= flows.coarsest; ++level) {
    const int64_t factor = int64_t{1} << (level - 1);
    const Shape expected{x[0], x[1] / factor, x[2] / factor, 2 * K};
    const Shape& flow = g.shape(flows.at(level));
    if (!(flow == expected)) {
      fail(ErrorKind::runtime,
           {"motion_loss", "flow of level " + std::to_string(level) + " of shape " + expected.to_string(),
            flow.to_string(), ""});
    }
  }
}

// Adds the terms of one level.
void add_level(Graph& g, Value images, Value flow, int level, const MotionLossOptions& options,
               std::vector<LossTerm>& terms) {
  const std::string number = std::to_string(level);
  Graph::Scope scope(g, "loss" + number);
  const int64_t H = g.shape(flow)[1], W = g.shape(flow)[2], K = options.frames - 1;
  const Border border = border_of(H, W);
  const bool caffe = options.normalization == LossNormalization::caffe;
  const auto per_channel = static_cast<double>(valid_pixels(H, W)) * (caffe ? options.n_ref : 1);
  const auto pixel_channels = static_cast<double>(3 * K);
  const double smooth_channels = caffe ? pixel_channels : static_cast<double>(2 * K);

  Value target, warped;
  if (options.pixel || options.ssim) {
    const Value small = downsample(g, images, {.height = H, .width = W});
    target = slice_channels(g, small, {.begin = 0, .count = 3 * K});
    const Value next = slice_channels(g, small, {.begin = 3, .count = 3 * K});
    warped = warp(g, next, scale(g, flow, level_scale(level)));
  }
  if (options.pixel) {
    // The penalty is even: warped - target saves the gradient a change of sign.
    const Value error = sub(g, warped, target);
    const CharbonnierAttrs attrs{.alpha = .4,
                                 .beta = kGreyLevels,
                                 .border_y = border.y,
                                 .border_x = border.x,
                                 .normalizer = pixel_channels * per_channel};
    terms.push_back({"pixel" + number, charbonnier(g, error, attrs)});
  }
  if (options.smoothness) {
    const CharbonnierAttrs attrs{.alpha = .3,
                                 .beta = level_scale(level),
                                 .border_y = border.y,
                                 .border_x = border.x,
                                 .normalizer = smooth_channels * per_channel};
    const SmoothnessLoss smooth = smoothness(g, flow, attrs);
    terms.push_back({"smooth_u" + number, smooth.u});
    terms.push_back({"smooth_v" + number, smooth.v});
  }
  if (options.ssim) {
    const double weight = options.ssim_weights[static_cast<size_t>(level - kFinestLevel)];
    terms.push_back({"ssim" + number, scale(g, ssim(g, warped, target), weight)});
  }
}

}  // namespace

MotionLoss motion_loss(Graph& g, Value images, const MotionNetFlows& flows,
                       const MotionLossOptions& options) {
  check(g, images, flows, options);
  const bool uses_images = options.pixel || options.ssim;
  if (options.lrn && uses_images) images = lrn(g, images);
  MotionLoss result;
  for (int level = kFinestLevel; level <= flows.coarsest; ++level) {
    add_level(g, images, flows.at(level), level, options, result.terms);
  }
  std::vector<Value> values;
  for (const LossTerm& term : result.terms) values.push_back(term.value);
  result.loss = weighted_sum(g, values, std::vector<double>(values.size(), 1.0));
  return result;
}

}  // namespace millrace
