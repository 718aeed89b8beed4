// Sessions: what they are told, what they share, what they find, and that a run allocates nothing.
#include "core/session.h"

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <numeric>

#include "core/add.h"
#include "core/copy.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"
#include "layers/normalize_image.h"
#include "layers/scale.h"
#include "layers/sub.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

namespace {
std::atomic<long> allocations{0};  // by operator new, of the whole program

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(bytes == 0 ? 1 : bytes)
                     : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

// Not inlined: g++ would see a pointer of `new` freed, and warn, where it does not see `new` defined too.
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }
}  // namespace

// All forms that are used: a sanitizer has its own, which do not call the others.
void* operator new(std::size_t bytes) { return counted(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t a) {
  return counted(bytes, static_cast<std::size_t>(a));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
void* operator new[](std::size_t bytes) { return counted(bytes, 1); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace millrace {
namespace {

using test::message_of;

using Numbers = std::vector<double>;
const SessionOptions kPoisoned{.arena = nullptr, .poison = true};

struct Machine {
  std::unique_ptr<Device> device = make_device("cpu");
  State state{*device};
};

// The CPU with memory that is never zero by luck.
class DirtyDevice final : public Device {
 public:
  std::string name() const override { return "cpu"; }
  std::string description() const override { return "dirty " + cpu_->description(); }
  void* allocate(int64_t bytes) override {
    void* memory = cpu_->allocate(bytes);
    cpu_->fill_bytes(memory, 0xff, bytes);
    return memory;
  }
  void release(void* memory) noexcept override { cpu_->release(memory); }
  void upload(void* to, const void* from, int64_t bytes) override { cpu_->upload(to, from, bytes); }
  void download(void* to, const void* from, int64_t bytes) override { cpu_->download(to, from, bytes); }
  void fill_bytes(void* memory, uint8_t value, int64_t bytes) override {
    cpu_->fill_bytes(memory, value, bytes);
  }
  void synchronize() override {}

 private:
  std::unique_ptr<Device> cpu_ = make_device("cpu");
};

// sum += x at each step; "sum" is what it becomes.
Graph summing(Dtype real = Dtype::f32) {
  Graph g(real);
  const Value sum = g.state({"sum", 0}, {2});
  const Value next = add(g, sum, g.input("x", {2}));
  g.update(sum, next);
  g.output("sum", next);
  return g;
}

// Convolutions that are large enough for threads and for any version.
Graph conv_net() {
  Graph g;
  Value x = g.input("x", {2, 32, 32, 16});
  for (int64_t k = 0; k < 3; ++k) {
    const Value w = g.state({"w", k * 4096}, {16, 3, 3, 16}), b = g.state({"b", k * 64}, {16});
    const Value y = leaky_relu(g, conv2d(g, x, w, b, {.stride = 1, .pad = 1}));
    x = add(g, x, y);
  }
  g.output("y", x);
  return g;
}

}  // namespace

TEST_CASE("inputs of another name, number or type are refused with what is there") {
  Machine m;
  Graph g;
  const Value x = g.input("x", {2, 3}), rate = g.input("rate", {1});
  g.output("y", scale(g, x, 2));
  g.output("r", scale(g, rate, 1));
  Session s(make_plan(g), m.state);
  CHECK_THAT(message_of([&] { s.set("z", std::vector<float>(6)); }),
             Catch::Contains("'z'") && Catch::Contains("rate, x"));
  CHECK_THAT(message_of([&] { s.set("x", std::vector<float>(5)); }), Catch::Contains("input x") &&
                                                                         Catch::Contains("6 x f32 (2,3)") &&
                                                                         Catch::Contains("got 5 x f32"));
  CHECK_THAT(message_of([&] { s.set("x", std::vector<double>(6)); }), Catch::Contains("got 6 x f64"));
  CHECK_THAT(message_of([&] { s.set("x", std::vector<uint8_t>(24)); }), Catch::Contains("got 24 x u8"));
  CHECK_THAT(message_of([&] { s.set_scalar("x", 1); }),
             Catch::Contains("input x") && Catch::Contains("got 1 x f32"));
  CHECK_THAT(message_of([&] { s.get("z"); }), Catch::Contains("'z'") && Catch::Contains("r, y"));
  CHECK_THAT(message_of([&] { s.get_scalar("y"); }), Catch::Contains("output y") && Catch::Contains("6"));
  CHECK_THAT(message_of([&] { s.input("y"); }), Catch::Contains("'y'"));
  s.set("x", std::vector<float>(6, 4));
  s.set_scalar("rate", .5);
  s.run();
  CHECK(s.get("y") == Numbers(6, 8));
  CHECK(s.get_scalar("r") == .5);
  s.set_scalar("rate", .25);  // x keeps what it held
  s.run();
  CHECK(s.get("y") == Numbers(6, 8));
  CHECK(s.get_scalar("r") == .25);
}

TEST_CASE("inputs and state that nobody wrote are zero") {
  DirtyDevice device;
  State state(device);
  Session s(make_plan(summing()), state);
  s.run();
  CHECK(s.get("sum") == Numbers{0, 0});
  CHECK(to_double(state.at("sum")) == Numbers{0, 0});
}

TEST_CASE("results that are no real numbers are refused, not misread") {
  Machine m;
  Graph g;
  const Value frames = g.input("frames", Spec{{1, 2, 2, 3}, Dtype::u8});
  g.output("frames", frames);
  Session s(make_plan(g), m.state);
  s.set("frames", std::vector<uint8_t>(12, 7));
  s.run();
  CHECK_THAT(message_of([&] { s.get("frames"); }), Catch::Contains("u8"));
  CHECK(s.output("frames").as<uint8_t>()[11] == 7);
}

TEST_CASE("an output that is an input, and one value under two names") {
  Machine m;
  Graph g;
  const Value x = g.input("x", {1});
  const Value y = scale(g, x, 3);
  g.output("x", x);
  g.output("a", y);
  g.output("b", y);
  Session s(make_plan(g), m.state, kPoisoned);
  s.set_scalar("x", 2);
  s.run();
  CHECK(s.get_scalar("x") == 2);
  CHECK(s.get_scalar("a") == 6);
  CHECK(s.get_scalar("b") == 6);
}

TEST_CASE("an updated state value is no output") {
  Graph g;
  const Value s = g.state({"s", 0}, {4}, "weights"), part = g.state({"s", 3}, {1}),
              apart = g.state({"s", 4}, {1});
  g.update(s, scale(g, s, 2));
  SECTION("itself") {
    g.output("old", s);
    CHECK_THAT(message_of([&] { make_plan(g); }),
               Catch::Contains("output old") && Catch::Contains("weights"));
  }
  SECTION("a part of it") {
    g.output("old", part);
    CHECK_THAT(message_of([&] { make_plan(g); }), Catch::Contains("output old"));
  }
  SECTION("its neighbour and a copy are") {
    g.output("apart", apart);
    g.output("copy", copy(g, s));
    Machine m;
    Session session(make_plan(g), m.state, kPoisoned);
    const std::vector<float> five = {1, 2, 3, 4, 5};
    m.state.write("s", 0, 5, five.data());
    session.run();
    CHECK(session.get("copy") == Numbers{1, 2, 3, 4});
    CHECK(session.get("apart") == Numbers{5});
    CHECK(to_double(m.state.at("s")) == Numbers{2, 4, 6, 8, 5});
  }
}

TEST_CASE("sessions share a State: each sees what the other left") {
  Machine m;
  Session a(make_plan(summing()), m.state, kPoisoned), b(make_plan(summing()), m.state, kPoisoned);
  a.set("x", std::vector<float>{1, 2});
  b.set("x", std::vector<float>{10, 20});
  a.run();
  b.run();
  a.run();
  CHECK(a.get("sum") == Numbers{12, 24});
  CHECK(to_double(m.state.at("sum")) == Numbers{12, 24});
}

TEST_CASE("a State that does not fit is refused with both sizes") {
  Machine m;
  m.state.create("sum", Dtype::f32, 1);
  CHECK_THAT(message_of([&] { Session(make_plan(summing()), m.state); }),
             Catch::Contains("state sum") && Catch::Contains("f32(2)") && Catch::Contains("f32(1)"));
  Machine other;
  other.state.create("sum", Dtype::f32, 3);
  CHECK(message_of([&] { Session(make_plan(summing()), other.state); }) == "no error");
  CHECK_THAT(message_of([&] { Session(make_plan(summing(Dtype::f64)), other.state); }),
             Catch::Contains("f64(2)") && Catch::Contains("f32(3)"));
}

TEST_CASE("a State creates once, and reads and writes only what is there") {
  Machine m;
  m.state.create("s", Dtype::f32, 4);
  CHECK(to_double(m.state.at("s")) == Numbers(4, 0));
  const std::vector<float> two = {1, 2};
  m.state.write("s", 2, 2, two.data());
  m.state.create("s", Dtype::f32, 4);  // nothing happens
  CHECK(to_double(m.state.at("s")) == Numbers{0, 0, 1, 2});
  CHECK_THAT(message_of([&] { m.state.create("s", Dtype::f32, 5); }), Catch::Contains("4 x f32"));
  CHECK_THAT(message_of([&] { m.state.create("s", Dtype::f64, 4); }), Catch::Contains("4 x f64"));
  CHECK_THAT(message_of([&] { m.state.at("t"); }), Catch::Contains("'t'"));
  float f[4];
  double d[2];
  CHECK_THAT(message_of([&] { m.state.read("s", 3, 2, f); }), Catch::Contains("2 x f32 from 3"));
  CHECK_THAT(message_of([&] { m.state.write("s", -1, 2, f); }), Catch::Contains("from -1"));
  CHECK_THAT(message_of([&] { m.state.read("s", 0, 2, d); }), Catch::Contains("4 x f32, got 2 x f64"));
  CHECK(message_of([&] { m.state.read("s", 4, 0, f); }) == "no error");
  m.state.create("empty", Dtype::f64, 0);
  CHECK(to_double(m.state.at("empty")).empty());
}

TEST_CASE("sessions that run in turn share one arena") {
  Machine m;
  const Plan plan = make_plan(conv_net());
  Memory arena(*m.device, plan.arena_bytes), small(*m.device, plan.arena_bytes - 1);
  CHECK_THAT(message_of([&] { Session(plan, m.state, {.arena = &small}); }),
             Catch::Contains(std::to_string(plan.arena_bytes)));
  Session alone(plan, m.state), a(plan, m.state, {.arena = &arena, .poison = true}),
      b(plan, m.state, {.arena = &arena, .poison = true});
  std::vector<float> w(static_cast<size_t>(m.state.at("w").count()));
  for (size_t k = 0; k < w.size(); ++k) w[k] = static_cast<float>(std::sin(static_cast<double>(k))) / 10;
  m.state.write("w", 0, static_cast<int64_t>(w.size()), w.data());
  std::vector<float> x(2 * 32 * 32 * 16), z(x.size(), 1);
  std::iota(x.begin(), x.end(), -1000.f);
  for (Session* s : {&alone, &a}) s->set("x", x);
  b.set("x", z);
  alone.run();
  b.run();
  a.run();
  CHECK(a.get("y") == alone.get("y"));
  b.run();
  CHECK(b.get("y") != alone.get("y"));
  a.run();  // its input is its own, b did not touch it
  CHECK(a.get("y") == alone.get("y"));
}

TEST_CASE("a session may be moved") {
  Machine m;
  std::vector<Session> sessions;
  for (int k = 0; k < 4; ++k) sessions.emplace_back(make_plan(summing()), m.state, kPoisoned);
  for (Session& s : sessions) {
    s.set("x", std::vector<float>{1, 1});
    s.run();
  }
  CHECK(sessions.back().get("sum") == Numbers{4, 4});
}

TEST_CASE("run_checked finds the first node that is not finite, and where") {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    for (const Dtype real : {Dtype::f32, Dtype::f64}) {
      Machine m;
      Graph g(real);
      const Value x = g.input("x", {3}), z = g.input("z", {3});
      Value y;
      {
        Graph::Scope scope(g, "good");
        y = scale(g, x, 2);
      }
      {
        Graph::Scope scope(g, "bad");
        y = sub(g, y, z);
      }
      g.output("y", scale(g, y, 0.5));
      Session s(make_plan(g), m.state);
      auto set = [&](const std::string& name, Numbers v) {
        if (real == Dtype::f64) return s.set(name, v);
        s.set(name, std::vector<float>(v.begin(), v.end()));
      };
      set("x", {1, 2, 3});
      set("z", {1, 2, 3});
      CHECK(!s.run_checked());
      CHECK(s.get("y") == Numbers{.5, 1, 1.5});
      set("z", {0, bad, bad});
      const std::optional<BadNode> found = s.run_checked();
      REQUIRE(found);
      CHECK(found->node == "bad/sub");
      CHECK(found->output == 0);
      CHECK(found->element == 1);
      CHECK(!std::isfinite(found->value));
      CHECK_THAT(found->to_string(), Catch::Contains("bad/sub") && Catch::Contains("element 1"));
    }
  }
}

TEST_CASE("run_timed runs too, and times each step") {
  Machine m;
  Session s(make_plan(summing()), m.state);
  s.set("x", std::vector<float>{1, 2});
  const std::vector<double> seconds = s.run_timed().seconds;
  CHECK(seconds.size() == s.plan().steps.size());
  for (double t : seconds) CHECK(t >= 0);
  CHECK(s.get("sum") == Numbers{1, 2});
}

TEST_CASE("a run allocates nothing, but what oneDNN keeps book of") {
  Machine m;
  const Graph g = conv_net();
  struct Version {
    std::map<std::string, std::string> versions;
    long per_convolution;  // allocations of a run that are borne
  };
  // oneDNN's execute() makes its table of arguments anew and frees it: 15 small pieces were counted for a
  // convolution with a reorder of its weights (version 2.6).
  for (const Version& v : {Version{{{"conv2d", "plain"}}, 0}, Version{{}, 20}}) {
    Session session(make_plan(g, {.versions = v.versions}), m.state);
    session.set("x", std::vector<float>(2 * 32 * 32 * 16, .5f));
    session.run();  // threads start, libraries warm up
    session.run();
    const long before = allocations;
    for (int k = 0; k < 10; ++k) session.run();
    const long made = allocations - before;
    std::string versions;
    for (const PlanStep& s : session.plan().steps) versions += s.kernel->version + " ";
    INFO(versions << ": " << made << " allocations in 10 runs");
    CHECK(made <= 10 * 3 * v.per_convolution);
  }
  CHECK(allocations > 0);  // they are counted
}

}  // namespace millrace
