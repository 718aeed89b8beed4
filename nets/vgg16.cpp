#include "nets/vgg16.h"

#include <algorithm>
#include <cmath>

#include "layers/conv2d.h"
#include "layers/dropout.h"
#include "layers/leaky_relu.h"
#include "layers/linear.h"
#include "layers/max_pool.h"

namespace millrace {
namespace {

struct Group {
  int layers;
  int64_t out;  // channels at full width
};
constexpr Group kGroups[] = {{2, 64}, {2, 128}, {3, 256}, {3, 512}, {3, 512}};
constexpr int64_t kHidden = 4096;  // of fc6 and fc7

class Builder {
 public:
  Builder(Graph& g, ParamStore& params, const Vgg16Options& options) : g_(g), params_(params), o_(options) {}

  int64_t width(int64_t full) const {
    return std::max<int64_t>(1, std::llround(static_cast<double>(full) * o_.channels));
  }

  Value conv(const std::string& name, Value x, int64_t out) {
    Graph::Scope scope(g_, o_.scope + "/" + name);
    const int64_t in = g_.shape(x)[3];
    const Value w = weight(name, {out, 3, 3, in}, {.stddev = msra(in * 9), .lr_mult = o_.lr_mult});
    return relu(conv2d(g_, x, w, bias(name, out), {.stride = 1, .pad = 1}));
  }

  Value pool(const std::string& name, Value x) {
    Graph::Scope scope(g_, o_.scope + "/" + name);
    return max_pool(g_, x);  // 2x2, stride 2
  }

  Value hidden(const std::string& name, Value x, double dropped) {
    const Value y = full(name, x, width(kHidden), msra(inputs(x)));
    Graph::Scope scope(g_, o_.scope + "/" + name);
    const Value rectified = relu(y);
    if (dropped == 0) return rectified;
    return dropout(g_, rectified, o_.dropout->at, {.ratio = dropped, .stream = o_.scope + "." + name});
  }

  Value full(const std::string& name, Value x, int64_t out, double stddev) {
    Graph::Scope scope(g_, o_.scope + "/" + name);
    const Shape in = g_.shape(x);
    const bool image = in.rank() == 4;
    const Shape shape = image ? Shape{out, in[1], in[2], in[3]} : Shape{out, in[1]};
    const Value w = weight(name, shape, {.stddev = stddev, .lr_mult = o_.lr_mult, .flat = image});
    return linear(g_, x, w, bias(name, out));
  }

 private:
  int64_t inputs(Value x) const { return g_.shape(x).count() / g_.shape(x)[0]; }
  Value relu(Value x) { return leaky_relu(g_, x, {.slope = 0}); }
  Value weight(const std::string& layer, Shape shape, const ParamOptions& options) {
    return params_.parameter(g_, o_.scope + "." + layer + ".weight", shape, options);
  }
  Value bias(const std::string& layer, int64_t out) {
    return params_.parameter(g_, o_.scope + "." + layer + ".bias", {out},
                             {.lr_mult = 2 * o_.lr_mult, .decay_mult = 0});
  }

  Graph& g_;
  ParamStore& params_;
  const Vgg16Options& o_;
};

void check(const Shape& in, const Vgg16Options& o) {
  const bool fits =
      in.rank() == 4 && in[1] > 0 && in[2] > 0 && in[1] % kVgg16Multiple == 0 && in[2] % kVgg16Multiple == 0;
  if (!fits)
    fail(ErrorKind::usage,
         {o.scope + ": vgg16",
          "images (N,H,W,C) whose height and width are multiples of " + std::to_string(kVgg16Multiple),
          in.to_string(), "224 x 224 is the usual size"});
  if (o.classes < 1)
    fail(ErrorKind::usage, {o.scope + ": classes", "at least 1", std::to_string(o.classes), ""});
  if (!(o.channels > 0))
    fail(ErrorKind::usage, {o.scope + ": channels", "a factor above 0", std::to_string(o.channels), ""});
}

}  // namespace

Value vgg16(Graph& g, ParamStore& params, Value images, const Vgg16Options& options) {
  check(g.shape(images), options);
  Builder b(g, params, options);
  Value x = images;
  for (int group = 1; group <= static_cast<int>(std::size(kGroups)); ++group) {
    const Group& layers = kGroups[group - 1];
    const std::string number = std::to_string(group);
    for (int layer = 1; layer <= layers.layers; ++layer)
      x = b.conv("conv" + number + "_" + std::to_string(layer), x, b.width(layers.out));
    x = b.pool("pool" + number, x);
  }
  x = b.hidden("fc6", x, options.dropout ? options.dropout->fc6 : 0);
  x = b.hidden("fc7", x, options.dropout ? options.dropout->fc7 : 0);
  return b.full("fc8", x, options.classes, .001);
}

}  // namespace millrace
