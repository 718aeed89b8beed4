// Random graphs of every way in which values can share storage, and the engine's meaning without the engine:
// each value in memory of its own, node after node as the graph lists them.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/add.h"
#include "core/copy.h"
#include "core/fill.h"
#include "core/graph.h"
#include "core/pack.h"
#include "core/registry.h"
#include "layers/concat.h"
#include "layers/leaky_relu.h"
#include "layers/scale.h"
#include "layers/slice_channels.h"
#include "layers/sub.h"

namespace millrace::test {

// (a, b) -> (a + b, a - b) element by element; the sum may lie where a lies, the difference where b does.
struct Pair : OpBase<Pair> {
  static constexpr const char* kName = "test_pair";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0], in[1]}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    const Value sum = a.dout[0], difference = a.dout[1];
    if (!sum) return {difference, scale(a.graph, difference, -1)};
    if (!difference) return {sum, sum};
    return {add(a.graph, sum, difference), sub(a.graph, sum, difference)};
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}, {.out = 1, .in = 1}}; }

  template <class T> static void run(const KernelArgs& args) {
    for (int64_t k = 0; k < args.out[0].count(); ++k) {
      const T a = args.in[0].as<T>()[k], b = args.in[1].as<T>()[k];
      args.out[0].as<T>()[k] = a + b;
      args.out[1].as<T>()[k] = a - b;
    }
  }
};

struct TripleAttrs {
  int times = 1;
  template <class V> void visit(V v) const { v("times", times); }
};
// x -> 3 x, `times` times over: it absorbs one behind it, and the bits stay.
struct Triple : OpBase<Triple, TripleAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "test_triple";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
  bool has_gradient() const override { return false; }
  std::shared_ptr<const Op> absorb(const Op& next) const override {
    const auto* triple = dynamic_cast<const Triple*>(&next);
    return triple ? make_op<Triple>(TripleAttrs{attrs.times + triple->attrs.times}) : nullptr;
  }

  template <class T> static void run(const KernelArgs& args) {
    for (int64_t k = 0; k < args.out[0].count(); ++k) {
      T x = args.in[0].as<T>()[k];
      for (int t = 0; t < args.attrs<Triple>().times; ++t) x = x * T(3);
      args.out[0].as<T>()[k] = x;
    }
  }
};

inline void register_test_ops() {
  static const bool once = [] {
    Registry& r = Registry::mutable_registry();
    add_cpu_kernel(r, Pair::kName, Pair::run<float>, Pair::run<double>);
    add_cpu_kernel(r, Triple::kName, Triple::run<float>, Triple::run<double>);
    return true;
  }();
  (void)once;
}

inline std::vector<Value> pair(Graph& g, Value a, Value b) {
  register_test_ops();
  const Value in[] = {a, b};
  return g.add(make_op<Pair>(), in);
}
inline Value triple(Graph& g, Value x) {
  register_test_ops();
  return g.add1(make_op<Triple>(TripleAttrs{}), {x});
}

using Buffers = std::map<std::string, std::vector<float>>;

struct RandomGraph {
  Graph graph;
  std::map<std::string, int64_t> state_counts{};  // elements of each buffer of the State
};

class RandomGraphMaker {
 public:
  explicit RandomGraphMaker(uint64_t seed) : random_(seed) { register_test_ops(); }

  // The same seed gives the same graph, of f32.
  RandomGraph make(int nodes) {
    add_sources();
    for (int k = 0; k < nodes; ++k) add_node(below(11));
    add_updates();
    for (int k = 0; k < 3; ++k) {
      const Value v = any();
      if (!touches_update(v)) g_.output("out" + std::to_string(k), v);
    }
    return {std::move(g_), counts_};
  }

 private:
  static constexpr int64_t kPixels = 6;  // of an image (1,2,3,C)
  static constexpr int64_t kSlot = 64;   // elements from one state value to the next
  static constexpr int kSlots = 4;

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  Value keep(Value v) {
    values_.push_back(v);
    return v;
  }

  void add_sources() {
    for (int k = 0; k < 2; ++k) keep(g_.input("in" + std::to_string(k), {1, 2, 3, 1 + below(4)}));
    for (const char* buffer : {"s", "t"}) {
      counts_[buffer] = kSlots * kSlot;
      for (int slot = 0; slot < kSlots; ++slot) {
        states_.push_back(keep(g_.state({buffer, slot * kSlot}, {1, 2, 3, 1 + below(4)})));
      }
      // The same memory seen as one flat vector.
      if (below(2)) states_.push_back(keep(g_.state({buffer, 0}, {kSlots * kSlot})));
    }
  }

  // Recent values more often: then many are read by the next node and never again.
  Value any() {
    const auto n = static_cast<int64_t>(values_.size());
    return values_[static_cast<size_t>(below(3) ? n - 1 - below(std::min<int64_t>(n, 4)) : below(n))];
  }
  Value like(Value v) {
    std::vector<Value> fitting;
    for (Value w : values_)
      if (g_.spec(w) == g_.spec(v)) fitting.push_back(w);
    const auto n = static_cast<int64_t>(fitting.size());
    return fitting[static_cast<size_t>(below(2) ? n - 1 - below(std::min<int64_t>(n, 3)) : below(n))];
  }
  Value image() {
    Value v = any();
    while (g_.shape(v).rank() != 4) v = any();
    return v;
  }
  int64_t channels(Value v) { return g_.shape(v)[3]; }

  void add_node(int64_t kind) {
    const Value v = any();
    if (kind == 0) keep(add(g_, v, like(v)));
    if (kind == 1) keep(sub(g_, v, like(v)));
    if (kind == 2) keep(scale(g_, v, .25 * static_cast<double>(below(8) - 4)));
    if (kind == 3) keep(leaky_relu(g_, v));
    if (kind == 4) keep(copy(g_, v));
    if (kind == 5) keep(triple(g_, v));
    if (kind == 6) add_concat();
    if (kind == 7) add_slice();
    if (kind == 8) add_pack();
    if (kind == 9) keep(fill(g_, g_.shape(v), static_cast<double>(below(3))));
    if (kind == 10) {
      for (Value out : pair(g_, v, like(v)))
        if (below(3)) keep(out);  // else it is an output that nothing reads
    }
  }
  void add_concat() {
    const Value a = image(), b = image();
    keep(channels(a) + channels(b) <= 8 ? concat(g_, {a, b}) : sub(g_, a, a));
  }
  void add_slice() {
    const Value x = image();
    const int64_t begin = below(channels(x)), count = 1 + below(channels(x) - begin);
    keep(slice_channels(g_, x, {.begin = begin, .count = count}));
  }
  void add_pack() {
    PackAttrs attrs{.total = kSlots * kSlot, .offsets = {}};
    std::vector<Value> slices;
    for (int64_t slot = 0; slot < kSlots; ++slot) {
      const Value v = image();
      if (below(4) == 0) continue;
      slices.push_back(v);
      attrs.offsets.push_back(slot * kSlot);
    }
    if (!slices.empty()) keep(pack(g_, slices, attrs));
  }

  bool overlap(Value a, Value b) {
    const StateRef &x = *g_.info(a).state, &y = *g_.info(b).state;
    return x.buffer == y.buffer && x.offset < y.offset + g_.shape(b).count() &&
           y.offset < x.offset + g_.shape(a).count();
  }
  bool touches_update(Value v) {
    if (!g_.info(v).state) return false;
    return std::any_of(g_.updates().begin(), g_.updates().end(),
                       [&](const Update& u) { return overlap(u.state, v); });
  }
  void add_updates() {
    std::shuffle(states_.begin(), states_.end(), random_);
    for (Value state : states_) {
      if (touches_update(state)) continue;
      std::vector<Value> fitting;
      for (Value v : values_)
        if (g_.info(v).node >= 0 && g_.shape(v).count() == g_.shape(state).count()) fitting.push_back(v);
      if (fitting.empty() || below(4) == 0) continue;
      g_.update(state, fitting[static_cast<size_t>(below(static_cast<int64_t>(fitting.size())))]);
    }
  }

  std::mt19937_64 random_;
  Graph g_;
  std::vector<Value> values_, states_;
  std::map<std::string, int64_t> counts_;
};

inline RandomGraph random_graph(uint64_t seed, int nodes) { return RandomGraphMaker(seed).make(nodes); }

inline std::vector<float> random_numbers(uint64_t seed, int64_t count) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = static_cast<float>(random.uniform(-1, 1));
  return values;
}

// Random content for what a graph reads.
inline Buffers random_inputs(const Graph& g, uint64_t seed) {
  Buffers inputs;
  for (const auto& [name, v] : g.inputs()) inputs[name] = random_numbers(seed++, g.shape(v).count());
  return inputs;
}
inline Buffers random_state(const std::map<std::string, int64_t>& counts, uint64_t seed) {
  Buffers state;
  for (const auto& [name, count] : counts) state[name] = random_numbers(seed++, count);
  return state;
}

struct Reference {
  Buffers outputs, state;  // the state after the step
};

// One step of an f32 graph by the kernels `plain`, from the list of nodes alone.
inline Reference run_reference(const Graph& g, const Buffers& inputs, const Buffers& state) {
  std::vector<std::vector<float>> memory(static_cast<size_t>(g.value_count()));
  auto tensor = [&](Value v) {
    return Tensor{.data = memory[static_cast<size_t>(v.id)].data(), .shape = g.shape(v), .dtype = Dtype::f32};
  };
  for (int32_t id = 0; id < g.value_count(); ++id) {
    const ValueInfo& info = g.info(Value{id});
    std::vector<float>& m = memory[static_cast<size_t>(id)];
    if (info.state) {
      const auto begin = state.at(info.state->buffer).begin() + info.state->offset;
      m.assign(begin, begin + info.spec.shape.count());
    } else if (info.node < 0) {
      m = inputs.at(info.name);
    } else {
      m.assign(static_cast<size_t>(info.spec.shape.count()), NAN);
    }
  }
  for (const Node& node : g.nodes()) {
    std::vector<Tensor> in, out;
    for (Value v : node.in) in.push_back(tensor(v));
    for (Value v : node.out) out.push_back(tensor(v));
    const Kernel* plain = nullptr;
    for (const Kernel* k : Registry::get().kernels(node.op->name(), "cpu", Dtype::f32))
      if (k->version == "plain") plain = k;
    if (!plain) throw std::runtime_error("no plain kernel for " + std::string(node.op->name()));
    plain->run({.op = *node.op, .in = in, .out = out});
  }
  Reference result{{}, state};
  for (const auto& [name, v] : g.outputs()) result.outputs[name] = memory[static_cast<size_t>(v.id)];
  for (const Update& u : g.updates()) {
    const StateRef& to = *g.info(u.state).state;
    const std::vector<float>& from = memory[static_cast<size_t>(u.next.id)];
    std::copy(from.begin(), from.end(), result.state[to.buffer].begin() + to.offset);
  }
  return result;
}

}  // namespace millrace::test
