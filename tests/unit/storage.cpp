// In place or not: each rule of sharing by the smallest graph that needs it; offsets on random intervals.
#include "core/storage.h"

#include "core/add.h"
#include "core/copy.h"
#include "core/device.h"
#include "core/fill.h"
#include "core/pack.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"
#include "layers/scale.h"
#include "layers/sub.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/plan_checker.h"
#include "tests/unit/random_graph.h"

namespace millrace {
namespace {

const Shape kShape{1, 2, 3, 4};  // 24 elements
constexpr int64_t kBytes = 24 * 4;

// Does `v` lie in the State?
bool in_state(const Storage& s, Value v) {
  return s.places[static_cast<size_t>(v.id)].where == Place::Where::state;
}
bool same_place(const Storage& s, Value a, Value b) {
  const Place &p = s.places[static_cast<size_t>(a.id)], &q = s.places[static_cast<size_t>(b.id)];
  return p.where == q.where && p.region == q.region && p.buffer == q.buffer && p.offset == q.offset;
}
void check_right(const Graph& g) {
  const PlanOptions as_written{.rewrite = false};
  CHECK(test::plan_complaints(planned_graph(g, as_written), make_plan(g, as_written)) ==
        std::vector<std::string>{});
}

}  // namespace

TEST_CASE("a chain of ops that work in place takes one buffer") {
  Graph g;
  const Value a = scale(g, g.input("x", kShape), 2), b = leaky_relu(g, a),
              c = add(g, g.input("z", kShape), b);
  g.output("c", c);
  const Storage s = assign_storage(g);
  CHECK(s.buffers.size() == 1);
  CHECK(s.buffers[0].first == 0);
  CHECK(s.buffers[0].last >= 2);
  CHECK(s.buffers[0].bytes == kBytes);
  check_right(g);
}

TEST_CASE("a value that is read later, or is a result, is not overwritten") {
  Graph g;
  const Value a = scale(g, g.input("x", kShape), 2), b = leaky_relu(g, a);
  SECTION("read later") { g.output("c", sub(g, a, b)); }
  SECTION("a result") {
    g.output("a", a);
    g.output("b", b);
  }
  SECTION("a result under two names") {
    g.output("a", a);
    g.output("b", b);
    g.output("a again", a);
  }
  CHECK(!same_place(assign_storage(g), a, b));
  check_right(g);
}

TEST_CASE("an input is never overwritten, for the next run reads it again") {
  Graph g;
  const Value x = g.input("x", kShape);
  const Value y = scale(g, x, 2);
  g.output("y", y);
  CHECK(!same_place(assign_storage(g), x, y));
  check_right(g);
}

TEST_CASE("an op without a licence does not work in place") {
  Graph g;
  const Value a = scale(g, g.input("x", kShape), 2), b = copy(g, a);
  g.output("b", b);
  CHECK(!same_place(assign_storage(g), a, b));
}

TEST_CASE("slices of a pack are computed at their places, and one that goes in twice only where it may") {
  Graph g;
  const Value x = g.input("x", kShape);
  const Value a = scale(g, x, 2), b = scale(g, x, 3);
  const PackAttrs attrs{.total = 192, .offsets = {0, 64, 128}};
  SECTION("each its own") {
    const Value c = scale(g, b, 4);
    g.output("p", pack(g, std::vector{a, b, c}, attrs));
    const Storage s = assign_storage(g);
    CHECK(s.places[static_cast<size_t>(a.id)].offset == 0);
    CHECK(s.places[static_cast<size_t>(b.id)].offset == 64 * 4);
    CHECK(s.places[static_cast<size_t>(c.id)].offset == 128 * 4);
    CHECK(s.buffers.size() == 1);
  }
  SECTION("one twice") {
    g.output("p", pack(g, std::vector{a, a, b}, attrs));
    CHECK(assign_storage(g).buffers.size() == 2);
  }
  SECTION("one is read later") {
    g.output("p", pack(g, std::vector{a, b}, {.total = 192, .offsets = {0, 64}}));
    g.output("q", scale(g, a, 5));
    CHECK(assign_storage(g).buffers.size() == 2);  // a with q, b in the pack
  }
  check_right(g);
}

TEST_CASE("a state update is made in place only when nobody reads the old content from then on") {
  Graph g;
  const Value s = g.state({"s", 0}, kShape), x = g.input("x", kShape);
  SECTION("the producer reads it and may work in place") {
    g.output("before", scale(g, s, 3));
    const Value next = add(g, s, x);
    g.update(s, next);
    CHECK(in_state(assign_storage(g), next));
    CHECK(assign_storage(g).copies.empty());
  }
  SECTION("the producer reads it twice, element by element") {
    const Value next = add(g, s, s);
    g.update(s, next);
    CHECK(in_state(assign_storage(g), next));
  }
  SECTION("the producer reads it and must not work in place") {
    const Value next = copy(g, s);
    g.update(s, next);
    CHECK(!in_state(assign_storage(g), next));
    CHECK(assign_storage(g).copies.size() == 1);
  }
  SECTION("it is read after the update's producer") {
    const Value next = add(g, s, x);
    g.update(s, next);
    g.output("later", scale(g, s, 3));
    CHECK(!in_state(assign_storage(g), next));
    CHECK(assign_storage(g).copies.size() == 1);
  }
  SECTION("a part of it is read later, through another value") {
    const Value part = g.state({"s", 8}, {4}), next = add(g, s, x);
    g.update(s, next);
    g.output("later", scale(g, part, 3));
    CHECK(!in_state(assign_storage(g), next));
  }
  SECTION("its neighbour is read later") {
    const Value neighbour = g.state({"s", 24}, {4}), next = add(g, s, x);
    g.update(s, next);
    g.output("later", scale(g, neighbour, 3));
    CHECK(in_state(assign_storage(g), next));
  }
  SECTION("the producer reads an overlapping part, shifted") {
    const Value shifted = g.state({"s", 1}, kShape), next = add(g, shifted, x);
    g.update(s, next);
    CHECK(!in_state(assign_storage(g), next));
  }
  SECTION("the same place of another buffer is read later") {
    const Value other = g.state({"t", 0}, kShape), next = add(g, s, x);
    g.update(s, next);
    g.output("later", scale(g, other, 3));
    CHECK(in_state(assign_storage(g), next));
  }
  check_right(g);
}

TEST_CASE("what leads to an update begins in the State only after the old content is dead") {
  Graph g;
  const Value s = g.state({"s", 0}, kShape), x = g.input("x", kShape);
  const Value first = scale(g, x, 2);
  SECTION("dead before") {
    const Value next = leaky_relu(g, first);
    g.update(s, next);
    const Storage storage = assign_storage(g);
    CHECK(in_state(storage, first));
    CHECK(storage.buffers.empty());
  }
  SECTION("read between") {
    g.output("old", copy(g, s));
    const Value next = leaky_relu(g, first);
    g.update(s, next);
    const Storage storage = assign_storage(g);
    CHECK(in_state(storage, next));
    CHECK(!in_state(storage, first));
  }
  check_right(g);
}

TEST_CASE("two states swap their contents") {
  Graph g;
  const Value s = g.state({"s", 0}, kShape), t = g.state({"s", 64}, kShape);
  g.update(s, copy(g, t));
  g.update(t, copy(g, s));
  CHECK(assign_storage(g).copies.size() == 1);  // one may be made in place, not both
  check_right(g);
}

TEST_CASE("one value updates two states") {
  Graph g;
  const Value s = g.state({"s", 0}, kShape), t = g.state({"t", 0}, kShape);
  const Value next = add(g, s, g.input("x", kShape));
  g.update(s, next);
  g.update(t, next);
  const Storage storage = assign_storage(g);
  CHECK(in_state(storage, next));
  CHECK(storage.copies.size() == 1);
  check_right(g);
}

TEST_CASE("two outputs of one op update two states, one of them in place") {
  test::register_test_ops();
  Graph g;
  const Value s = g.state({"s", 0}, kShape), t = g.state({"t", 0}, kShape);
  SECTION("each where it may lie") {
    const std::vector<Value> next = test::pair(g, s, t);
    g.update(s, next[0]);
    g.update(t, next[1]);
    CHECK(assign_storage(g).copies.empty());
  }
  SECTION("crosswise, where neither may") {
    const std::vector<Value> next = test::pair(g, s, t);
    g.update(t, next[0]);
    g.update(s, next[1]);
    CHECK(assign_storage(g).copies.size() == 2);
  }
  check_right(g);
}

TEST_CASE("steps of an optimizer over a small net copy nothing") {
  for (const auto kind : {OptimizerKind::adam, OptimizerKind::sgd}) {
    FlatLayout layout{
        .slices = {{"w1", 0, {8, 3, 3, 3}}, {"b1", 256, {8}}, {"w2", 320, {4, 1, 1, 8}}, {"b2", 384, {4}}},
        .total = 448};
    Graph g;
    auto param = [&](size_t k) { return parameter(g, layout.slices[k]); };
    const Value h =
        leaky_relu(g, conv2d(g, g.input("x", {2, 8, 8, 3}), param(0), param(1), {.stride = 2, .pad = 1}));
    const Value sums = conv2d(g, h, param(2), param(3), {.stride = 4});
    const std::vector<Value> params = {param(0), param(1), param(2), param(3)};
    // Accumulation as optim/update.h makes it: the old gradient is the seed of each parameter's own.
    std::vector<Value> of = {sums}, seeds = {fill(g, g.shape(sums), 1)};
    PackAttrs places{.total = layout.total, .offsets = {}};
    for (size_t k = 0; k < params.size(); ++k) {
      of.push_back(params[k]);
      seeds.push_back(g.state({kGrads, layout.slices[k].offset}, layout.slices[k].shape));
      places.offsets.push_back(layout.slices[k].offset);
    }
    g.update(g.state({kGrads, 0}, {layout.total}), pack(g, gradients(g, of, seeds, params), places));
    CHECK(assign_storage(g).copies.empty());
    check_right(g);

    Graph update;
    update_step(update, layout, {.kind = kind, .accumulate = 2});
    CHECK(assign_storage(update).copies.empty());
    check_right(update);
  }
}

TEST_CASE("offsets of random buffers: apart, aligned, and no more than side by side") {
  Random random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<ArenaBuffer> buffers;
    int64_t side_by_side = 0, most = 0;
    for (int64_t n = random.integer(0, 30); n > 0; --n) {
      const int64_t first = random.integer(0, 20);
      buffers.push_back({.bytes = random.integer(0, 2000),
                         .offset = -1,
                         .first = first,
                         .last = first + random.integer(0, 8)});
      side_by_side += align_up(buffers.back().bytes);
    }
    const int64_t total = assign_offsets(buffers);
    for (int64_t step = 0; step < 30; ++step) {
      int64_t live = 0;
      for (const ArenaBuffer& b : buffers) live += b.first <= step && step <= b.last ? align_up(b.bytes) : 0;
      most = std::max(most, live);
    }
    INFO("round " << round);
    REQUIRE(total >= most);
    REQUIRE(total <= side_by_side);
    for (size_t a = 0; a < buffers.size(); ++a) {
      const ArenaBuffer& x = buffers[a];
      REQUIRE(x.offset >= 0);
      REQUIRE(x.offset % kAlignment == 0);
      REQUIRE(x.offset + x.bytes <= total);
      for (size_t b = a + 1; b < buffers.size(); ++b) {
        const ArenaBuffer& y = buffers[b];
        const bool in_time = x.first <= y.last && y.first <= x.last;
        const bool in_space = x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes;
        REQUIRE(!(in_time && in_space));
      }
    }
  }
}

TEST_CASE("offsets: a gap between two live buffers is used, and dead memory again") {
  std::vector<ArenaBuffer> b{{.bytes = 1024, .offset = 0, .first = 0, .last = 9},
                             {.bytes = 768, .offset = 0, .first = 0, .last = 1},
                             {.bytes = 512, .offset = 0, .first = 0, .last = 9},
                             {.bytes = 256, .offset = 0, .first = 2, .last = 3},
                             {.bytes = 256, .offset = 0, .first = 3, .last = 4},
                             {.bytes = 256, .offset = 0, .first = 2, .last = 2}};
  CHECK(assign_offsets(b) == 1024 + 768 + 512);
  CHECK(b[3].offset == 1024);
  CHECK(b[4].offset == 1024 + 256);
  CHECK(b[5].offset == 1024 + 256);
  std::vector<ArenaBuffer> none;
  CHECK(assign_offsets(none) == 0);
}

}  // namespace millrace
