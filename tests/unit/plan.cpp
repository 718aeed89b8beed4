// Plans of random graphs against an independent judge, and planned runs against each value in memory of its
// own.
#include "core/plan.h"

#include <cstring>

#include "core/passes.h"
#include "core/session.h"
#include "layers/conv2d.h"
#include "tests/catch.h"
#include "tests/unit/plan_checker.h"
#include "tests/unit/random_graph.h"

namespace millrace {
namespace {

using test::Buffers;

constexpr uint64_t kSeeds = 400;

int nodes_of(uint64_t seed) { return 3 + static_cast<int>(seed % 40); }

Graph rewritten(const Graph& g) { return fuse_nodes(remove_dead_nodes(join_equal_nodes(g))); }

bool same_bits(const std::vector<float>& a, const float* b) {
  return a.empty() || std::memcmp(a.data(), b, a.size() * sizeof(float)) == 0;
}

// Three steps by the plan, with everything dead poisoned; what differs from the reference, if anything.
std::string difference(const test::RandomGraph& random, const PlanOptions& options, uint64_t seed) {
  const auto device = make_device("cpu");
  State state(*device);
  Buffers expected_state = test::random_state(random.state_counts, seed);
  for (const auto& [name, values] : expected_state) {
    state.create(name, Dtype::f32, static_cast<int64_t>(values.size()));
    state.write(name, 0, static_cast<int64_t>(values.size()), values.data());
  }
  Session session(make_plan(random.graph, options), state, {.arena = nullptr, .poison = true});
  for (uint64_t step = 0; step < 3; ++step) {
    const Buffers inputs = test::random_inputs(random.graph, seed + 100 * step);
    for (const auto& [name, values] : inputs) session.set(name, values);
    session.run();
    const test::Reference expected = test::run_reference(random.graph, inputs, expected_state);
    for (const auto& [name, values] : expected.outputs)
      if (!same_bits(values, session.output(name).as<float>())) return "output " + name;
    for (const auto& [name, values] : expected.state)
      if (!same_bits(values, state.at(name).as<float>())) return "state " + name;
    expected_state = expected.state;
  }
  return {};
}

Graph conv_net() {
  Graph g;
  Value x = g.input("x", {1, 9, 8, 3});
  for (int64_t k = 0; k < 3; ++k) {
    const int64_t in = g.shape(x)[3], out = 8 + k;
    const Value w = g.state({"w", k * 4096}, {out, 3, 3, in}), b = g.state({"b", k * 64}, {out});
    x = leaky_relu(g, conv2d(g, x, w, b, {.stride = 1, .pad = 1}));
  }
  g.output("y", x);
  return g;
}

}  // namespace

TEST_CASE("on random graphs no value lies over another that is still needed") {
  size_t shared = 0, copied = 0, in_place = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const test::RandomGraph random = test::random_graph(seed, nodes_of(seed));
    for (const Graph& g : {random.graph, rewritten(random.graph)}) {
      const Plan plan = make_plan(g, {.rewrite = false});
      INFO("seed " << seed << "\n" << plan.to_string());
      REQUIRE(test::plan_complaints(g, plan) == std::vector<std::string>{});
      size_t values = 0;
      for (const Place& p : plan.places) values += p.where == Place::Where::arena;
      shared += values - plan.buffers.size();
      copied += plan.steps.size() - g.nodes().size();
      in_place += g.updates().size() - (plan.steps.size() - g.nodes().size());
    }
  }
  // The graphs have what is to be judged.
  CHECK(shared > kSeeds);
  CHECK(copied > kSeeds / 4);
  CHECK(in_place > kSeeds / 4);
}

TEST_CASE("a poisoned planned run of random graphs is the unplanned run to the last bit") {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const test::RandomGraph random = test::random_graph(seed, nodes_of(seed));
    INFO("seed " << seed);
    REQUIRE(difference(random, {.rewrite = false}, seed) == "");
    REQUIRE(difference(random, {.rewrite = true}, seed) == "");
  }
}

TEST_CASE("workspaces lie apart from all that is live") {
  const Graph g = rewritten(conv_net());
  const Plan plan = make_plan(g, {.rewrite = false});
  CHECK(test::plan_complaints(planned_graph(g, {.rewrite = false}), plan) == std::vector<std::string>{});
}

TEST_CASE("the judge of plans sees what is wrong with one") {
  Graph g;
  const Value x = g.input("x", {64}), s = g.state({"s", 0}, {64}), t = g.state({"t", 0}, {64});
  const Value a = scale(g, x, 2), b = scale(g, x, 3), c = add(g, a, b);
  g.output("c", c);
  g.update(s, scale(g, c, 2));
  const Plan right = make_plan(g, {.rewrite = false});
  REQUIRE(test::plan_complaints(g, right).empty());

  SECTION("two live values in one place") {
    Plan wrong = right;
    wrong.places[static_cast<size_t>(b.id)] = wrong.places[static_cast<size_t>(a.id)];
    CHECK(!test::plan_complaints(g, wrong).empty());
  }
  SECTION("a part of a value over another") {
    Plan wrong = right;
    wrong.places[static_cast<size_t>(b.id)].offset = wrong.places[static_cast<size_t>(a.id)].offset + 128;
    CHECK(!test::plan_complaints(g, wrong).empty());
  }
  SECTION("a value outside of the arena") {
    Plan wrong = right;
    wrong.places[static_cast<size_t>(c.id)].offset += wrong.arena_bytes;
    CHECK(!test::plan_complaints(g, wrong).empty());
  }
  SECTION("a value in the State that is no update") {
    Plan wrong = right;
    wrong.places[static_cast<size_t>(a.id)] = wrong.places[static_cast<size_t>(t.id)];
    CHECK(!test::plan_complaints(g, wrong).empty());
  }
  SECTION("an update that is not made") {
    Plan wrong = right;
    wrong.places[static_cast<size_t>(g.updates()[0].next.id)] = wrong.places[static_cast<size_t>(c.id)];
    CHECK(!test::plan_complaints(g, wrong).empty());
  }
}

TEST_CASE("equal graphs have equal plans, and what decides the result is in the fingerprint") {
  struct Choice {
    double factor = 2;
    int64_t channels = 4, state_offset = 0;
    std::string output = "y", buffer = "s", input = "x";
    bool swapped = false, update = true;
  };
  auto fingerprint = [](const Choice& c) {
    Graph g;
    const Value x = g.input(c.input, {1, 2, 3, c.channels}),
                s = g.state({c.buffer, c.state_offset}, {1, 2, 3, c.channels});
    const Value scaled = scale(g, x, c.factor);
    const Value y = c.swapped ? sub(g, s, scaled) : sub(g, scaled, s);
    g.output(c.output, y);
    if (c.update) g.update(s, y);
    return make_plan(g).fingerprint();
  };
  const std::string plain = fingerprint({});
  CHECK(plain == fingerprint({}));
  CHECK(plain != fingerprint({.factor = 2.0000000000000004}));
  CHECK(plain != fingerprint({.channels = 5}));
  CHECK(plain != fingerprint({.state_offset = 64}));
  CHECK(plain != fingerprint({.output = "z"}));
  CHECK(plain != fingerprint({.buffer = "t"}));
  CHECK(plain != fingerprint({.input = "z"}));
  CHECK(plain != fingerprint({.swapped = true}));
  CHECK(plain != fingerprint({.update = false}));

  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Plan a = make_plan(test::random_graph(seed, 25).graph),
               b = make_plan(test::random_graph(seed, 25).graph);
    CHECK(a.to_string() == b.to_string());
    CHECK(a.fingerprint() != make_plan(test::random_graph(seed + 1000, 25).graph).fingerprint());
  }
}

TEST_CASE("the fingerprint names the version of each kernel") {
  const Graph g = conv_net();
  const Plan plain = make_plan(g, {.versions = {{"conv2d", "plain"}}});
  for (const PlanStep& s : plain.steps) CHECK(s.kernel->version == "plain");
  const Plan chosen = make_plan(g);
  if (chosen.steps[0].kernel->version == "plain") {
    WARN("skipped: no other version of conv2d in this build");
  } else {
    CHECK(chosen.fingerprint() != plain.fingerprint());
  }
}

TEST_CASE("a node without a kernel is an error that names op, device and node") {
  Graph g;
  {
    Graph::Scope scope(g, "net");
    g.output("y", scale(g, g.input("x", {2}), 2));
  }
  auto message = [&](const PlanOptions& options) -> std::string {
    try {
      make_plan(g, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK_THAT(message({.device = "abacus"}), Catch::Contains("net/scale") && Catch::Contains("'scale'") &&
                                                Catch::Contains("abacus") && Catch::Contains("f32"));
  CHECK_THAT(message({.versions = {{"scale", "fast"}}}), Catch::Contains("version 'fast'"));
  CHECK(message({.versions = {{"scale", "plain"}}}) == "no error");
}

TEST_CASE("the sums of a plan") {
  Graph g;
  const Value x = g.input("x", {1, 2, 3, 4}), s = g.state({"s", 64}, {1, 2, 3, 4});
  const Value y = add(g, x, s);
  g.output("y", y);
  g.update(s, scale(g, y, 2));
  const Plan plan = make_plan(g);
  CHECK(plan.input_bytes == 24 * 4);
  CHECK(plan.state.at("s") == Spec{{64 + 24}, Dtype::f32});
  CHECK(plan.arena_bytes == kAlignment);  // y; the other is made in the State
  CHECK(plan.bound_bytes == 24 * 4);
  CHECK(plan.values_bytes == 2 * kAlignment);
  CHECK_THAT(plan.to_string(), Catch::Contains("arena+0") && Catch::Contains("s+256") &&
                                   Catch::Contains("2 nodes on cpu") && Catch::Contains(plan.fingerprint()));
}

TEST_CASE("graphs without nodes, and without elements") {
  Graph empty;
  const Plan nothing = make_plan(empty);
  CHECK(nothing.steps.empty());
  CHECK(nothing.arena_bytes == 0);

  for (int64_t zero_axis = 0; zero_axis < 3; ++zero_axis) {
    auto shape = [&](int64_t channels) {
      return Shape{zero_axis == 0 ? 0 : 1, zero_axis == 1 ? 0 : 2, zero_axis == 2 ? 0 : 3, channels};
    };
    Graph g;
    const Value x = g.input("x", shape(2)), s = g.state({"s", 0}, shape(4));
    const Value y =
        concat(g, {leaky_relu(g, scale(g, x, 2)), slice_channels(g, add(g, x, x), {.begin = 1, .count = 1})});
    const Value packed = pack(g, std::vector{y, copy(g, x)}, {.total = 100, .offsets = {0, 64}});
    g.output("y", y);
    g.output("packed", packed);
    g.output("zeros", fill(g, shape(3), 0));
    g.update(s, sub(g, s, scale(g, s, 2)));
    const Plan plan = make_plan(g);
    INFO("axis " << zero_axis << "\n" << plan.to_string());
    const Graph after = rewritten(g);
    CHECK(test::plan_complaints(after, make_plan(after, {.rewrite = false})).empty());
    const auto device = make_device("cpu");
    State state(*device);
    Session session(plan, state, {.arena = nullptr, .poison = true});
    session.set("x", std::vector<float>(static_cast<size_t>(g.shape(x).count()), 1.f));
    session.run();
    CHECK(!session.run_checked());
    CHECK(session.get("y").empty());
    CHECK(session.get("packed") == std::vector<double>(100, 0.0));
  }
}

}  // namespace millrace
