// Graphs as they are built, and the passes that rewrite them.
#include "core/graph.h"

#include <array>
#include <cstring>
#include <functional>

#include "core/passes.h"
#include "layers/conv2d.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/random_graph.h"

namespace millrace {
namespace {

using test::message_of;

const Shape kShape{1, 2, 3, 4};

std::vector<std::string> ops_of(const Graph& g) {
  std::vector<std::string> names;
  for (const Node& n : g.nodes()) names.push_back(std::string(n.op->name()) + " " + n.op->attributes());
  return names;
}
using Names = std::vector<std::string>;

// Absorbs whatever it is asked to.
struct GreedyAttrs {
  int outputs = 1;
  template <class V> void visit(V v) const { v("outputs", outputs); }
};
struct Greedy : OpBase<Greedy, GreedyAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "test_greedy";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override {
    return std::vector<Spec>(static_cast<size_t>(attrs.outputs), in[0]);
  }
  std::shared_ptr<const Op> absorb(const Op&) const override { return make_op<Greedy>(); }
};

bool same_bits(const test::Buffers& a, const test::Buffers& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, values] : a) {
    const auto other = b.find(name);
    if (other == b.end() || other->second.size() != values.size()) return false;
    if (std::memcmp(other->second.data(), values.data(), values.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a graph refuses what cannot be meant, on the line that says it") {
  Graph g;
  const Value x = g.input("x", kShape), s = g.state({"s", 0}, kShape);
  const Value y = scale(g, x, 2);
  g.output("y", y);
  CHECK_THAT(message_of([&] { g.input("x", kShape); }), Catch::Contains("'x' again"));
  CHECK_THAT(message_of([&] { g.output("y", x); }), Catch::Contains("'y' again"));
  CHECK_THAT(message_of([&] { g.output("z", Value{}); }), Catch::Contains("an empty one"));
  CHECK_THAT(message_of([&] { g.output("z", Value{1000}); }), Catch::Contains("another's"));
  CHECK_THAT(message_of([&] { scale(g, Value{}, 2); }), Catch::Contains("an empty one"));
  CHECK_THAT(message_of([&] { g.state({"s", -1}, {1}); }), Catch::Contains("offset of 0 or more"));
  {
    Graph::Scope scope(g, "net");
    Graph::Scope inner(g, "top");
    CHECK_THAT(message_of([&] { add(g, x, fill(g, {1}, 0)); }), Catch::Contains("at net/top/add"));
  }
  CHECK(message_of([&] { g.update(s, y); }) == "no error");
  CHECK_THAT(message_of([&] { g.update(x, y); }), Catch::Contains("an update of state"));
  CHECK_THAT(message_of([&] { g.update(g.state({"t", 0}, {3}), y); }), Catch::Contains("f32(3)"));
  CHECK_THAT(message_of([&] { g.update(g.state({"t", 0}, kShape), x); }), Catch::Contains("computed value"));
  CHECK_THAT(message_of([&] { g.update(s, y); }), Catch::Contains("one update of s@0"));
  CHECK_THAT(message_of([&] { g.update(g.state({"s", 23}, kShape), y); }), Catch::Contains("another of s@0"));
  CHECK(message_of([&] { g.update(g.state({"s", 24}, kShape), y); }) == "no error");
  CHECK(g.outputs().size() == 1);  // what was refused left nothing behind
  CHECK(g.updates().size() == 2);
}

TEST_CASE("state of one place and shape is one value, and another shape is another view of it") {
  Graph g;
  const Value s = g.state({"s", 0}, kShape);
  CHECK(g.state({"s", 0}, kShape) == s);
  CHECK(g.state({"s", 0}, {24}) != s);
  CHECK(g.state({"s", 1}, kShape) != s);
  CHECK(g.state({"t", 0}, kShape) != s);
}

TEST_CASE("scopes name nodes while they live") {
  Graph g;
  const Value x = g.input("x", kShape);
  Value y;
  {
    Graph::Scope a(g, "a");
    {
      Graph::Scope b(g, "b");
      y = scale(g, x, 2);
    }
    y = scale(g, y, 3);
  }
  y = scale(g, y, 4);
  CHECK(g.nodes()[0].name == "a/b/scale");
  CHECK(g.nodes()[1].name == "a/scale");
  CHECK(g.nodes()[2].name == "scale");
}

TEST_CASE("dead nodes go, and what an update needs stays") {
  test::register_test_ops();
  Graph g;
  const Value x = g.input("x", kShape), unused = g.input("unused", kShape), s = g.state({"s", 0}, kShape);
  const Value a = scale(g, x, 2);
  scale(g, scale(g, unused, 3), 4);
  g.update(s, scale(g, a, 5));
  const std::vector<Value> two = test::pair(g, x, s);
  g.output("sum", two[0]);  // the other output is dead, the node is not
  const Graph after = remove_dead_nodes(g);
  CHECK(ops_of(after) == Names{"scale factor=2", "scale factor=5", "test_pair "});
  CHECK(after.inputs().count("unused") == 1);  // may still be set
  CHECK(after.updates().size() == 1);
  Graph none;
  scale(none, none.input("x", kShape), 2);
  CHECK(remove_dead_nodes(none).nodes().empty());
}

TEST_CASE("equal nodes join, chains of them too, and others do not") {
  test::register_test_ops();
  Graph g;
  const Value x = g.input("x", kShape);
  const Value a = leaky_relu(g, scale(g, x, 2)), b = leaky_relu(g, scale(g, x, 2));
  g.output("sum", add(g, a, b));
  const Graph after = join_equal_nodes(g);
  CHECK(ops_of(after) == Names{"scale factor=2", "leaky_relu slope=0.10000000000000001", "add "});
  CHECK(after.nodes()[2].in[0] == after.nodes()[2].in[1]);

  Graph differ;
  const Value p = differ.input("p", kShape), q = differ.input("q", kShape);
  scale(differ, p, 2);
  scale(differ, q, 2);                   // another input
  scale(differ, p, 2.0000000000000004);  // another attribute
  sub(differ, p, q);
  sub(differ, q, p);  // another order
  add(differ, p, q);  // another op
  fill(differ, {2}, 1);
  fill(differ, {1, 2}, 1);  // another shape
  CHECK(join_equal_nodes(differ).nodes().size() == differ.nodes().size());

  Graph two;
  const Value m = two.input("x", kShape), n = two.input("z", kShape);
  two.output("a", test::pair(two, m, n)[0]);
  two.output("b", test::pair(two, m, n)[1]);
  const Graph joined = join_equal_nodes(two);
  CHECK(joined.nodes().size() == 1);
  CHECK(joined.outputs().at("b") == joined.nodes()[0].out[1]);
}

TEST_CASE("a node is absorbed only when nothing else reads what lies between") {
  test::register_test_ops();
  Graph g;
  const Value x = g.input("x", kShape), s = g.state({"s", 0}, kShape);
  const Value a = test::triple(g, x), b = test::triple(g, a);
  g.output("b", b);
  Names expected = {"test_triple times=1", "test_triple times=1"};
  SECTION("nothing else") { expected = {"test_triple times=2"}; }
  SECTION("an output") { g.output("a", a); }
  SECTION("an update") { g.update(s, a); }
  SECTION("another node") {
    g.output("c", scale(g, a, 2));
    expected.push_back("scale factor=2");
  }
  CHECK(ops_of(fuse_nodes(g)) == expected);
}

TEST_CASE("only a node of one input is absorbed, by a node of one output") {
  Graph g;
  const Value x = g.input("x", kShape);
  const auto greedy = [&](int outputs) {
    return g.add(make_op<Greedy>(GreedyAttrs{outputs}), std::array{x});
  };
  SECTION("so this is") {
    g.output("y", scale(g, greedy(1)[0], 2));
    CHECK(fuse_nodes(g).nodes().size() == 1);
  }
  SECTION("two inputs") {
    g.output("y", sub(g, greedy(1)[0], x));
    CHECK(fuse_nodes(g).nodes().size() == 2);
  }
  SECTION("two outputs") {
    g.output("y", scale(g, greedy(2)[0], 2));
    CHECK(fuse_nodes(g).nodes().size() == 2);
  }
}

TEST_CASE("fusion: a chain keeps its meaning, an op that reads two values is not absorbed") {
  test::register_test_ops();
  Graph g;
  Value x = g.input("x", {3});
  for (int k = 0; k < 5; ++k) x = test::triple(g, x);
  g.output("y", x);
  const Graph after = fuse_nodes(g);
  CHECK(after.nodes().size() < 5);
  const test::Buffers inputs{{"x", {1, -2, .5}}};
  CHECK(test::run_reference(after, inputs, {}).outputs["y"] == std::vector<float>{243, -486, 121.5});

  Graph conv;
  const Value w = conv.state({"w", 0}, {5, 3, 3, 4}), bias = conv.state({"b", 0}, {5});
  const Value y = conv2d(conv, conv.input("x", kShape), w, bias, {.stride = 1, .pad = 1});
  SECTION("the activation behind a convolution is") {
    conv.output("y", leaky_relu(conv, y));
    CHECK(fuse_nodes(conv).nodes().size() == 1);
  }
  SECTION("the sum of one value with itself is not") {
    conv.output("y", add(conv, y, y));
    CHECK(fuse_nodes(conv).nodes().size() == 2);
  }
}

TEST_CASE("passes keep the meaning of random graphs, and leave nothing to do") {
  size_t fewer = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const test::RandomGraph random = test::random_graph(seed, 3 + static_cast<int>(seed % 40));
    const Graph& g = random.graph;
    const test::Buffers inputs = test::random_inputs(g, seed),
                        state = test::random_state(random.state_counts, seed);
    const test::Reference expected = test::run_reference(g, inputs, state);
    INFO("seed " << seed);
    for (const Graph& after : {remove_dead_nodes(g), join_equal_nodes(g), fuse_nodes(g),
                               fuse_nodes(remove_dead_nodes(join_equal_nodes(g)))}) {
      const test::Reference got = test::run_reference(after, inputs, state);
      REQUIRE(same_bits(got.outputs, expected.outputs));
      REQUIRE(same_bits(got.state, expected.state));
      REQUIRE(after.nodes().size() <= g.nodes().size());
      REQUIRE(after.updates().size() == g.updates().size());
      fewer += g.nodes().size() - after.nodes().size();
    }
    REQUIRE(ops_of(remove_dead_nodes(remove_dead_nodes(g))) == ops_of(remove_dead_nodes(g)));
    REQUIRE(ops_of(join_equal_nodes(join_equal_nodes(g))) == ops_of(join_equal_nodes(g)));
  }
  CHECK(fewer > 1000);
}

}  // namespace millrace
