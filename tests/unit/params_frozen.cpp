// Parameters that do not train: they have no gradients, no moments and no backward pass, stay as they are to
// the bit, and files do not tell. And rules of --freeze and --lr-mult by patterns of names.
#include "tests/unit/frozen_net.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Contains;

namespace {

const std::vector<ParamRule> kFreeze = {{"motionnet.*", 0}};

std::vector<std::string> names_of(const FlatLayout& layout) {
  std::vector<std::string> names;
  for (const FlatSlice& slice : layout.slices) names.push_back(slice.name);
  return names;
}

std::string bytes_of(const std::filesystem::path& path) { return read_file(path.string(), 1 << 24); }

// Parameters a.weight, a.bias (which the net itself freezes), b.weight and b.bias under rules.
struct Small {
  Graph g;
  ParamStore store;
  std::unique_ptr<Device> device = make_device("cpu");
  State state{*device};

  explicit Small(std::vector<ParamRule> rules) {
    store.set_rules(std::move(rules));
    store.parameter(g, "a.weight", {3, 2, 2, 5}, {.stddev = 1, .lr_mult = .5});
    store.parameter(g, "a.bias", {70}, {.lr_mult = 0});
    store.parameter(g, "b.weight", {4, 6}, {.stddev = 1});
    store.parameter(g, "b.bias", {4}, {.lr_mult = 2, .decay_mult = 0});
  }
  void start() { store.initialise(state, Dtype::f32, 9); }
  std::vector<double> rates() {
    start();
    std::vector<double> rates;
    for (const FlatSlice& slice : store.layout().slices)
      rates.push_back(
          to_double(state.at(kMultipliers))[static_cast<size_t>(slice.offset / kUpdateBlock * 2)]);
    return rates;
  }
};

}  // namespace

TEST_CASE("a frozen net under one that trains stays as it is, and its head has the gradient of the whole") {
  const auto kind = GENERATE(OptimizerKind::sgd, OptimizerKind::adam);
  const int64_t accumulate = GENERATE(1, 3);
  check_frozen_motionnet("cpu", Precision::fp32,
                         {.kind = kind, .weight_decay = 1e-3, .accumulate = accumulate});
}

TEST_CASE("the emulated bf16 step of a frozen net under one that trains") {
  check_frozen_motionnet("cpu", Precision::bf16, {.kind = OptimizerKind::sgd, .weight_decay = 1e-3});
}

TEST_CASE("a frozen layer in the middle is gone through, and has no gradient of its own") {
  StackedRun run("cpu", Precision::fp32, {{"temporal.conv1_1.*", 0}}, {.kind = OptimizerKind::sgd});
  StackedRun whole("cpu", Precision::fp32, {}, {.kind = OptimizerKind::sgd});
  run.step(0);
  whole.step(0);
  const auto gradient = run.values(kGrads), all = whole.values(kGrads);
  CHECK(gradient.size() + 2 == all.size());
  for (const auto& [name, values] : gradient) {
    INFO(name);
    CHECK(values == all.at(name));
  }
  const auto count = [&](const StackedRun& r, const char* op) {
    return std::count_if(r.plans[0].steps.begin(), r.plans[0].steps.end(), [&](const PlanStep& step) {
      return step.op->name() == op && step.name.starts_with("temporal/");
    });
  };
  CHECK(count(whole, "conv2d_dw") == 1);
  CHECK(count(run, "conv2d_dw") == 0);
  CHECK(count(run, "conv2d_dx") == 1);
}

TEST_CASE("where all is frozen there is nothing to train, which is told when the step is built") {
  for (const bool micro : {false, true}) {
    ParamStore params;
    params.set_rules({{"*", 0}});
    StackedLoss net = stacked_loss(params);
    const auto build = [&] {
      if (micro)
        first_micro_step(net.g, net.loss, params.layout());
      else
        train_step(net.g, net.loss, params.layout(), {});
    };
    CHECK_THAT(message_of(build), Contains("nothing trains") && Contains("--freeze"));
    try {
      build();
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
    }
  }
}

TEST_CASE("a frozen parameter lies in a buffer of its own, without multipliers") {
  Small net({{"b.*", 0}, {"b.bias", 3}});
  CHECK(names_of(net.store.layout()) == std::vector<std::string>{"a.weight", "b.bias"});
  CHECK(names_of(net.store.frozen()) == std::vector<std::string>{"a.bias", "b.weight"});
  CHECK(net.store.names() == std::vector<std::string>{"a.weight", "a.bias", "b.weight", "b.bias"});
  CHECK(net.store.frozen().slices[1].offset == 128);
  CHECK(net.store.frozen().total == 192);
  CHECK(net.store.layout().total == 128);
  CHECK(net.store.count() == 60 + 70 + 24 + 4);
  CHECK(net.store.trained_count() == 60 + 4);
  CHECK(net.store.is_frozen("b.weight"));
  CHECK(!net.store.is_frozen("b.bias"));
  CHECK_THAT(message_of([&] { net.store.is_frozen("b"); }), Contains("a parameter 'b'"));
  const Value b = net.store.parameter(net.g, "b.weight", {4, 6}, {});
  CHECK(net.g.info(b).state->buffer == kFrozen);
  CHECK(net.g.info(b).state->offset == 128);
  CHECK(net.rates() == std::vector<double>{.5, 6});
  CHECK(net.state.at(kMultipliers).count() == 4);
  CHECK(net.state.at(kFrozen).count() == 192);
  CHECK(net.state.at(kParams).count() == 128);

  Small none({{"a.bias", 1}});  // the net's own 0 is not undone by a factor
  CHECK(none.store.is_frozen("a.bias"));
  Graph g;
  ParamStore trained;
  trained.parameter(g, "w", {4}, {});
  State state(*none.device);
  trained.initialise(state, Dtype::f32, 1);
  CHECK(!state.has(kFrozen));
}

TEST_CASE("a file does not tell what was frozen, and is loaded whatever is") {
  const TemporaryFolder folder;
  Small frozen({{"b.*", 0}}), other({{"a.*", 0}}), all({{"*", 0}}), third({});
  for (Small* net : {&frozen, &other, &all}) {
    net->start();
    const auto path = folder / std::to_string(net->store.frozen().total);
    net->store.save(path, net->state, {{kParams, ""}}, {{"step", "1"}});
    CHECK(bytes_of(path) == bytes_of(folder / std::to_string(frozen.store.frozen().total)));
  }
  third.store.initialise(third.state, Dtype::f32, 10);
  const auto path = folder / std::to_string(all.store.frozen().total);
  third.store.load(SafetensorsReader(path), third.state, {{kParams, ""}});
  third.store.save(folder / "again", third.state, {{kParams, ""}}, {{"step", "1"}});
  CHECK(bytes_of(folder / "again") == bytes_of(path));

  // A buffer that is too short for the frozen ones is refused.
  State small(*third.device);
  small.create(kParams, Dtype::f32, 1024);
  small.create(kFrozen, Dtype::f32, 64);
  CHECK_THAT(message_of([&] {
               frozen.store.load(SafetensorsReader(path), small, {{kParams, ""}});
             }),
             Contains("state frozen"));
}

TEST_CASE("moments of what is frozen now, in the state of an older run, are left alone") {
  const TemporaryFolder folder;
  Small before({}), now({{"b.*", 0}});
  for (Small* net : {&before, &now}) {
    net->start();
    net->state.create("velocity", Dtype::f32, net->store.layout().total);
  }
  const std::vector<float> ones(static_cast<size_t>(before.store.layout().total), 1);
  before.state.write("velocity", 0, std::ssize(ones), ones.data());
  before.store.save(folder / "state", before.state, {{"velocity", "velocity/"}}, {});
  now.store.load(SafetensorsReader(folder / "state"), now.state, {{"velocity", "velocity/"}});
  const std::vector<double> velocity = to_double(now.state.at("velocity"));
  REQUIRE(velocity.size() == 64);
  for (size_t k = 0; k < 64; ++k) CHECK(velocity[k] == (k < 60 ? 1 : 0));
  // The other way round some are missing.
  now.store.save(folder / "state", now.state, {{"velocity", "velocity/"}}, {});
  CHECK(SafetensorsReader(folder / "state").tensors().size() == 1);
  CHECK_THAT(
      message_of([&] {
        before.store.load(SafetensorsReader(folder / "state"), before.state, {{"velocity", "velocity/"}});
      }),
      Contains("a tensor 'velocity/b.weight'"));
}

TEST_CASE("of rules the last that matches counts, as a factor of the net's own") {
  CHECK(Small({}).rates() == std::vector<double>{.5, 1, 2});
  CHECK(Small({{"*", .1}}).rates() == std::vector<double>{.5 * .1f, .1f, .2f});
  CHECK(Small({{"*.bias", 10}, {"?.weight", 4}}).rates() == std::vector<double>{2, 4, 20});
  CHECK(Small({{"*", 0}, {"[bc].*", 2}}).rates() == std::vector<double>{2, 4});
  CHECK(Small({{"[bc].*", 2}, {"b.weight", 0}}).rates() == std::vector<double>{.5, 4});
  CHECK(Small({{"[!b].weight", 0}}).rates() == std::vector<double>{1, 2});

  const std::vector<ParamRule> rules = {{"temporal.conv[1-3]*", 0}, {"motionnet.*", .5}};
  CHECK(rule_factor(rules, "temporal.conv3_2.weight") == 0);
  CHECK(rule_factor(rules, "temporal.conv4_1.weight") == 1);
  CHECK(rule_factor(rules, "motionnet.conv_pr2.bias") == .5);
  CHECK(rule_factor(rules, "spatial.motionnet.x") == 1);
}

TEST_CASE("a pattern that matches nothing is an error that names what is near") {
  const auto message = [](const std::string& pattern) {
    return message_of([&] {
      Small net({{"*", 1}, {pattern, 0}});
      net.start();
    });
  };
  CHECK_THAT(message("b.wieght"), Contains("pattern 'b.wieght'") && Contains("Near are b.weight"));
  CHECK_THAT(message("c.*"), Contains("none of 4") && Contains("Near are"));
  CHECK_THAT(message("*.bais"), Contains("Near are a.bias, b.bias"));
  CHECK_THAT(message("[xy].bias"), Contains("Near are a.bias, b.bias"));
  CHECK_THAT(message(""), Contains("Near are"));
  CHECK_THAT(message("["), Contains("Near are"));
  CHECK(message("a.bias") == "no error");
  try {
    Small({{"z", 0}}).start();
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::usage);
  }
  const std::vector<std::string> names = {"motionnet.conv1.weight", "temporal.conv1_1.weight",
                                          "temporal.conv1_2.weight", "temporal.fc8.bias"};
  CHECK_THAT(message_of([&] {
               check_patterns({{"temporal.cnov1_*", 0}}, names);
             }),
             Contains("Near are temporal.conv1_1.weight, temporal.conv1_2.weight"));
  CHECK_THAT(message_of([&] {
               check_patterns({{"motinnet.*", 0}}, names);
             }),
             Contains("Near are motionnet.conv1.weight"));
}

TEST_CASE("factors that mean nothing, and rules that come too late, are refused") {
  for (const double factor : {-1., std::nan(""), HUGE_VAL})
    CHECK_THAT(message_of([&] { Small({{"a*", factor}}); }), Contains("'a*'") && Contains("a number from 0"));
  Small net({});
  CHECK_THAT(message_of([&] { net.store.set_rules({}); }), Contains("4 parameters"));
}

TEST_CASE("values from anywhere, of some parameters only, frozen ones too") {
  Small net({{"b.weight", 0}});
  net.start();
  const TemporaryFolder folder;
  net.store.save(folder / "before", net.state, {{kParams, ""}}, {});
  std::map<std::string, ParamStore::Values> sources;
  for (const char* name : {"a.weight", "b.weight"}) {
    sources[name] = [](int64_t first, std::span<double> values) {
      for (size_t k = 0; k < values.size(); ++k)
        values[k] = static_cast<double>(first) + static_cast<double>(k);
    };
  }
  CHECK(net.store.file_shape("a.weight") == std::vector<int64_t>{3, 5, 2, 2});
  net.store.load(sources, net.state);
  net.store.save(folder / "after", net.state, {{kParams, ""}}, {});
  const SafetensorsReader before(folder / "before"), after(folder / "after");
  for (const std::string& name : net.store.names()) {
    INFO(name);
    std::vector<float> was(static_cast<size_t>(before.entry(name).count())), is(was.size());
    before.read(name, std::span(was));
    after.read(name, std::span(is));
    if (sources.count(name) == 0) {
      CHECK(is == was);
      continue;
    }
    for (size_t k = 0; k < is.size(); ++k) CHECK(is[k] == static_cast<float>(k));
  }
  sources["c"] = sources.begin()->second;
  CHECK_THAT(message_of([&] { net.store.load(sources, net.state); }), Contains("a parameter 'c'"));
}
