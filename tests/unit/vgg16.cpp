#include "nets/vgg16.h"

#include "core/session.h"
#include "layers/conv2d.h"
#include "layers/dropout.h"
#include "layers/linear.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using namespace millrace::test;

namespace {

struct Net {
  Graph g;
  ParamStore params;
  Value logits;

  Net(const Shape& images, const Vgg16Options& options, Dtype real = Dtype::f32) : g(real) {
    logits = vgg16(g, params, g.input("images", images), options);
  }

  int64_t nodes_of(const std::string& op) const {
    return std::count_if(g.nodes().begin(), g.nodes().end(),
                         [&](const Node& node) { return node.op->name() == op; });
  }
};

// 1/64 of the widths: 1, 2, 4, 8 and 8 channels, 64 hidden ones.
constexpr double kNarrow = 1. / 64;

std::map<std::string, Shape> shapes_of(const ParamStore& params) {
  std::map<std::string, Shape> shapes;
  for (const FlatSlice& slice : params.layout().slices) shapes[slice.name] = slice.shape;
  return shapes;
}

}  // namespace

TEST_CASE("VGG16 has its numbers of parameters for flows and images, 101 and 51 classes") {
  CHECK(Net({1, 224, 224, 20}, {.classes = 101}).params.count() == 134684133);
  CHECK(Net({1, 224, 224, 20}, {.classes = 51}).params.count() == 134479283);
  CHECK(Net({1, 224, 224, 3}, {.classes = 101}).params.count() == 134674341);
  CHECK(Net({1, 224, 224, 3}, {.classes = 1000}).params.count() == 138357544);  // torchvision's vgg16
}

TEST_CASE("VGG16 has the layers of configuration D, under its scope") {
  const Net net({2, 64, 96, 6}, {.scope = "temporal", .classes = 5});
  std::map<std::string, Shape> expected;
  int64_t in = 6;
  for (const auto& [layer, out] : std::vector<std::pair<std::string, int64_t>>{{"conv1_1", 64},
                                                                               {"conv1_2", 64},
                                                                               {"conv2_1", 128},
                                                                               {"conv2_2", 128},
                                                                               {"conv3_1", 256},
                                                                               {"conv3_2", 256},
                                                                               {"conv3_3", 256},
                                                                               {"conv4_1", 512},
                                                                               {"conv4_2", 512},
                                                                               {"conv4_3", 512},
                                                                               {"conv5_1", 512},
                                                                               {"conv5_2", 512},
                                                                               {"conv5_3", 512}}) {
    expected["temporal." + layer + ".weight"] = {out, 3, 3, in};
    expected["temporal." + layer + ".bias"] = {out};
    in = out;
  }
  expected["temporal.fc6.weight"] = {4096, 2, 3, 512};
  expected["temporal.fc7.weight"] = {4096, 4096};
  expected["temporal.fc8.weight"] = {5, 4096};
  expected["temporal.fc6.bias"] = expected["temporal.fc7.bias"] = {4096};
  expected["temporal.fc8.bias"] = {5};
  CHECK(shapes_of(net.params) == expected);
  CHECK(net.g.shape(net.logits) == Shape{2, 5});
  CHECK(net.nodes_of("max_pool") == 5);
  CHECK(net.nodes_of("leaky_relu") == 15);
  CHECK(net.nodes_of(Dropout::kName) == 0);
}

TEST_CASE("the forward arithmetic of the temporal VGG16 is as counted, 15.96 GMAC") {
  const Net net({1, 224, 224, 20}, {});
  double flop = 0;
  for (const Node& node : net.g.nodes()) {
    std::vector<Spec> in, out;
    for (Value x : node.in) in.push_back(net.g.spec(x));
    for (Value x : node.out) out.push_back(net.g.spec(x));
    if (node.op->name() == Conv2d::kName || node.op->name() == Linear::kName)
      flop += node.op->cost(in, out).flop;
  }
  CHECK(flop / 2e9 == Approx(15.96).epsilon(1e-3));
}

TEST_CASE("a factor narrows every width but the classes'") {
  const Net net({1, 32, 32, 3}, {.classes = 7, .channels = kNarrow});
  const std::map<std::string, Shape> shapes = shapes_of(net.params);
  CHECK(shapes.at("spatial.conv1_1.weight") == Shape{1, 3, 3, 3});
  CHECK(shapes.at("spatial.conv5_3.weight") == Shape{8, 3, 3, 8});
  CHECK(shapes.at("spatial.fc6.weight") == Shape{64, 1, 1, 8});
  CHECK(shapes.at("spatial.fc8.weight") == Shape{7, 64});
}

TEST_CASE("VGG16 starts with msra deviations, .001 in fc8, zero biases and Caffe's multipliers") {
  const Net net({1, 64, 64, 20}, {.classes = 9, .channels = .125, .lr_mult = 1000});
  const auto device = make_device("cpu");
  State state(*device);
  net.params.initialise(state, Dtype::f32, 5);
  for (const FlatSlice& slice : net.params.layout().slices) {
    INFO(slice.name);
    std::vector<float> values(static_cast<size_t>(slice.shape.count()));
    state.read(kParams, slice.offset, slice.shape.count(), values.data());
    double squares = 0;
    for (const float v : values) squares += double(v) * v;
    const bool bias = slice.shape.rank() == 1, last = slice.name.find("fc8") != std::string::npos;
    const auto n = static_cast<double>(values.size());
    const double fan_in = n / static_cast<double>(slice.shape[0]);
    const double expected = last ? .001 : std::sqrt(2 / fan_in);
    if (bias)
      CHECK(squares == 0);
    else
      CHECK(std::sqrt(squares / n) == Approx(expected).epsilon(5 / std::sqrt(n)));
    float row[2];
    state.read(kMultipliers, slice.offset / kUpdateBlock * 2, 2, row);
    CHECK(row[0] == (bias ? 2000 : 1000));
    CHECK(row[1] == (bias ? 0 : 1));
  }
}

TEST_CASE("dropout stands behind fc6 and fc7 of a graph that trains, each with its own mask") {
  Graph g;
  ParamStore params;
  const Value at = g.input("at", Spec{{2}, Dtype::i64}), images = g.input("images", {2, 32, 32, 3});
  vgg16(g, params, images, {.classes = 4, .channels = kNarrow, .dropout = {{.at = at}}});
  std::map<std::string, double> ratios;
  for (const Node& node : g.nodes()) {
    if (const auto* op = dynamic_cast<const Dropout*>(node.op.get()))
      ratios[op->attrs.stream] = op->attrs.ratio;
  }
  CHECK(ratios == std::map<std::string, double>{{"spatial.fc6", .9}, {"spatial.fc7", .8}});

  Graph none;
  ParamStore same;
  vgg16(none, same, none.input("images", {2, 32, 32, 3}),
        {.classes = 4,
         .channels = kNarrow,
         .dropout = {{.at = none.input("at", Spec{{2}, Dtype::i64}), .fc6 = 0, .fc7 = 0}}});
  CHECK(std::none_of(none.nodes().begin(), none.nodes().end(),
                     [](const Node& node) { return node.op->name() == Dropout::kName; }));
}

TEST_CASE("VGG16 refuses sizes that are no multiples of 32, no classes and no channels") {
  for (const Shape& images : {Shape{1, 0, 32, 3}, Shape{1, 32, 33, 3}, Shape{1, 112, 64, 3}, Shape{1, 32}})
    CHECK(message_of([&] { Net(images, {}); }).find("multiples of 32") != std::string::npos);
  CHECK_THROWS_WITH(Net({1, 32, 32, 3}, {.classes = 0}), Catch::Contains("at least 1"));
  CHECK_THROWS_WITH(Net({1, 32, 32, 3}, {.channels = 0}), Catch::Contains("above 0"));
}

TEST_CASE("weights of another size of image are refused by the name of fc6, with both shapes") {
  const TemporaryFolder folder;
  const auto device = make_device("cpu");
  const Vgg16Options options{.classes = 3, .channels = kNarrow};
  {
    const Net net({1, 64, 64, 3}, options);
    State state(*device);
    net.params.initialise(state, Dtype::f32, 1);
    net.params.save(folder / "vgg", state, {{kParams, ""}}, {});
  }
  const Net net({1, 96, 64, 3}, options);
  State state(*device);
  net.params.initialise(state, Dtype::f32, 1);
  const std::string message = message_of([&] {
    net.params.load(SafetensorsReader(folder / "vgg"), state, {{kParams, ""}});
  });
  for (const char* part : {"spatial.fc6.weight", "(64,48)", "(64,32)"}) {
    INFO(message);
    CHECK(message.find(part) != std::string::npos);
  }
}
