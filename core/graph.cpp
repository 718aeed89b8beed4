#include "core/graph.h"

#include "core/error.h"

namespace millrace {

Value Graph::new_value(ValueInfo info) {
  values_.push_back(std::move(info));
  return Value{static_cast<int32_t>(values_.size() - 1)};
}

Value Graph::input(const std::string& name, Spec spec) {
  if (inputs_.count(name))
    fail(ErrorKind::runtime, {"graph", "a new input name", "'" + name + "' again", ""});
  Value v = new_value({.spec = spec, .name = name, .node = -1, .output = 0, .state = {}});
  inputs_[name] = v;
  return v;
}

Value Graph::state(const StateRef& ref, Shape shape, const std::string& name) {
  const std::string key = ref.buffer + "@" + std::to_string(ref.offset) + shape.to_string();
  if (auto found = states_.find(key); found != states_.end()) return found->second;
  Value v = new_value(
      {.spec = {shape, real_}, .name = name.empty() ? key : name, .node = -1, .output = 0, .state = ref});
  states_[key] = v;
  return v;
}

std::vector<Value> Graph::add(std::shared_ptr<const Op> op, std::span<const Value> in) {
  std::vector<Spec> specs;
  for (Value v : in) specs.push_back(spec(v));
  const std::string name = prefix_ + std::string(op->name());
  std::vector<Spec> made;
  try {
    made = op->infer(specs, real_);
  } catch (const Error& e) {
    throw Error(e.kind(), std::string(e.what()) + " (at " + name + ")");
  }
  Node node{.op = std::move(op), .in = {in.begin(), in.end()}, .out = {}, .name = name};
  for (const Spec& s : made) {
    node.out.push_back(new_value({.spec = s,
                                  .name = name,
                                  .node = static_cast<int32_t>(nodes_.size()),
                                  .output = static_cast<int32_t>(node.out.size()),
                                  .state = {}}));
  }
  nodes_.push_back(node);
  return node.out;
}

void Graph::output(const std::string& name, Value value) {
  if (outputs_.count(name))
    fail(ErrorKind::runtime, {"graph", "a new output name", "'" + name + "' again", ""});
  outputs_[name] = value;
}

void Graph::update(Value state, Value next) {
  if (!info(state).state || spec(state).bytes() != spec(next).bytes() || info(next).node < 0) {
    fail(ErrorKind::runtime,
         {"graph", "an update of state " + spec(state).to_string() + " by a computed value of its size",
          spec(next).to_string(), ""});
  }
  updates_.push_back({state, next});
}

}  // namespace millrace
