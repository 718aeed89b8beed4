#include "core/graph.h"

#include "core/error.h"

namespace millrace {
Value Graph::new_value(ValueInfo info) {
  values_.push_back(std::move(info));
  return Value{static_cast<int32_t>(values_.size() - 1)};
}

const ValueInfo& Graph::info(Value v) const {
  if (v.id < 0 || v.id >= value_count()) {
    fail(ErrorKind::runtime, {"graph", "a value of this graph", v ? "another's" : "an empty one", ""});
  }
  return values_[static_cast<size_t>(v.id)];
}

Value Graph::input(const std::string& name, Spec spec) {
  if (inputs_.count(name))
    fail(ErrorKind::runtime, {"graph", "a new input name", "'" + name + "' again", ""});
  Value v = new_value({.spec = spec, .name = name, .node = -1, .output = 0, .state = {}});
  inputs_[name] = v;
  return v;
}

Value Graph::state(const StateRef& ref, Spec spec, const std::string& name) {
  if (ref.offset < 0) {
    fail(ErrorKind::runtime,
         {"state " + ref.buffer, "an offset of 0 or more", std::to_string(ref.offset), ""});
  }
  const std::string key = ref.buffer + "@" + std::to_string(ref.offset) + spec.to_string();
  if (auto found = states_.find(key); found != states_.end()) return found->second;
  Value v = new_value(
      {.spec = std::move(spec), .name = name.empty() ? key : name, .node = -1, .output = 0, .state = ref});
  states_[key] = v;
  return v;
}

std::vector<Value> Graph::add(std::shared_ptr<const Op> op, std::span<const Value> in, Dtype real) {
  std::vector<Spec> specs;
  for (Value v : in) specs.push_back({shape(v), spec(v).dtype});
  const std::string name = prefix_ + std::string(op->name());
  std::vector<Spec> made;
  try {
    made = op->infer(specs, real);
  } catch (const Error& e) {
    throw Error(e.kind(), std::string(e.what()) + " (at " + name + ")");
  }
  Node node{.op = std::move(op), .in = {in.begin(), in.end()}, .out = {}, .name = name, .real = real};
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
  info(value);
  outputs_[name] = value;
}

void Graph::update(Value state, Value next) {
  const Spec old_spec = spec(state), new_spec = spec(next);
  if (!info(state).state || info(next).node < 0 || old_spec.dtype != new_spec.dtype ||
      old_spec.shape.count() != new_spec.shape.count()) {
    fail(ErrorKind::runtime,
         {"graph", "an update of state " + old_spec.to_string() + " by a computed value of its size",
          new_spec.to_string(), ""});
  }
  const StateRef& place = *info(state).state;
  for (const Update& u : updates_) {
    const StateRef& other = *info(u.state).state;
    if (other.buffer == place.buffer && other.offset < place.offset + old_spec.elements() &&
        place.offset < other.offset + spec(u.state).elements()) {
      fail(ErrorKind::runtime,
           {"graph", "one update of " + info(state).name, "another of " + info(u.state).name, ""});
    }
  }
  updates_.push_back({state, next});
}

}  // namespace millrace
