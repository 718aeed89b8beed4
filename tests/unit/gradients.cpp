// gradients(): which nodes it appends, and what it refuses.
#include <array>
#include <functional>

#include "core/add.h"
#include "core/fill.h"
#include "core/session.h"
#include "layers/leaky_relu.h"
#include "layers/scale.h"
#include "layers/slice_channels.h"
#include "layers/sub.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/random_graph.h"

namespace millrace {
namespace {

using test::message_of;

using Numbers = std::vector<double>;

// Values of the outputs of an f64 graph with inputs x = 1, 2, .. and z = -1, -2, ..
std::map<std::string, Numbers> run(const Graph& g) {
  const auto device = make_device("cpu");
  State state(*device);
  Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
  for (const auto& [name, v] : g.inputs()) {
    Numbers values;
    for (int64_t k = 1; k <= g.shape(v).count(); ++k)
      values.push_back(static_cast<double>(name == "z" ? -k : k));
    session.set(name, values);
  }
  session.run();
  std::map<std::string, Numbers> result;
  for (const auto& [name, v] : g.outputs()) result[name] = session.get(name);
  return result;
}

// A gradient rule that returns what it is told to.
struct WrongAttrs {
  int kind = 0;
  template <class V> void visit(V v) const { v("kind", kind); }
};
struct Wrong : OpBase<Wrong, WrongAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "test_wrong";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    if (attrs.kind == 0) return {};                       // too few
    if (attrs.kind == 1) return {fill(a.graph, {1}, 0)};  // of another shape
    return {Value{}};                                     // constant
  }
};

}  // namespace

TEST_CASE("a value with several readers gets the sum of their gradients") {
  Graph g(Dtype::f64);
  const Value x = g.input("x", {1});
  SECTION("diamond") {
    const Value a = scale(g, x, 2), b = scale(g, a, 3), c = scale(g, a, 5);
    g.output("dx", gradients(g, sub(g, b, c), std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{-4});
  }
  SECTION("twice into one node") {
    g.output("dx", gradients(g, add(g, x, x), std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{2});
  }
  SECTION("twice into one node, with opposite signs") {
    g.output("dx", gradients(g, sub(g, x, x), std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{0});
  }
  SECTION("every value twice, thirty times over") {
    Value y = x;
    for (int k = 0; k < 30; ++k) y = add(g, y, y);
    g.output("dx", gradients(g, y, std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{1 << 30});
    CHECK(g.nodes().size() < 100);
  }
}

TEST_CASE("a wanted value that the loss does not depend on gets zeros of its shape") {
  Graph g(Dtype::f64);
  const Value x = g.input("x", {1}), z = g.input("z", {2, 3});
  const Value unread = scale(g, z, 2);
  const auto d = gradients(g, scale(g, x, 2), std::array{z, x, unread});
  g.output("dz", d[0]);
  g.output("dx", d[1]);
  g.output("dunread", d[2]);
  CHECK(g.shape(d[0]) == Shape{2, 3});
  auto result = run(g);
  CHECK(result["dz"] == Numbers(6, 0));
  CHECK(result["dx"] == Numbers{2});
  CHECK(result["dunread"] == Numbers(6, 0));
}

TEST_CASE("a value that is computed may be wanted, and the loss itself") {
  Graph g(Dtype::f64);
  const Value x = g.input("x", {1});
  const Value a = scale(g, x, 2), b = scale(g, a, 3), loss = sub(g, b, a);
  const auto d = gradients(g, loss, std::array{a, x, loss, b});
  for (size_t k = 0; k < d.size(); ++k) g.output(std::string(1, static_cast<char>('p' + k)), d[k]);
  auto result = run(g);
  CHECK(result["p"] == Numbers{2});
  CHECK(result["q"] == Numbers{4});
  CHECK(result["r"] == Numbers{1});
  CHECK(result["s"] == Numbers{1});
}

TEST_CASE("only what is wanted is derived") {
  Graph g(Dtype::f64);
  const Value x = g.input("x", {1}), z = g.input("z", {1});
  const Value a = leaky_relu(g, leaky_relu(g, z)), loss = add(g, scale(g, x, 3), a);
  const size_t before = g.nodes().size();
  gradients(g, loss, std::array{x});
  for (size_t k = before; k < g.nodes().size(); ++k) CHECK(g.nodes()[k].op->name() != LeakyReluDx::kName);
  const size_t after = g.nodes().size();
  CHECK(gradients(g, loss, {}).empty());
  CHECK(g.nodes().size() == after + 1);  // dL/dL
}

TEST_CASE("an op of several outputs is derived when the loss reads all, one or none of them") {
  test::register_test_ops();
  Graph g(Dtype::f64);
  const Value x = g.input("x", {1}), z = g.input("z", {1});
  const std::vector<Value> y = test::pair(g, x, z);
  Value loss;
  Numbers expected;
  SECTION("both") { loss = add(g, y[0], scale(g, y[1], 10)), expected = {11, -9}; }
  SECTION("the first") { loss = scale(g, y[0], 3), expected = {3, 3}; }
  SECTION("the second") { loss = scale(g, y[1], 3), expected = {3, -3}; }
  SECTION("none") { loss = scale(g, x, 3), expected = {3, 0}; }
  const auto d = gradients(g, loss, std::array{x, z});
  g.output("dx", d[0]);
  g.output("dz", d[1]);
  auto result = run(g);
  CHECK(result["dx"] == Numbers{expected[0]});
  CHECK(result["dz"] == Numbers{expected[1]});
}

TEST_CASE("seeds are dL/d(of), and those of one value add up") {
  Graph g(Dtype::f64);
  const Value x = g.input("x", {3}), z = g.input("z", {3});
  const Value y = scale(g, x, 2);
  SECTION("one") {
    g.output("dx", gradients(g, std::array{y}, std::array{z}, std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{-2, -4, -6});
  }
  SECTION("the wanted value has a seed too") {
    g.output("dx", gradients(g, std::array{y, x}, std::array{z, z}, std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{-3, -6, -9});
  }
  SECTION("the same value twice") {
    g.output("dx", gradients(g, std::array{y, y}, std::array{z, z}, std::array{x})[0]);
    CHECK(run(g)["dx"] == Numbers{-4, -8, -12});
  }
}

TEST_CASE("gradients that cannot be made say why") {
  test::register_test_ops();
  Graph g(Dtype::f64);
  const Value x = g.input("x", {2}), one = g.input("one", {1});
  CHECK_THAT(message_of([&] { gradients(g, x, std::array{x}); }), Catch::Contains("one element"));
  CHECK_THAT(message_of([&] { gradients(g, std::array{x}, std::array{one}, std::array{x}); }),
             Catch::Contains("a seed of shape (2)") && Catch::Contains("got (1)"));
  CHECK_THAT(message_of([&] {
               gradients(g, std::array{x, x}, std::array{x}, std::array{x});
             }),
             Catch::Contains("2 seeds, got 1"));
  {
    Graph::Scope scope(g, "net");
    const Value y = test::triple(g, one);
    CHECK_THAT(message_of([&] { gradients(g, y, std::array{one}); }),
               Catch::Contains("net/test_triple") && Catch::Contains("an op with a gradient"));
    // Not through it: nothing to complain about.
    CHECK(message_of([&] { gradients(g, y, std::array{y}); }) == "no error");
    CHECK(message_of([&] { gradients(g, y, std::array{x}); }) == "no error");
  }
  auto wrong = [&](int kind) {
    const Value in = g.input("in" + std::to_string(kind), {2});
    const Value y = g.add1(make_op<Wrong>(WrongAttrs{kind}), {in});
    return message_of([&] { gradients(g, std::array{y}, std::array{x}, std::array{in}); });
  };
  CHECK_THAT(wrong(0), Catch::Contains("test_wrong") && Catch::Contains("returns 1, got 0"));
  CHECK_THAT(wrong(1), Catch::Contains("input 0") && Catch::Contains("f64(2), got f64(1)"));
  CHECK(wrong(2) == "no error");
}

TEST_CASE("the gradient of slices and sums of random graphs is that of central differences") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    // A linear map of x (1,1,2,3) to a scalar: its gradient does not depend on x, differences are exact but
    // for rounding.
    Graph g(Dtype::f64);
    const Value x = g.input("x", {1, 1, 1, 3});
    std::vector<Value> values = {x};
    auto any = [&] { return values[random() % values.size()]; };
    for (int k = 0; k < 12; ++k) {
      const uint64_t kind = random() % 3;
      if (kind == 0) values.push_back(scale(g, any(), static_cast<double>(random() % 5) - 2));
      if (kind == 1) values.push_back(add(g, any(), any()));
      if (kind == 2) values.push_back(test::pair(g, any(), any())[random() % 2]);
    }
    const Value loss =
        slice_channels(g, values.back(), {.begin = static_cast<int64_t>(random() % 3), .count = 1});
    g.output("loss", loss);
    g.output("dx", gradients(g, loss, std::array{x})[0]);
    const auto device = make_device("cpu");
    State state(*device);
    Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
    auto loss_at = [&](const Numbers& at) {
      session.set("x", at);
      session.run();
      return session.get_scalar("loss");
    };
    Numbers at = {1, 2, 3};
    const double base = loss_at(at);
    const Numbers dx = session.get("dx");
    INFO("seed " << seed);
    for (size_t k = 0; k < 3; ++k) {
      Numbers moved = at;
      moved[k] += 1;
      CHECK(loss_at(moved) - base == dx[k]);  // small integers: exact
    }
  }
}

}  // namespace millrace
