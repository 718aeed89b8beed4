#include "nets/motionnet.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "layers/bias.h"
#include "layers/concat.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"

namespace millrace {
namespace {

struct Window {
  int64_t kernel = 3, stride = 1;
};

struct EncoderLayer {
  std::string name;
  int64_t out;  // channels at full width
  Window window = {};
};

// All that the variants of the net differ in, but for smooth_conv: the decoder follows from the encoder.
std::vector<EncoderLayer> encoder(const MotionNetOptions& o) {
  if (o.kind == MotionNetKind::tiny)
    return {{"conv1", 64, {7, 1}}, {"conv2", 128, {5, 2}}, {"conv3", 256, {3, 2}}, {"conv4", 128, {3, 2}}};
  std::vector<EncoderLayer> layers;
  if (o.small_displacement)
    layers = {{"conv1", 64}, {"conv1_1", 64}, {"conv2", 128, {3, 2}}};
  else
    layers = {{"conv1", 64, {7, 2}}, {"conv2", 128}};
  layers.insert(layers.end(), {{"conv2_1", 128},
                               {"conv3", 256, {3, 2}},
                               {"conv3_1", 256},
                               {"conv4", 512, {3, 2}},
                               {"conv4_1", 512},
                               {"conv5", 512, {3, 2}},
                               {"conv5_1", 512},
                               {"conv6", 1024, {3, 2}},
                               {"conv6_1", 1024}});
  return layers;
}

class Builder {
 public:
  Builder(Graph& g, ParamStore& params, const MotionNetOptions& options)
      : g_(g), params_(params), o_(options) {}

  int64_t width(int64_t channels) const {
    return std::max<int64_t>(1, std::llround(static_cast<double>(channels) * o_.channels));
  }

  // Convolution with bias that keeps the size, but for the stride.
  Value conv(const std::string& name, Value x, int64_t out, Window window = {}) {
    Graph::Scope scope(g_, o_.scope + "/" + name);
    const int64_t in = g_.shape(x)[3], k = window.kernel;
    const Value w =
        params_.parameter(g_, path(name, "weight"), {out, k, k, in}, {.stddev = msra(in * k * k)});
    const Value b = params_.parameter(g_, path(name, "bias"), {out}, {.decay_mult = 0});
    return conv2d(g_, x, w, b, {.stride = window.stride, .pad = k / 2});
  }

  Value conv_leaky(const EncoderLayer& layer, Value x) {
    const Value y = conv(layer.name, x, width(layer.out), layer.window);
    Graph::Scope scope(g_, o_.scope + "/" + layer.name);
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

void check_motionnet_extent(const std::string& what, int64_t extent, MotionNetKind kind) {
  const auto [multiple, smallest] = motionnet_extents(kind);
  if (extent >= smallest && extent % multiple == 0) return;
  const int64_t below = extent / multiple * multiple;
  const std::string near =
      extent < smallest ? std::to_string(smallest) + " is the smallest"
                        : "near are " + std::to_string(below) + " and " + std::to_string(below + multiple);
  fail(ErrorKind::usage,
       {what, "a multiple of " + std::to_string(multiple) + ", at least " + std::to_string(smallest),
        std::to_string(extent), near});
}

MotionNetFlows motionnet(Graph& g, ParamStore& params, Value images, const MotionNetOptions& options) {
  const Shape in = g.shape(images);
  if (in.rank() != 4 || options.frames < 2 || in[3] != 3 * options.frames) {
    fail(ErrorKind::usage,
         {"motionnet", "images (N,H,W," + std::to_string(3 * options.frames) + ") of at least 2 frames",
          in.to_string(), ""});
  }
  if (options.kind == MotionNetKind::tiny && !options.small_displacement) {
    fail(ErrorKind::usage, {"motionnet", "the full net where the small-displacement front is left out",
                            "Tiny MotionNet", "it has no such front"});
  }
  check_motionnet_extent("height", in[1], options.kind);
  check_motionnet_extent("width", in[2], options.kind);
  const int64_t heads = 2 * (options.frames - 1);
  Builder b(g, params, options);
  MotionNetFlows flows{.coarsest = coarsest_level(options.kind), .flows = {}};

  // Each stride of 2 begins a level, whose features are those of its last layer.
  std::map<int, Value> features;
  Value x = images;
  int level = 1;
  for (const EncoderLayer& layer : encoder(options)) {
    x = b.conv_leaky(layer, x);
    if (layer.window.stride == 2) ++level;
    features[level] = x;
  }

  // Decoder: each level joins the encoder's features, the upsampled ones and the upsampled flow.
  flows.at(level) = b.conv("conv_pr" + std::to_string(level), x, heads);
  while (--level >= kFinestLevel) {
    const std::string l = std::to_string(level), above = std::to_string(level + 1);
    const int64_t width = int64_t{64} << (level - kFinestLevel);
    const Value up = b.deconv_leaky("deconv" + l, x, width);
    const Value up_flow = b.deconv("upsample_flow" + above + "to" + l, flows.at(level + 1), heads);
    x = b.join(level, {features.at(level), up, up_flow});
    if (options.smooth_conv) x = b.conv("smooth_conv" + l, x, b.width(width));
    flows.at(level) = b.conv("conv_pr" + l, x, heads);
  }
  return flows;
}

}  // namespace millrace
