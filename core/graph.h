// Graph: an append-only list of nodes in static single assignment form; list order is an execution order.
// Nets are functions that append nodes; gradients() appends the backward pass; passes (core/passes.h)
// rewrite; make_plan (core/plan.h) decides everything else.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/op.h"

namespace millrace {

// Where in the State a value begins: how far it reaches is its shape's business.
struct StateRef {
  std::string buffer;
  int64_t offset = 0;  // elements
};

struct Node {
  std::shared_ptr<const Op> op;
  std::vector<Value> in, out;
  std::string name;         // path of scopes, "motionnet/conv1/conv2d"
  Dtype real = Dtype::f32;  // of the activations it makes; the graph's, until the precision pass
};

struct ValueInfo {
  Spec spec;
  std::string name;
  int32_t node = -1;  // its producer; -1 for inputs and state
  int32_t output = 0;
  std::optional<StateRef> state;  // set for values that live in the State
};

struct Update {
  Value state;  // a value of graph.state()
  Value next;   // what it holds after the step
};

class Graph {
 public:
  // `real` is the type of all real numbers in the graph: f32 to run, f64 to check.
  explicit Graph(Dtype real = Dtype::f32) : real_(real) {}
  Dtype real() const { return real_; }

  // A value that the caller writes before each step (core/session.h).
  Value input(const std::string& name, Shape shape) { return input(name, Spec{shape, real_}); }
  Value input(const std::string& name, Spec spec);
  // A value that outlives steps. The same place and shape give the same Value.
  Value state(const StateRef& ref, Shape shape, const std::string& name = {}, Layout layout = {}) {
    return state(ref, Spec{shape, real_, std::move(layout)}, name);
  }
  // The same for a buffer of another type.
  Value state(const StateRef& ref, Spec spec, const std::string& name);
  // Appends a node and returns its outputs.
  std::vector<Value> add(std::shared_ptr<const Op> op, std::span<const Value> in) {
    return add(std::move(op), in, real_);
  }
  // The same among activations of another type than the graph's (core/precision_pass.h).
  std::vector<Value> add(std::shared_ptr<const Op> op, std::span<const Value> in, Dtype real);
  Value add1(std::shared_ptr<const Op> op, std::initializer_list<Value> in) {
    return add(std::move(op), std::span<const Value>(in.begin(), in.size())).front();
  }

  // Roots: what a step computes. Everything else may be removed.
  void output(const std::string& name, Value value);
  // After the step `state` holds `next`. All readers of `state` in this graph see the old content, wherever
  // they stand in the list; so an updated state value cannot be an output. No two updates overlap.
  void update(Value state, Value next);

  const Spec& spec(Value v) const { return info(v).spec; }
  const Shape& shape(Value v) const { return info(v).spec.shape; }
  // Throws for a Value that is empty or of another graph, as far as that can be seen.
  const ValueInfo& info(Value v) const;
  int64_t value_count() const { return static_cast<int64_t>(values_.size()); }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::map<std::string, Value>& inputs() const { return inputs_; }
  const std::map<std::string, Value>& outputs() const { return outputs_; }
  const std::vector<Update>& updates() const { return updates_; }

  // Names of nodes made while it lives begin with `name/`.
  class Scope {
   public:
    Scope(Graph& graph, const std::string& name) : graph_(graph), length_(graph.prefix_.size()) {
      graph.prefix_ += name + "/";
    }
    ~Scope() { graph_.prefix_.resize(length_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Graph& graph_;
    size_t length_;
  };

 private:
  friend class Rewriter;
  Value new_value(ValueInfo info);

  Dtype real_;
  std::string prefix_;
  std::vector<Node> nodes_;
  std::vector<ValueInfo> values_;
  std::map<std::string, Value> inputs_, outputs_;
  std::map<std::string, Value> states_;
  std::vector<Update> updates_;
};

// Appends the nodes that compute dL/d(wanted) and returns them in order. `seeds` are dL/d(of), one of the
// same shape for each. A wanted value that L does not depend on gets zeros. Gradients that meet are summed by
// `add` nodes: the seed first, then from the last reader in the list to the first.
std::vector<Value> gradients(Graph& graph, std::span<const Value> of, std::span<const Value> seeds,
                             std::span<const Value> wanted);
// The same for one scalar, dL/dL = 1.
std::vector<Value> gradients(Graph& graph, Value loss, std::span<const Value> wanted);

}  // namespace millrace
