// Kernel choices: their keys and files, what the planner makes of them, and the choice by measuring.
#include "core/kernel_choice.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <limits>
#include <thread>

#include "core/plan.h"
#include "core/session.h"
#include "layers/conv2d.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

struct FactorAttrs {
  double factor = 1;
  template <class V> void visit(V v) const { v("factor", factor); }
};

// y = factor x, under a name for each test, so that each has versions of its own.
template <int n> struct Times : OpBase<Times<n>, FactorAttrs> {
  static constexpr const char* kNames[] = {"times0", "times1", "times2", "times3", "times4"};
  static constexpr const char* kName = kNames[n];
  using OpBase<Times<n>, FactorAttrs>::OpBase;
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
};

std::atomic<int> slow_runs, quick_runs, hopeless_runs_on_large;
std::atomic<bool> was_zero;
constexpr int64_t kSmall = 64, kLarge = 64 * 1000;

template <int n> void quick(const KernelArgs& a) {
  ++quick_runs;
  const double factor = a.attrs<Times<n>>().factor;
  for (int64_t k = 0; k < a.in[0].count(); ++k)
    a.out[0].as<float>()[k] = static_cast<float>(factor * a.in[0].as<float>()[k]);
}
template <int n> void slow(const KernelArgs& a) {
  ++slow_runs;
  was_zero = was_zero || a.in[0].as<float>()[0] == 0;
  std::this_thread::sleep_for(20ms);
  quick<n>(a);
}
// Time in proportion to size: 5 ms, or 5 s.
template <int n> void hopeless(const KernelArgs& a) {
  if (a.in[0].count() > kSmall) ++hopeless_runs_on_large;
  std::this_thread::sleep_for(5ms * (a.in[0].count() / kSmall));
  quick<n>(a);
}
std::optional<Prepared> never(const Op&, std::span<const Spec>, std::span<const Spec>) { return {}; }

struct Version {
  const char* name;
  KernelFn run;
  int preference;
  PrepareFn prepare = nullptr;
  bool repeatable = true;
};

void add_versions(const char* op, std::initializer_list<Version> versions) {
  for (const Version& v : versions) {
    Registry::mutable_registry().add_kernel({.op = op,
                                             .device = "cpu",
                                             .version = v.name,
                                             .run = v.run,
                                             .prepare = v.prepare,
                                             .preference = v.preference,
                                             .repeatable = v.repeatable});
  }
}

// y = factor x, for each factor and length in turn; all of them outputs.
template <int n> Graph times_graph(const std::vector<std::pair<double, int64_t>>& nodes) {
  Graph g;
  for (const auto& [factor, count] : nodes) {
    const std::string name = std::to_string(count);
    const Value x = g.inputs().count(name) ? g.inputs().at(name) : g.input(name, Shape{count});
    g.output("y" + std::to_string(g.outputs().size()), g.add1(make_op<Times<n>>(FactorAttrs{factor}), {x}));
  }
  return g;
}

std::vector<std::string> versions_of(const Plan& plan) {
  std::vector<std::string> versions;
  for (const PlanStep& step : plan.steps) versions.push_back(step.kernel->version);
  return versions;
}

using Names = std::vector<std::string>;

KernelKey key_of(const Op& op, const std::vector<Spec>& in, const std::vector<Spec>& out) {
  return {kernel_environment("cpu"), kernel_node(op, in, out)};
}

Error error_of(const std::string& text) {
  try {
    KernelChoices::from_json(text, "kernels.json");
  } catch (const Error& e) {
    return e;
  }
  FAIL("accepted: " << text);
  throw 0;
}

}  // namespace

TEST_CASE("a key says all that speed depends on, in fixed words") {
  const Conv2d op({.stride = 2, .pad = 1});
  const std::vector<Spec> in{{{1, 8, 8, 3}, Dtype::f32}, {{4, 3, 3, 3}, Dtype::f32}},
      out{{{1, 4, 4, 4}, Dtype::f32}};
  const std::string text = kernel_node(op, in, out);
  // Files of choices hold this text: a change of it forgets them all.
  CHECK(text == "conv2d{" + op.attributes() + "} f32(1,8,8,3) f32(4,3,3,3) -> f32(1,4,4,4)");
  CHECK(kernel_node(op, in, out) == text);
  CHECK(kernel_node(Conv2d({.stride = 1, .pad = 1}), in, out) != text);
  std::vector<Spec> other = in;
  other[0].dtype = Dtype::f64;
  CHECK(kernel_node(op, other, out) != text);
  other = in;
  other[0].shape = {1, 8, 3, 8};
  CHECK(kernel_node(op, other, out) != text);
  CHECK(kernel_environment("cpu") == kernel_environment("cpu"));
  CHECK_THAT(kernel_environment("cpu"), Contains("cpu: ") && Contains(" threads; "));
}

TEST_CASE("choices come back from their file") {
  const test::TemporaryFolder folder;
  KernelChoices choices;
  CHECK(KernelChoices::from_json(choices.to_json(), "") == choices);
  choices.set({"cpu: a", "conv2d{x=1} f32(1) -> f32(1)"}, "onednn");
  choices.set({"cpu: a", "conv2d{x=2} f32(1) -> f32(1)"}, "plain");
  choices.set({"cpu: \"b\"\n\\", "conv2d{x=1} f32(1) -> f32(1)"}, "onednn-nhwc");
  choices.save(folder / "kernels.json");
  const KernelChoices loaded = KernelChoices::load(folder / "kernels.json");
  CHECK(loaded == choices);
  CHECK(loaded.to_json() == choices.to_json());
  REQUIRE(loaded.find({"cpu: a", "conv2d{x=2} f32(1) -> f32(1)"}));
  CHECK(*loaded.find({"cpu: a", "conv2d{x=2} f32(1) -> f32(1)"}) == "plain");
  CHECK(loaded.find({"cpu: c", "conv2d{x=2} f32(1) -> f32(1)"}) == nullptr);

  KernelChoices other;
  other.set({"cpu: a", "conv2d{x=1} f32(1) -> f32(1)"}, "newer");
  other.merge(choices);
  CHECK(other == choices);
}

TEST_CASE("broken files of choices are refused with their name") {
  KernelChoices choices;
  choices.set({"cpu", "conv2d"}, "onednn");
  const std::string whole = choices.to_json();
  for (size_t length = 0; length + 2 < whole.size(); ++length) {  // the last two are "}\n"
    const Error e = error_of(whole.substr(0, length));
    CHECK(e.kind() == ErrorKind::data);
    CHECK_THAT(e.what(), Contains("kernels.json"));
  }
  const std::string head = "{\"format\": \"millrace kernel choices 1\"";
  for (const std::string& text :
       {std::string("[]"), std::string("1"), std::string("null"), std::string("{}"), head + "}",
        std::string("{\"format\": 1, \"choices\": {}}"), std::string("{\"format\": \"2\", \"choices\": {}}"),
        head + ", \"choices\": []}", head + ", \"choices\": {\"a\": []}}",
        head + ", \"choices\": {\"a\": {\"b\": 1}}}", head + ", \"choices\": {\"a\": {\"b\": {}}}}",
        head + ", \"choices\": {\"\xff\": {}}}", std::string(100000, '[')}) {
    CHECK(error_of(text).kind() == ErrorKind::data);
  }
  CHECK(KernelChoices::from_json(head + ", \"choices\": {\"a\": {}}}", "").count() == 0);

  const test::TemporaryFolder folder;
  CHECK_THROWS_WITH(KernelChoices::load(folder / "none.json"), Contains("none.json"));
  std::ofstream(folder / "large.json") << std::string((16 << 20) + 1, ' ');
  CHECK_THROWS_WITH(KernelChoices::load(folder / "large.json"), Contains("large.json"));
}

TEST_CASE("a known choice is used, a stale one is made anew") {
  add_versions("times0", {{"first", quick<0>, 2}, {"second", quick<0>, 1}, {"unable", quick<0>, 3, never}});
  const Graph g = times_graph<0>({{2, 8}, {3, 8}});
  const std::vector<Spec> spec{{{8}, Dtype::f32}};
  const KernelKey key = key_of(Times<0>({2}), spec, spec);
  const std::string heuristic = make_plan(g).fingerprint();
  CHECK(versions_of(make_plan(g)) == Names{"first", "first"});

  KernelChoices choices;
  choices.set(key, "second");
  const KernelChoices before = choices;
  const Plan plan = make_plan(g, {.choices = &choices});
  CHECK(versions_of(plan) == Names{"second", "first"});
  CHECK(plan.fingerprint() != heuristic);
  CHECK_THAT(plan.to_string(), Contains("second"));
  CHECK(make_plan(g, {.choices = &choices}).fingerprint() == plan.fingerprint());
  CHECK(versions_of(make_plan(g, {.choices = &choices, .versions = {{"times0", "first"}}})) ==
        Names{"first", "first"});

  for (const char* stale : {"gone", "unable", ""}) {
    choices.set(key, stale);
    CHECK(make_plan(g, {.choices = &choices}).fingerprint() == heuristic);
    CHECK(*choices.find(key) == stale);  // the heuristic knows nothing worth storing
  }
  choices = {};
  choices.set({"another machine", key.node}, "second");
  CHECK(make_plan(g, {.choices = &choices}).fingerprint() == heuristic);
}

TEST_CASE("measure takes the fastest version and times equal nodes once") {
  add_versions("times1", {{"slow", slow<1>, 2}, {"quick", quick<1>, 1}, {"unable", quick<1>, 3, never}});
  // Outputs of an op on two inputs of one shape are equal nodes, yet not one value.
  Graph g = times_graph<1>({{2, 8}, {5, 9}});
  g.output("again", g.add1(make_op<Times<1>>(FactorAttrs{2}), {g.input("other", Shape{8})}));
  CHECK(versions_of(make_plan(g)) == Names{"slow", "slow", "slow"});

  slow_runs = 0;
  was_zero = false;
  KernelChoices choices;
  const PlanOptions measure{.kernels = KernelPolicy::measure, .choices = &choices};
  const Plan plan = make_plan(g, measure);
  CHECK(versions_of(plan) == Names{"quick", "quick", "quick"});
  CHECK(choices.count() == 2);
  CHECK(slow_runs <= 2 * (1 + 9));
  CHECK(slow_runs >= 2);
  CHECK_FALSE(was_zero);

  slow_runs = quick_runs = 0;
  CHECK(make_plan(g, measure).fingerprint() == plan.fingerprint());
  CHECK(make_plan(g, {.choices = &choices}).fingerprint() == plan.fingerprint());
  CHECK(slow_runs + quick_runs == 0);  // all is known

  const std::vector<Spec> spec{{{8}, Dtype::f32}};
  choices.set(key_of(Times<1>({2}), spec, spec), "unable");
  CHECK(make_plan(g, measure).fingerprint() == plan.fingerprint());
  CHECK(slow_runs > 0);
  CHECK(*choices.find(key_of(Times<1>({2}), spec, spec)) == "quick");

  CHECK(versions_of(make_plan(g, {.kernels = KernelPolicy::measure})) == Names{"quick", "quick", "quick"});
}

TEST_CASE("a version without hope at a small node is not run at a large one") {
  add_versions("times2", {{"quick", quick<2>, 1}, {"hopeless", hopeless<2>, 0}});
  hopeless_runs_on_large = 0;
  const Graph g = times_graph<2>({{2, kLarge}, {2, kSmall}});
  CHECK(versions_of(make_plan(g, {.kernels = KernelPolicy::measure})) == Names{"quick", "quick"});
  CHECK(hopeless_runs_on_large == 0);
}

TEST_CASE("an op with one version is not timed") {
  add_versions("times3", {{"only", slow<3>, 1}, {"unable", quick<3>, 3, never}});
  slow_runs = quick_runs = 0;
  KernelChoices choices;
  make_plan(times_graph<3>({{2, 8}}), {.kernels = KernelPolicy::measure, .choices = &choices});
  CHECK(choices.count() == 0);
  CHECK(slow_runs + quick_runs == 0);
}

TEST_CASE("a version that is not repeatable is taken only when a plan asks for it") {
  add_versions("times4", {{"slow", slow<4>, 1}, {"loose", quick<4>, 2, nullptr, false}});
  const Graph g = times_graph<4>({{2, 8}});
  CHECK(versions_of(make_plan(g)) == Names{"slow"});
  const std::vector<Spec> spec{{{8}, Dtype::f32}};
  KernelChoices choices;
  choices.set(key_of(Times<4>({2}), spec, spec), "loose");
  CHECK(versions_of(make_plan(g, {.choices = &choices})) == Names{"slow"});
  quick_runs = 0;
  CHECK(versions_of(make_plan(g, {.kernels = KernelPolicy::measure, .choices = &choices})) == Names{"slow"});
  CHECK(quick_runs == 0);
  CHECK(versions_of(make_plan(g, {.versions = {{"times4", "loose"}}})) == Names{"loose"});
}

TEST_CASE("measured convolutions compute what the others do") {
  Graph g;
  const Value x = g.input("x", {1, 12, 12, 8}), w = g.input("w", {16, 3, 3, 8}), b = g.input("b", {16});
  g.output("y", conv2d(g, x, w, b, {.stride = 1, .pad = 1}));
  KernelChoices choices;
  const Plan measured = make_plan(g, {.kernels = KernelPolicy::measure, .choices = &choices});
  const Plan plain = make_plan(g, {.versions = {{"conv2d", "plain"}}});
  const bool several = Registry::get().kernels("conv2d", "cpu", Dtype::f32).size() > 1;
  CHECK(choices.count() == (several ? 1 : 0));
  const auto device = make_device("cpu");
  std::vector<std::vector<double>> results;
  for (const Plan& plan : {measured, plain}) {
    State state(*device);
    Session session(plan, state);
    Random random(1);
    for (const char* name : {"x", "w", "b"}) {
      std::vector<float> values(static_cast<size_t>(session.input(name).count()));
      for (float& v : values) v = static_cast<float>(random.uniform(-1, 1));
      session.set(name, values);
    }
    session.run();
    results.push_back(session.get("y"));
  }
  for (size_t k = 0; k < results[0].size(); ++k) REQUIRE(results[0][k] == Approx(results[1][k]).margin(1e-4));
}

}  // namespace millrace
