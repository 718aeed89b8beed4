#include "nets/motionnet.h"

#include "core/session.h"
#include "layers/conv2d.h"
#include "tests/catch.h"

namespace millrace {
namespace {

struct Net {
  Graph g;
  ParamStore params;
  MotionNetFlows flows;

  Net(const Shape& images, const MotionNetOptions& options, Dtype real = Dtype::f32) : g(real) {
    flows = motionnet(g, params, g.input("images", images), options);
  }
};

}  // namespace

struct Variant {
  const char* name;
  MotionNetOptions options;
  int64_t parameters;
  double gmac;  // forward, for 11 frames of 224x224
};

// Counted from the layer table (docs/motionnet.md) by a script that knows nothing of this code.
const std::vector<Variant> kVariants{
    {"full", {}, 42319860, 20.05390},
    {"no front", {.small_displacement = false}, 42367412, 18.54862},
    {"no smooth_conv", {.smooth_conv = false}, 38924148, 17.44773},
    {"neither", {.small_displacement = false, .smooth_conv = false}, 38971700, 15.94245},
    {"tiny", {.kind = MotionNetKind::tiny}, 1950308, 12.78545},
    {"tiny, no smooth_conv", {.kind = MotionNetKind::tiny, .smooth_conv = false}, 1721540, 11.17043}};

// Parameters that train, and those that do not.
struct Home {
  const char* buffer;
  FlatSlice slice;
};
std::vector<Home> homes_of(const ParamStore& params) {
  std::vector<Home> homes;
  for (const FlatSlice& slice : params.layout().slices) homes.push_back({kParams, slice});
  for (const FlatSlice& slice : params.frozen().slices) homes.push_back({kFrozen, slice});
  return homes;
}

std::map<std::string, Shape> shapes_of(const ParamStore& params) {
  std::map<std::string, Shape> shapes;
  for (const Home& home : homes_of(params)) shapes[home.slice.name] = home.slice.shape;
  return shapes;
}

TEST_CASE("MotionNet, its ablations and Tiny MotionNet have their numbers of parameters") {
  for (const Variant& v : kVariants) {
    INFO(v.name);
    CHECK(Net({1, 64, 64, 33}, v.options).params.count() == v.parameters);
  }
}

TEST_CASE("without the small-displacement front conv1 is 7x7 with stride 2, and conv2 keeps the size") {
  const Shape images{1, 64, 96, 33};
  const Net full(images, {}), net(images, {.small_displacement = false});
  std::map<std::string, Shape> expected = shapes_of(full.params);
  expected.erase("motionnet.conv1_1.weight");
  expected.erase("motionnet.conv1_1.bias");
  expected["motionnet.conv1.weight"] = {64, 7, 7, 33};
  CHECK(shapes_of(net.params) == expected);
  for (int level = kFinestLevel; level <= kCoarsestLevel; ++level)
    CHECK(net.g.shape(net.flows.at(level)) == full.g.shape(full.flows.at(level)));
}

TEST_CASE("without smooth_conv the flow head and the next deconvolution read the concatenation") {
  const Net net({1, 64, 64, 33}, {.smooth_conv = false});
  std::map<std::string, Shape> expected = shapes_of(Net({1, 64, 64, 33}, {}).params);
  const std::map<int, int64_t> concatenated{{5, 1044}, {4, 788}, {3, 404}, {2, 212}};
  for (const auto& [level, channels] : concatenated) {
    const std::string l = std::to_string(level);
    expected.erase("motionnet.smooth_conv" + l + ".weight");
    expected.erase("motionnet.smooth_conv" + l + ".bias");
    expected["motionnet.conv_pr" + l + ".weight"] = {20, 3, 3, channels};
    if (level > 2)
      expected["motionnet.deconv" + std::to_string(level - 1) + ".weight"] = {channels, 4, 4,
                                                                              64 << (level - 3)};
  }
  CHECK(shapes_of(net.params) == expected);
}

TEST_CASE("Tiny MotionNet has the layers of its table") {
  const Net net({1, 40, 24, 33}, {.kind = MotionNetKind::tiny});
  const std::map<std::string, Shape> weights{{"conv1", {64, 7, 7, 33}},
                                             {"conv2", {128, 5, 5, 64}},
                                             {"conv3", {256, 3, 3, 128}},
                                             {"conv4", {128, 3, 3, 256}},
                                             {"conv_pr4", {20, 3, 3, 128}},
                                             {"deconv3", {128, 4, 4, 128}},
                                             {"smooth_conv3", {128, 3, 3, 404}},
                                             {"conv_pr3", {20, 3, 3, 128}},
                                             {"deconv2", {128, 4, 4, 64}},
                                             {"smooth_conv2", {64, 3, 3, 212}},
                                             {"conv_pr2", {20, 3, 3, 64}},
                                             {"upsample_flow4to3", {20, 4, 4, 20}},
                                             {"upsample_flow3to2", {20, 4, 4, 20}}};
  const std::map<std::string, Shape> shapes = shapes_of(net.params);
  CHECK(shapes.size() == 2 * weights.size());
  for (const auto& [layer, shape] : weights) {
    INFO(layer);
    REQUIRE(shapes.count("motionnet." + layer + ".weight"));
    CHECK(shapes.at("motionnet." + layer + ".weight") == shape);
  }
  CHECK(net.flows.coarsest == 4);
  REQUIRE(net.flows.all().size() == 3);
  for (int level = 2; level <= 4; ++level) {
    const int64_t factor = int64_t{1} << (level - 1);
    CHECK(net.g.shape(net.flows.at(level)) == Shape{1, 40 / factor, 24 / factor, 20});
    CHECK(net.flows.all()[static_cast<size_t>(level - 2)] == net.flows.at(level));
  }
  CHECK_THROWS_WITH(Net({1, 64, 64, 33}, {.kind = MotionNetKind::tiny, .small_displacement = false}),
                    Catch::Contains("no such front"));
}

TEST_CASE("the forward arithmetic of each variant is as counted, 20.05 GMAC in full") {
  for (const Variant& v : kVariants) {
    const Net net({1, 224, 224, 33}, v.options);
    double flop = 0;
    for (const Node& node : net.g.nodes()) {
      std::vector<Spec> in, out;
      for (Value x : node.in) in.push_back(net.g.spec(x));
      for (Value x : node.out) out.push_back(net.g.spec(x));
      if (node.op->name() == Conv2d::kName || node.op->name() == Conv2dDx::kName)
        flop += node.op->cost(in, out).flop;
    }
    INFO(v.name);
    CHECK(flop / 2e9 == Approx(v.gmac).epsilon(1e-6));
  }
}

TEST_CASE("MotionNet's flows halve from level to level at every size") {
  for (auto [height, width] : {std::pair<int64_t, int64_t>{64, 64}, {96, 160}, {224, 224}}) {
    Net net({2, height, width, 6}, {.frames = 2, .channels = .125});
    for (int level = kFinestLevel; level <= kCoarsestLevel; ++level) {
      const int64_t factor = int64_t{1} << (level - 1);
      CHECK(net.g.shape(net.flows.at(level)) == Shape{2, height / factor, width / factor, 2});
    }
  }
}

TEST_CASE("flow scales are those of the reference") {
  CHECK(level_scale(6) == .625);
  CHECK(level_scale(5) == 1.25);
  CHECK(level_scale(4) == 2.5);
  CHECK(level_scale(3) == 5);
  CHECK(level_scale(2) == 10);
}

TEST_CASE("MotionNet starts with Caffe's msra deviations, zero biases and the authors' multipliers") {
  const auto kind = GENERATE(MotionNetKind::full, MotionNetKind::tiny);
  Net net({1, 64, 64, 33}, {.frames = 11, .channels = .5, .kind = kind});
  auto device = make_device("cpu");
  State state(*device);
  net.params.initialise(state, Dtype::f32, 7);
  for (const auto& [buffer, slice] : homes_of(net.params)) {
    std::vector<float> values(static_cast<size_t>(slice.shape.count()));
    state.read(buffer, slice.offset, slice.shape.count(), values.data());
    double sum = 0, squares = 0;
    for (float v : values) {
      sum += v;
      squares += double(v) * v;
    }
    INFO(slice.name);
    const auto n = static_cast<double>(values.size());
    if (slice.shape.rank() == 4) {
      const int64_t fan_in = slice.shape[3] * slice.shape[1] * slice.shape[2];  // of a deconvolution too
      const double expected = std::sqrt(2.0 / static_cast<double>(fan_in));
      CHECK(std::sqrt(squares / n) == Approx(expected).epsilon(5 / std::sqrt(n)));
      CHECK(std::abs(sum / n) < 5 * expected / std::sqrt(n));
    } else {
      CHECK(squares == 0);
    }
    const bool bias = slice.shape.rank() == 1;
    const bool of_deconvolution =
        slice.name.find("deconv") != std::string::npos || slice.name.find("upsample") != std::string::npos;
    const bool frozen = buffer == std::string_view(kFrozen);
    CHECK(frozen == (bias && of_deconvolution));
    if (frozen) continue;
    float row[2];
    state.read(kMultipliers, slice.offset / kUpdateBlock * 2, 2, row);
    CHECK(row[0] == 1);
    CHECK(row[1] == (bias || of_deconvolution ? 0 : 1));
  }
}

TEST_CASE("sizes that do not fit are refused with the near ones") {
  CHECK_THROWS_WITH(check_motionnet_extent("--height", 100), Catch::Contains("96 and 128"));
  CHECK_THROWS_WITH(check_motionnet_extent("--height", 32), Catch::Contains("64 is the smallest"));
  CHECK_THROWS_WITH(check_motionnet_extent("--height", -32), Catch::Contains("64 is the smallest"));
  CHECK_NOTHROW(check_motionnet_extent("--height", 64));
  const auto tiny = MotionNetKind::tiny;
  CHECK_THROWS_WITH(check_motionnet_extent("--height", 100, tiny), Catch::Contains("96 and 104"));
  CHECK_THROWS_WITH(check_motionnet_extent("--height", 8, tiny), Catch::Contains("16 is the smallest"));
  CHECK_NOTHROW(check_motionnet_extent("--height", 16, tiny));
  CHECK_THROWS_AS(Net({1, 64, 64, 9}, {.frames = 2}), Error);
}

TEST_CASE("a float and a double MotionNet agree") {
  auto device = make_device("cpu");
  std::vector<std::vector<double>> results;
  for (Dtype real : {Dtype::f64, Dtype::f32}) {
    Net net({1, 64, 96, 6}, {.frames = 2, .channels = .125}, real);
    net.g.output("flow2", net.flows.at(2));
    net.g.output("flow6", net.flows.at(6));
    State state(*device);
    net.params.initialise(state, real, 3);
    Session session(make_plan(net.g), state);
    std::vector<double> images(64 * 96 * 6);
    Random random(1);
    for (double& v : images) v = static_cast<float>(random.uniform(-.5, .5));
    if (real == Dtype::f64)
      session.set("images", images);
    else
      session.set("images", std::vector<float>(images.begin(), images.end()));
    session.run();
    results.push_back(session.get("flow2"));
    results.push_back(session.get("flow6"));
  }
  for (int k : {0, 1}) {
    double error = 0, norm = 0;
    for (size_t e = 0; e < results[k].size(); ++e) {
      error += std::pow(results[k][e] - results[k + 2][e], 2);
      norm += std::pow(results[k][e], 2);
    }
    CHECK(norm > 0);
    CHECK(std::sqrt(error / norm) < 1e-5);
  }
}

// L = sum of r flow over all levels, with random r. Along the gradient g the slope of L is |g|^2.
TEST_CASE("the gradient of each variant agrees with central differences") {
  auto device = make_device("cpu");
  for (const Variant& v : kVariants) {
    INFO(v.name);
    MotionNetOptions options = v.options;
    options.frames = 2;
    options.channels = .03125;
    Net net({1, 64, 64, 6}, options, Dtype::f64);
    std::vector<Value> seeds, weights;
    for (Value flow : net.flows.all())
      seeds.push_back(net.g.input("r" + std::to_string(seeds.size()), net.g.shape(flow)));
    const std::vector<Home> homes = homes_of(net.params);
    for (const auto& [buffer, slice] : homes)
      weights.push_back(net.params.parameter(net.g, slice.name, slice.shape, {}));
    const std::vector<Value> d = gradients(net.g, net.flows.all(), seeds, weights);
    for (size_t k = 0; k < d.size(); ++k) net.g.output("d" + std::to_string(k), d[k]);
    for (size_t k = 0; k < seeds.size(); ++k) net.g.output("flow" + std::to_string(k), net.flows.all()[k]);

    State state(*device);
    net.params.initialise(state, Dtype::f64, 5);
    Session session(make_plan(net.g), state, {.arena = nullptr, .poison = true});
    Random random(3);
    const auto fill = [&](const std::string& name, Value value) {
      std::vector<double> values(static_cast<size_t>(net.g.shape(value).count()));
      for (double& x : values) x = random.uniform(-1, 1);
      session.set(name, values);
      return values;
    };
    fill("images", net.g.inputs().at("images"));
    std::vector<std::vector<double>> r;
    for (size_t k = 0; k < seeds.size(); ++k) r.push_back(fill("r" + std::to_string(k), seeds[k]));
    session.run();
    double squares = 0;
    std::vector<std::vector<double>> gradient, start;
    for (size_t k = 0; k < d.size(); ++k) {
      const auto& [buffer, slice] = homes[k];
      gradient.push_back(session.get("d" + std::to_string(k)));
      double own = 0;
      for (double x : gradient[k]) own += x * x;
      INFO(slice.name);
      CHECK(own > 0);  // every parameter has a part in the flows
      squares += own;
      start.emplace_back(gradient[k].size());
      state.read(buffer, slice.offset, slice.shape.count(), start[k].data());
    }
    const auto loss_at = [&](double h) {
      for (size_t k = 0; k < d.size(); ++k) {
        std::vector<double> moved = start[k];
        for (size_t e = 0; e < moved.size(); ++e) moved[e] += h * gradient[k][e];
        const auto& [buffer, slice] = homes[k];
        state.write(buffer, slice.offset, slice.shape.count(), moved.data());
      }
      session.run();
      double loss = 0;
      for (size_t k = 0; k < r.size(); ++k) {
        const std::vector<double> flow = session.get("flow" + std::to_string(k));
        for (size_t e = 0; e < flow.size(); ++e) loss += r[k][e] * flow[e];
      }
      return loss;
    };
    const double h = 1e-7 / std::sqrt(squares);
    CHECK((loss_at(h) - loss_at(-h)) / (2 * h) == Approx(squares).epsilon(1e-5));
  }
}

}  // namespace millrace
