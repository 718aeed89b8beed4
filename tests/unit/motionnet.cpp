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

TEST_CASE("MotionNet has the paper's number of parameters") {
  CHECK(Net({1, 64, 64, 33}, {.frames = 11}).params.count() == 42319860);
}

TEST_CASE("MotionNet's forward arithmetic is 20.05 GMAC for a 224x224 clip") {
  Net net({1, 224, 224, 33}, {.frames = 11});
  double flop = 0;
  for (const Node& node : net.g.nodes()) {
    std::vector<Spec> in, out;
    for (Value v : node.in) in.push_back(net.g.spec(v));
    for (Value v : node.out) out.push_back(net.g.spec(v));
    if (node.op->name() == Conv2d::kName || node.op->name() == Conv2dDx::kName)
      flop += node.op->cost(in, out).flop;
  }
  CHECK(flop / 2e9 == Approx(20.05390).epsilon(1e-5));
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
  Net net({1, 64, 64, 33}, {.frames = 11, .channels = .5});
  auto device = make_device("cpu");
  State state(*device);
  net.params.initialise(state, Dtype::f32, 7);
  for (const FlatSlice& slice : net.params.layout().slices) {
    std::vector<float> values(static_cast<size_t>(slice.shape.count()));
    state.read(kParams, slice.offset, slice.shape.count(), values.data());
    double sum = 0, squares = 0;
    for (float v : values) {
      sum += v;
      squares += double(v) * v;
    }
    INFO(slice.name);
    const auto n = static_cast<double>(values.size());
    const bool deconvolution = slice.shape.rank() == 4 && slice.shape[1] == 4;
    if (slice.shape.rank() == 4) {
      const int64_t fan_in = deconvolution ? slice.shape[3] * 16 : slice.shape[3] * 9;
      const double expected = std::sqrt(2.0 / static_cast<double>(fan_in));
      CHECK(std::sqrt(squares / n) == Approx(expected).epsilon(5 / std::sqrt(n)));
      CHECK(std::abs(sum / n) < 5 * expected / std::sqrt(n));
    } else {
      CHECK(squares == 0);
    }
    float row[2];
    state.read(kMultipliers, slice.offset / kUpdateBlock * 2, 2, row);
    const bool bias = slice.shape.rank() == 1;
    const bool of_deconvolution =
        slice.name.find("deconv") != std::string::npos || slice.name.find("upsample") != std::string::npos;
    CHECK(row[0] == (bias && of_deconvolution ? 0 : 1));
    CHECK(row[1] == (bias || of_deconvolution ? 0 : 1));
  }
}

TEST_CASE("sizes that do not fit are refused with the near ones") {
  CHECK_THROWS_WITH(check_motionnet_extent("--height", 100), Catch::Contains("96 and 128"));
  CHECK_THROWS_WITH(check_motionnet_extent("--height", 32), Catch::Contains("64 is the smallest"));
  CHECK_THROWS_WITH(check_motionnet_extent("--height", -32), Catch::Contains("64 is the smallest"));
  CHECK_NOTHROW(check_motionnet_extent("--height", 64));
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

}  // namespace millrace
