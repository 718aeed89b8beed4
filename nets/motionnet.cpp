#include "nets/motionnet.h"

#include <algorithm>
#include <cmath>

#include "layers/bias.h"
#include "layers/concat.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"

namespace millrace {
namespace {

class Builder {
 public:
  Builder(Graph& g, ParamStore& params, const MotionNetOptions& options)
      : g_(g), params_(params), o_(options) {}

  int64_t width(int64_t channels) const {
    return std::max<int64_t>(1, std::llround(static_cast<double>(channels) * o_.channels));
  }

  // 3x3 convolution with bias.
  Value conv(const std::string& name, Value x, int64_t out, int64_t stride = 1) {
    Graph::Scope scope(g_, o_.scope + "/" + name);
    const int64_t in = g_.shape(x)[3];
    const Value w = params_.parameter(g_, path(name, "weight"), {out, 3, 3, in}, {.stddev = msra(in * 9)});
    const Value b = params_.parameter(g_, path(name, "bias"), {out}, {.decay_mult = 0});
    return conv2d(g_, x, w, b, {.stride = stride, .pad = 1});
  }

  Value conv_leaky(const std::string& name, Value x, int64_t out, int64_t stride = 1) {
    const Value y = conv(name, x, width(out), stride);
    Graph::Scope scope(g_, o_.scope + "/" + name);
    return leaky_relu(g_, y, {.slope = .1});
  }

  // 4x4 stride 2 deconvolution. Caffe's filler takes the blob (in, out, 4, 4) for fan-in out * 16; the
  // authors give its bias a learning rate of 0 and its weights no decay.
  Value deconv(const std::string& name, Value x, int64_t out) {
    Graph::Scope scope(g_, o_.scope + "/" + name);
    const int64_t in = g_.shape(x)[3];
    const Value w = params_.parameter(g_, path(name, "weight"), {in, 4, 4, out},
                                      {.stddev = msra(out * 16), .decay_mult = 0});
    const Value b = params_.parameter(g_, path(name, "bias"), {out}, {.lr_mult = 0, .decay_mult = 0});
    return bias(g_, deconv2d(g_, x, w, {.stride = 2, .pad = 1}), b);
  }

  Value deconv_leaky(const std::string& name, Value x, int64_t out) {
    const Value y = deconv(name, x, width(out));
    Graph::Scope scope(g_, o_.scope + "/" + name);
    return leaky_relu(g_, y, {.slope = .1});
  }

  Value join(int level, const std::vector<Value>& parts) {
    Graph::Scope scope(g_, o_.scope + "/concat_" + std::to_string(level));
    return concat(g_, parts);
  }

 private:
  std::string path(const std::string& layer, const char* what) const {
    return o_.scope + "." + layer + "." + what;
  }

  Graph& g_;
  ParamStore& params_;
  const MotionNetOptions& o_;
};

}  // namespace

void check_motionnet_extent(const std::string& what, int64_t extent) {
  if (extent >= kMotionNetSmallest && extent % kMotionNetMultiple == 0) return;
  const int64_t below = std::max(kMotionNetSmallest, extent / kMotionNetMultiple * kMotionNetMultiple);
  const std::string near =
      extent < kMotionNetSmallest
          ? std::to_string(kMotionNetSmallest) + " is the smallest"
          : "near are " + std::to_string(below) + " and " + std::to_string(below + kMotionNetMultiple);
  fail(ErrorKind::usage, {what, "a multiple of 32, at least 64", std::to_string(extent), near});
}

MotionNetFlows motionnet(Graph& g, ParamStore& params, Value images, const MotionNetOptions& options) {
  const Shape in = g.shape(images);
  if (in.rank() != 4 || options.frames < 2 || in[3] != 3 * options.frames) {
    fail(ErrorKind::usage,
         {"motionnet", "images (N,H,W," + std::to_string(3 * options.frames) + ") of at least 2 frames",
          in.to_string(), ""});
  }
  check_motionnet_extent("height", in[1]);
  check_motionnet_extent("width", in[2]);
  const int64_t heads = 2 * (options.frames - 1);
  Builder b(g, params, options);
  MotionNetFlows result;
  auto set = [&](int level, Value flow) { result.flows[static_cast<size_t>(level - kFinestLevel)] = flow; };

  // Encoder: conv<l> halves the size, conv<l>_1 keeps it.
  const Value conv1 = b.conv_leaky("conv1_1", b.conv_leaky("conv1", images, 64), 64);
  const Value conv2 = b.conv_leaky("conv2_1", b.conv_leaky("conv2", conv1, 128, 2), 128);
  const Value conv3 = b.conv_leaky("conv3_1", b.conv_leaky("conv3", conv2, 256, 2), 256);
  const Value conv4 = b.conv_leaky("conv4_1", b.conv_leaky("conv4", conv3, 512, 2), 512);
  const Value conv5 = b.conv_leaky("conv5_1", b.conv_leaky("conv5", conv4, 512, 2), 512);
  const Value conv6 = b.conv_leaky("conv6_1", b.conv_leaky("conv6", conv5, 1024, 2), 1024);

  // Decoder: each level joins the encoder's features, the upsampled ones and the upsampled flow.
  Value features = conv6, flow = b.conv("conv_pr6", conv6, heads);
  set(6, flow);
  const std::array<Value, 4> skips{conv2, conv3, conv4, conv5};
  const std::array<int64_t, 4> widths{64, 128, 256, 512};
  for (int level = 5; level >= kFinestLevel; --level) {
    const auto k = static_cast<size_t>(level - kFinestLevel);
    const std::string l = std::to_string(level);
    const Value up = b.deconv_leaky("deconv" + l, features, widths[k]);
    const Value up_flow = b.deconv("upsample_flow" + std::to_string(level + 1) + "to" + l, flow, heads);
    features = b.conv("smooth_conv" + l, b.join(level, {skips[k], up, up_flow}), b.width(widths[k]));
    flow = b.conv("conv_pr" + l, features, heads);
    set(level, flow);
  }
  return result;
}

}  // namespace millrace
