// The streams against PyTorch: what VGG16 sees, logits, losses, each gradient and Caffe's SGD with its
// multipliers, as tests/golden/vgg16.py computed them in double from the papers and the authors' layers.
#include <map>

#include "apps/actions/stream.h"
#include "core/add.h"
#include "losses/softmax_cross_entropy.h"
#include "nets/motion_loss.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/golden.h"

using namespace millrace;
using namespace millrace::test;

namespace {

struct Setting {
  std::string name;
  int64_t batch, classes;
  StreamSpec spec;  // without the names of its classes
  bool joint = false, sgd = false;
};

// Where the unsupervised losses train along: SSIM a tenth of what it is without, n_ref the authors' batch.
MotionLossOptions end_to_end(const StreamSpec& spec) {
  MotionLossOptions options{.frames = clip_frames(spec), .n_ref = 8};
  for (double& weight : options.ssim_weights) weight /= 10;
  return options;
}

Setting stacked(const std::string& name, bool joint = false, bool replicate_and_quantise = false) {
  return {.name = name,
          .batch = 2,
          .classes = 5,
          .spec = {.kind = StreamKind::stacked,
                   .input = {64, 96},
                   .channels = 1. / 16,
                   .flows = 2,
                   .quantise = replicate_and_quantise,
                   .replicate = replicate_and_quantise,
                   .motionnet = {.frames = 3, .channels = .125}},
          .joint = joint,
          .sgd = joint};
}

Setting temporal(const std::string& name, int64_t batch, int64_t classes, Size size, int64_t flows,
                 double channels) {
  return {.name = name,
          .batch = batch,
          .classes = classes,
          .spec = {.kind = StreamKind::temporal, .input = size, .channels = channels, .flows = flows},
          .sgd = name == "temporal"};
}

const Setting kSpatial{.name = "spatial",
                       .batch = 2,
                       .classes = 5,
                       .spec = {.kind = StreamKind::spatial, .input = {32, 64}, .channels = 1. / 16}};

using Results = std::map<std::string, Numbers>;

// Flows of the finest level are three times as large as made_parameter makes them, so that some are clipped;
// the last layer is small, so that the softmax is not all 0 and 1.
Numbers parameter_of(const FlatSlice& slice) {
  Numbers values = made_parameter(slice);
  const auto is = [&](const char* part) { return slice.name.find(part) != std::string::npos; };
  const double factor = is("conv_pr2") ? 3 : is("fc8.weight") ? 0x1p-7 : 1;
  for (double& v : values) v *= factor;
  return values;
}

std::vector<uint8_t> clip_of(const Setting& c) {
  const StreamSpec& s = c.spec;
  if (s.kind != StreamKind::temporal)
    return made_clips({c.batch, s.input.height, s.input.width, clip_frames(s)});
  const Bits bits("flow pairs");
  std::vector<uint8_t> pairs(static_cast<size_t>(clip_spec(s, c.batch).shape.count()));
  for (size_t k = 0; k < pairs.size(); ++k) pairs[k] = static_cast<uint8_t>(bits(k) >> 56);
  return pairs;
}

struct Net {
  Graph graph;
  ParamStore params;
  OptimizerOptions sgd{.kind = OptimizerKind::sgd, .momentum = .9, .weight_decay = 5e-4};

  Net(const Setting& c, const StreamSpec& spec, Dtype real) : graph(real) {
    Graph& g = graph;
    const Value labels = g.input("labels", Spec{{c.batch}, Dtype::i32});
    const StreamTraining training{.dropout_at = {}, .dropout6 = 0, .dropout7 = 0, .lr_mult = 1000};
    const StreamValues v = stream(g, params, g.input("clip", clip_spec(spec, c.batch)), spec, training);
    const Value action = softmax_cross_entropy(g, v.logits, labels).loss;
    const Value loss =
        c.joint ? add(g, action, motion_loss(g, v.images, *v.flows, end_to_end(spec)).loss) : action;
    g.output("input", v.input);
    g.output("logits", v.logits);
    g.output("action", action);
    g.output("loss", loss);
    // The file has the gradient of biases that do not train too.
    std::vector<Value> frozen;
    for (const FlatSlice& slice : params.frozen().slices)
      frozen.push_back(params.parameter(g, slice.name, slice.shape, {}));
    const std::vector<Value> d = gradients(g, loss, frozen);
    for (size_t k = 0; k < d.size(); ++k) g.output("gradient/" + g.info(frozen[k]).name, d[k]);
    train_step(g, loss, params.layout(), sgd);
  }
};

// What the engine makes of a case: all that the file has of it.
Results evaluate(const Setting& c, Dtype real) {
  StreamSpec spec = c.spec;
  for (int64_t k = 0; k < c.classes; ++k) spec.classes.push_back("class " + std::to_string(k));
  Net net(c, spec, real);
  const auto device = make_device("cpu");
  State state(*device);
  net.params.initialise(state, real, 1);  // the multipliers; the values are replaced
  Session session(make_plan(net.graph), state, {.arena = nullptr, .poison = true});
  for (const FlatSlice& slice : net.params.layout().slices) {
    write_slice(state, kParams, slice, parameter_of(slice));
    write_slice(state, "velocity", slice, made_moment(slice, 1));
  }
  for (const FlatSlice& slice : net.params.frozen().slices)
    write_slice(state, kFrozen, slice, parameter_of(slice));
  std::vector<int32_t> labels;
  for (int64_t n = 0; n < c.batch; ++n) labels.push_back(static_cast<int32_t>((3 * n + 1) % c.classes));
  session.set("labels", labels);
  session.set("clip", clip_of(c));
  session.set_scalar("rate", update_rate(net.sgd, 1e-6, 1));
  session.run();

  Results results;
  for (const char* name : {"logits", "action", "loss"}) results[name] = session.get(name);
  results["input"] = channels_first(session.get("input"), session.output("input").shape);
  for (const FlatSlice& slice : net.params.layout().slices) {
    results["gradient/" + slice.name] = read_slice(state, kGrads, slice);
    if (!c.sgd) continue;
    Numbers update = read_slice(state, kParams, slice);
    const Numbers before = parameter_of(slice);
    for (size_t k = 0; k < update.size(); ++k) update[k] -= before[k];
    results["sgd/" + slice.name] = std::move(update);
  }
  for (const FlatSlice& slice : net.params.frozen().slices) {
    results["gradient/" + slice.name] = session.get("gradient/" + slice.name);
    CHECK(read_slice(state, kFrozen, slice) == parameter_of(slice));
    if (c.sgd) results["sgd/" + slice.name] = Numbers(static_cast<size_t>(slice.shape.count()));
  }
  return results;
}

void require_golden(const Setting& c, const Results& results) {
  const GoldenFile file("vgg16.safetensors");
  const std::vector<std::string> names = file.names(c.name);
  REQUIRE(names.size() == results.size());
  for (const std::string& name : names) {
    INFO(c.name << "/" << name);
    CHECK(file.difference(c.name, name, results.at(name)) <= 1e-9);
  }
}

}  // namespace

TEST_CASE("in double a spatial stream's logits, loss, gradients and SGD step are PyTorch's") {
  require_golden(kSpatial, evaluate(kSpatial, Dtype::f64));
}

TEST_CASE("in double those of temporal streams of 64 x 32, and of 10 flows of 224 x 224, are PyTorch's") {
  for (const Setting& c :
       {temporal("temporal", 3, 7, {64, 32}, 3, 1. / 16), temporal("clip", 1, 101, {224, 224}, 10, .125)})
    require_golden(c, evaluate(c, Dtype::f64));
}

TEST_CASE("in double a stacked stream's gradients of the action loss are PyTorch's, MotionNet's too") {
  require_golden(stacked("action"), evaluate(stacked("action"), Dtype::f64));
}

TEST_CASE("in double a stacked stream's gradients of action and unsupervised losses together are PyTorch's") {
  require_golden(stacked("joint", true), evaluate(stacked("joint", true), Dtype::f64));
}

TEST_CASE("in double those with quantised flow and its border continued are PyTorch's") {
  const Setting c = stacked("replicate", false, true);
  require_golden(c, evaluate(c, Dtype::f64));
}

TEST_CASE("in float the streams are near double") {
  for (const Setting& c : {kSpatial, stacked("joint", true)}) {
    const Results exact = evaluate(c, Dtype::f64), single = evaluate(c, Dtype::f32);
    REQUIRE(single.size() == exact.size());
    for (const auto& [name, want] : exact) {
      INFO(c.name << "/" << name);
      // ReLUs and maxima of pools whose inputs are near each other take the other side in float.
      const bool derived = name.find('/') != std::string::npos;
      CHECK(relative_l2(single.at(name), want) <= (derived ? 5e-3 : 1e-4));
    }
  }
}
