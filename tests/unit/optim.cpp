// The optimizers as ops: numbers worked out by hand, and an independent computation of several steps.
#include <omp.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/session.h"
#include "optim/norm.h"
#include "optim/update.h"
#include "tests/catch.h"

using namespace millrace;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();

// One optimizer over `blocks` blocks of 64 parameters; gradients and loss are written by hand.
class Bench {
 public:
  Bench(const OptimizerOptions& options, int64_t blocks, Dtype real = Dtype::f64)
      : options_(options), P_(64 * blocks), device_(make_device("cpu")), state_(*device_) {
    Graph g(real);
    update_step(g, {.slices = {{"w", 0, {P_}}}, .total = P_}, options);
    session_.emplace(make_plan(g), state_, SessionOptions{.arena = nullptr, .poison = true});
    write("multipliers", std::vector<double>(static_cast<size_t>(2 * blocks), 1));
  }

  void write(const std::string& buffer, const std::vector<double>& values) {
    const auto count = static_cast<int64_t>(values.size());
    if (state_.at(buffer).dtype == Dtype::f64) {
      state_.write(buffer, 0, count, values.data());
    } else {
      const std::vector<float> single(values.begin(), values.end());
      state_.write(buffer, 0, count, single.data());
    }
  }
  std::vector<double> read(const std::string& buffer) const { return to_double(state_.at(buffer)); }
  std::vector<std::vector<double>> all() const {
    std::vector<std::vector<double>> result = {read("params")};
    for (const std::string& name : optimizer_buffers(options_.kind)) result.push_back(read(name));
    return result;
  }
  double gradient_norm() const { return session_->get_scalar("gradient_norm"); }

  // Update number t with one gradient for all, or one each.
  void step(int64_t t, double learning_rate, double g, double loss = 0) {
    step(t, learning_rate, std::vector<double>(static_cast<size_t>(P_), g), loss);
  }
  void step(int64_t t, double learning_rate, const std::vector<double>& g, double loss = 0) {
    write("grads", g);
    write("loss_sum", {loss});
    session_->set_scalar("rate", update_rate(options_, learning_rate, t));
    session_->run();
  }

 private:
  OptimizerOptions options_;
  int64_t P_;
  std::unique_ptr<Device> device_;
  State state_;
  std::optional<Session> session_;
};

std::vector<double> random_values(Random& r, int64_t count, double low, double high) {
  std::vector<double> values(static_cast<size_t>(count));
  for (double& v : values) v = r.uniform(low, high);
  return values;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.empty() || a.size() != b.size()) return kNan;
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    const double d = std::abs(a[k] - b[k]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

// The same optimizers written from the papers, element by element: Adam with corrected moments (Kingma & Ba,
// algorithm 1) where epsilon is divided by the root of the second correction, which is Caffe's place for it.
struct Textbook {
  OptimizerOptions o;
  std::vector<double> p, lr_mult, decay_mult;
  std::vector<double> first = std::vector<double>(p.size()), second = std::vector<double>(p.size());

  void step(int64_t t, double rate, std::vector<double> g) {
    double squares = 0;
    for (double x : g) squares += x * x;
    const double length = std::sqrt(squares);
    for (size_t k = 0; k < p.size(); ++k) {
      if (o.clip > 0 && length > o.clip) g[k] = g[k] / length * o.clip;
      g[k] /= static_cast<double>(o.accumulate);
      g[k] += o.weight_decay * decay_mult[k] * p[k];
      if (o.kind == OptimizerKind::sgd) {
        first[k] = o.momentum * first[k] + rate * lr_mult[k] * g[k];
        p[k] -= first[k];
        continue;
      }
      first[k] += (1 - o.beta1) * (g[k] - first[k]);
      second[k] += (1 - o.beta2) * (g[k] * g[k] - second[k]);
      const double correct1 = 1 - std::pow(o.beta1, t), correct2 = 1 - std::pow(o.beta2, t);
      p[k] -= rate * lr_mult[k] * (first[k] / correct1) /
              (std::sqrt(second[k] / correct2) + o.epsilon / std::sqrt(correct2));
    }
  }
};

// Seven steps with multipliers, decay, a clip that works in some of them, and four micro-batches.
void compare_with_textbook(OptimizerOptions o, Dtype real, double tolerance) {
  o.weight_decay = .05;
  o.clip = 6;
  o.accumulate = 4;
  const int64_t blocks = 3, P = 64 * blocks;
  Random r(7);
  const std::vector<double> lr_mult = {1, 2, .5}, decay_mult = {1, 0, 3};
  Bench bench(o, blocks, real);
  Textbook truth{.o = o, .p = random_values(r, P, -1, 1), .lr_mult = {}, .decay_mult = {}};
  std::vector<double> table;
  for (int64_t b = 0; b < blocks; ++b) {
    const auto k = static_cast<size_t>(b);
    truth.lr_mult.insert(truth.lr_mult.end(), 64, lr_mult[k]);
    truth.decay_mult.insert(truth.decay_mult.end(), 64, decay_mult[k]);
    table.insert(table.end(), {lr_mult[k], decay_mult[k]});
  }
  bench.write("params", truth.p);
  bench.write("multipliers", table);
  int clipped = 0;
  for (int64_t t = 1; t <= 7; ++t) {
    const double size = t % 2 ? 1 : .5, rate = t < 5 ? .02 : .002;
    const std::vector<double> g = random_values(r, P, -size, size);
    bench.step(t, rate, g, 1);
    truth.step(t, rate, g);
    clipped += bench.gradient_norm() > o.clip;
    INFO("step " << t);
    CHECK(largest_difference(bench.read("params"), truth.p) <= tolerance);
    CHECK(largest_difference(bench.all()[1], truth.first) <= tolerance);
    if (o.kind == OptimizerKind::adam) CHECK(largest_difference(bench.all()[2], truth.second) <= tolerance);
  }
  CHECK(clipped == 4);
}

}  // namespace

TEST_CASE("two steps of Adam by hand, epsilon outside the corrected root") {
  Bench bench({.kind = OptimizerKind::adam}, 1);
  bench.write("params", std::vector<double>(64, 1));
  bench.step(1, .1, .5);
  // m = .05, v = .00025, rate = .1 sqrt(.001) / .1. With epsilon inside it would be .900000002.
  CHECK(bench.read("params")[3] == Approx(0.9000000632455).margin(1e-12));
  CHECK(bench.read("moment1")[3] == Approx(.05));
  CHECK(bench.read("moment2")[3] == Approx(.00025));
  bench.step(2, .1, -.25);
  // m = .02, v = .00031225, rate = .1 sqrt(.001999) / .19
  CHECK(bench.read("params")[63] == Approx(0.8733663743518).margin(1e-12));
  CHECK(bench.read("moment1")[63] == Approx(.02));
  CHECK(bench.read("moment2")[63] == Approx(.00031225));
}

TEST_CASE("Adam's rate corrects the bias, and tends to the learning rate") {
  const AdamAttrs attrs{};
  CHECK(adam_rate(attrs, 3, 1) == Approx(3 * std::sqrt(.001) / .1).epsilon(1e-12));
  CHECK(adam_rate(attrs, 3, 2) == Approx(3 * std::sqrt(.001999) / .19).epsilon(1e-12));
  CHECK(adam_rate(attrs, 3, 1000000) == 3);
  CHECK(update_rate({.kind = OptimizerKind::sgd}, 3, 1) == 3);
}

TEST_CASE("two steps of SGD by hand: the velocity keeps the rate it was made with") {
  Bench bench({.kind = OptimizerKind::sgd, .weight_decay = .1}, 1);
  bench.write("params", std::vector<double>(64, 1));
  bench.write("multipliers", {2, .5});
  bench.step(1, .1, .5);  // v = .1 * 2 * (.5 + .1 * .5 * 1)
  CHECK(bench.read("velocity")[0] == Approx(.11));
  CHECK(bench.read("params")[0] == Approx(.89));
  bench.step(2, .01, .5);  // v = .9 * .11 + .01 * 2 * (.5 + .1 * .5 * .89)
  CHECK(bench.read("velocity")[9] == Approx(.10989));
  CHECK(bench.read("params")[9] == Approx(.78011));
}

TEST_CASE("several steps are those of the papers") {
  SECTION("Adam, double") {
    compare_with_textbook({.kind = OptimizerKind::adam, .beta1 = .8, .epsilon = 1e-3}, Dtype::f64, 1e-13);
  }
  SECTION("Adam, float") {
    compare_with_textbook({.kind = OptimizerKind::adam, .beta1 = .8, .epsilon = 1e-3}, Dtype::f32, 1e-6);
  }
  SECTION("SGD, double") {
    compare_with_textbook({.kind = OptimizerKind::sgd, .momentum = .7}, Dtype::f64, 1e-13);
  }
  SECTION("SGD, float") {
    compare_with_textbook({.kind = OptimizerKind::sgd, .momentum = .7}, Dtype::f32, 1e-6);
  }
}

TEST_CASE("the clip looks at the summed gradient, before it is divided by the micro-batches") {
  // 64 gradients of .5: norm 4. Divided by 4 micro-batches it would be 1, below the clip.
  Bench bench({.kind = OptimizerKind::sgd, .momentum = 0, .clip = 2, .accumulate = 4}, 1);
  bench.step(1, 1, .5);
  CHECK(bench.gradient_norm() == Approx(4));
  CHECK(bench.read("params")[5] == Approx(-.5 * (2.0 / 4) / 4));
}

TEST_CASE("a step whose gradient or loss is not finite changes nothing, and the next one does") {
  const auto kind = GENERATE(OptimizerKind::adam, OptimizerKind::sgd);
  const auto real = GENERATE(Dtype::f64, Dtype::f32);
  Bench bench({.kind = kind, .weight_decay = .1, .clip = 1}, 2, real);
  bench.write("params", std::vector<double>(128, .75));
  bench.step(1, .1, .5, 1);
  const auto before = bench.all();
  for (double bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<double> g(128, .5);
    g[127] = bad;
    bench.step(2, .1, g, 1);
    CHECK(!std::isfinite(bench.gradient_norm()));
    CHECK(bench.all() == before);
    bench.step(2, .1, .5, bad);
    CHECK(std::isfinite(bench.gradient_norm()));
    CHECK(bench.all() == before);
  }
  bench.step(2, .1, .5, 1);
  CHECK(bench.all() != before);
  for (const auto& buffer : bench.all()) {
    for (double x : buffer) REQUIRE(std::isfinite(x));
  }
}

TEST_CASE("a learning-rate multiplier of 0 leaves a block as it is, decay or not, and a gap stays zero") {
  const auto kind = GENERATE(OptimizerKind::adam, OptimizerKind::sgd);
  Bench bench({.kind = kind, .weight_decay = .1}, 3);
  std::vector<double> p(192, 1), g(192, .5), moments(192, .25);
  for (size_t k = 170; k < 192; ++k) p[k] = g[k] = moments[k] = 0;  // the gap behind a parameter
  bench.write("params", p);
  for (const std::string& name : optimizer_buffers(kind)) bench.write(name, moments);
  bench.write("multipliers", {1, 1, 0, 1, 1, 1});
  bench.step(1, .1, g);
  for (const auto& buffer : bench.all()) {
    CHECK(buffer[0] != buffer[64]);
    for (size_t k = 64; k < 128; ++k) REQUIRE((buffer[k] == 1 || buffer[k] == .25));
    for (size_t k = 170; k < 192; ++k) REQUIRE(buffer[k] == 0);
  }
}

TEST_CASE("in place and beside the old values the optimizers compute the same") {
  const int64_t P = 640;
  Random r(3);
  const std::vector<double> p = random_values(r, P, -1, 1), d = random_values(r, P, -1, 1),
                            m = random_values(r, P, -1, 1), v = random_values(r, P, 0, 1);
  const AdamAttrs attrs{.gradient = {.weight_decay = .1}};
  auto device = make_device("cpu");
  State state(*device);
  Graph g(Dtype::f64);
  std::vector<Value> in;
  for (const char* name : {"p", "g", "m", "v"}) in.push_back(g.input(name, {P}));
  in.push_back(g.input("multipliers", {P / 64, 2}));
  for (const char* name : {"rate", "norm", "loss"}) in.push_back(g.input(name, {1}));
  const std::vector<Value> out = g.add(make_op<Adam>(attrs), in);
  for (size_t k = 0; k < 3; ++k) g.output(std::string("next ") + "pmv"[k], out[k]);
  Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
  session.set("p", p);
  session.set("g", d);
  session.set("m", m);
  session.set("v", v);
  session.set("multipliers", std::vector<double>(20, 1));
  session.set_scalar("rate", .1);
  session.run();

  Bench bench({.kind = OptimizerKind::adam, .weight_decay = .1}, 10);
  bench.write("params", p);
  bench.write("moment1", m);
  bench.write("moment2", v);
  // At this t the corrections are 1 to the last bit.
  bench.step(1000000, .1, d);
  CHECK(session.get("next p") == bench.read("params"));
  CHECK(session.get("next m") == bench.read("moment1"));
  CHECK(session.get("next v") == bench.read("moment2"));
  CHECK(session.get("next p") != p);
  session.set_scalar("norm", kNan);
  session.run();
  CHECK(session.get("next p") == p);
  CHECK(session.get("next m") == m);
  CHECK(session.get("next v") == v);
}

namespace {

double norm_of(const std::vector<double>& x, Dtype real) {
  auto device = make_device("cpu");
  State state(*device);
  Graph g(real);
  g.output("norm", norm(g, g.input("x", {static_cast<int64_t>(x.size())})));
  Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
  if (real == Dtype::f64)
    session.set("x", x);
  else
    session.set("x", std::vector<float>(x.begin(), x.end()));
  session.run();
  return session.get_scalar("norm");
}

}  // namespace

TEST_CASE("the norm is Euclid's") {
  const auto real = GENERATE(Dtype::f64, Dtype::f32);
  CHECK(norm_of({3, -4}, real) == 5);
  CHECK(norm_of({}, real) == 0);
  CHECK(norm_of(std::vector<double>(10000, .5), real) == 50);
  std::vector<double> x(Norm::kChunk + 3);
  x.back() = -2;  // behind the last whole chunk and the last whole vector
  CHECK(norm_of(x, real) == 2);
  // The square does not fit a float; the norm does.
  CHECK(norm_of({3e30, 4e30}, real) == Approx(5e30));
}

TEST_CASE("a norm shows what is not finite, wherever it stands") {
  for (double bad : {kNan, kInfinity, -kInfinity}) {
    for (size_t place : {0, 15, 4095, 4096, 9999}) {
      std::vector<double> x(10000, 1);
      x[place] = bad;
      CHECK(!std::isfinite(norm_of(x, Dtype::f32)));
    }
  }
  CHECK(!std::isfinite(norm_of(std::vector<double>(100, 1e38), Dtype::f32)));  // too long for a float
}

TEST_CASE("the norm and the update do not depend on the number of threads") {
  const int threads = omp_get_max_threads();
  Random r(11);
  const std::vector<double> g = random_values(r, 64 * 1601, -1, 1);
  std::vector<std::vector<double>> results;
  std::vector<double> norms;
  for (int n : {1, 2, 3, 7}) {
    omp_set_num_threads(n);
    Bench bench({.kind = OptimizerKind::adam}, 1601, Dtype::f32);
    bench.step(1, .1, g);
    norms.push_back(bench.gradient_norm());
    results.push_back(bench.read("params"));
  }
  omp_set_num_threads(threads);
  long double squares = 0;
  for (double x : g) squares += static_cast<long double>(static_cast<float>(x)) * static_cast<float>(x);
  CHECK(norms[0] == static_cast<float>(std::sqrt(squares)));
  for (size_t k = 1; k < norms.size(); ++k) {
    CHECK(norms[k] == norms[0]);
    CHECK(results[k] == results[0]);
  }
}

TEST_CASE("optimizers refuse what does not fit") {
  Graph g;
  const Value flat = g.input("flat", {128}), odd = g.input("odd", {100}), one = g.input("one", {1});
  const Value table = g.input("table", {2, 2}), wide = g.input("wide", {128, 1});
  CHECK_NOTHROW(g.add1(make_op<Adam>(), {flat, flat, flat, flat, table, one, one, one}));
  CHECK_THROWS_AS(g.add1(make_op<Adam>(), {flat, flat, flat, flat, table, one, one}), Error);
  CHECK_THROWS_AS(g.add1(make_op<Adam>(), {flat, odd, flat, flat, table, one, one, one}), Error);
  CHECK_THROWS_AS(g.add1(make_op<Adam>(), {odd, odd, odd, odd, table, one, one, one}), Error);
  CHECK_THROWS_AS(g.add1(make_op<Adam>(), {flat, flat, flat, flat, flat, one, one, one}), Error);
  CHECK_THROWS_AS(g.add1(make_op<Adam>(), {flat, flat, flat, flat, table, flat, one, one}), Error);
  CHECK_NOTHROW(g.add1(make_op<Sgd>(), {flat, flat, flat, table, one, one, one}));
  CHECK_THROWS_AS(g.add1(make_op<Sgd>(), {wide, wide, wide, table, one, one, one}), Error);
  CHECK_THROWS_AS(g.add1(make_op<Sgd>(), {flat, flat, flat, flat, table, one, one, one}), Error);
  CHECK_THROWS_AS(norm(g, wide), Error);
}

TEST_CASE("optimizer options that cannot be meant are usage errors") {
  const OptimizerOptions bad[] = {{.beta1 = 1},
                                  {.beta1 = -.1},
                                  {.beta2 = kNan},
                                  {.epsilon = 0},
                                  {.momentum = 1},
                                  {.weight_decay = -1},
                                  {.weight_decay = kInfinity},
                                  {.clip = -1},
                                  {.clip = kNan},
                                  {.accumulate = 0}};
  for (const OptimizerOptions& o : bad) {
    INFO("bad options " << &o - bad);
    try {
      check_optimizer(o);
      FAIL_CHECK("accepted");
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
    }
  }
  CHECK_NOTHROW(check_optimizer({}));
}
