// Passes rewrite a graph into an equivalent one. Inputs, outputs and state keep their names and places.
#pragma once

#include "core/graph.h"

namespace millrace {

// Drops nodes that no output and no state update needs.
Graph remove_dead_nodes(const Graph& graph);
// Joins nodes with the same op, attributes and inputs.
Graph join_equal_nodes(const Graph& graph);
// Joins a node with the one before it where that can absorb it (Op::absorb), so that what lies between is
// never written.
Graph fuse_nodes(const Graph& graph);

// Copies a graph node by node into a new one; a pass decides per node what to append instead.
class Rewriter {
 public:
  explicit Rewriter(const Graph& from);
  // The new value for an old one.
  Value operator[](Value old) const { return map_.at(static_cast<size_t>(old.id)); }
  void set(Value old, Value now) { map_.at(static_cast<size_t>(old.id)) = now; }
  // Appends the node unchanged, on the new values of its inputs.
  void keep(const Node& node);
  // Appends another op in the node's place, under the node's name.
  std::vector<Value> emit(std::shared_ptr<const Op> op, const std::vector<Value>& new_inputs,
                          const std::string& name) {
    return emit(std::move(op), new_inputs, name, to_.real());
  }
  // The same, among activations of that type (Node::real).
  std::vector<Value> emit(std::shared_ptr<const Op> op, const std::vector<Value>& new_inputs,
                          const std::string& name, Dtype real);
  // A value of the State, which the old graph need not have.
  Value state(const StateRef& ref, Spec spec, const std::string& name) {
    return to_.state(ref, std::move(spec), name);
  }
  void set_layouts(const std::vector<Value>& values, const std::vector<Layout>& layouts);
  const Graph& graph() const { return to_; }
  // Gives the new graph its outputs and updates.
  Graph finish();
  // The same, where they are not just the new values of the old ones.
  Graph finish(const std::map<std::string, Value>& outputs, const std::vector<Update>& updates);

 private:
  const Graph& from_;
  Graph to_;
  std::vector<Value> map_;
};

}  // namespace millrace
