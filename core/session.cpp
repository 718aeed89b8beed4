#include "core/session.h"

#include <algorithm>
#include <cmath>

#include "core/flat_layout.h"
#include "core/log.h"

namespace millrace {
namespace {

constexpr uint8_t kPoison = 0xff;  // as bytes of a float or double: NaN

int64_t largest_input(const Plan& plan) {
  int64_t bytes = 0;
  for (const auto& [name, v] : plan.inputs)
    bytes = std::max(bytes, plan.specs[static_cast<size_t>(v.id)].bytes());
  return bytes;
}

std::string describe_step(const PlanStep& step) {
  return "node " + step.name + " (" + std::string(step.op->name()) + ", version " + step.kernel->version +
         ")";
}

std::string describe_nodes(const Plan& plan) {
  if (plan.steps.empty()) return "a step without nodes";
  return "one of " + std::to_string(plan.steps.size()) + " nodes from " + plan.steps.front().name + " to " +
         plan.steps.back().name + " (--wait-for-nodes, SessionOptions::wait_for_nodes, tells which)";
}

[[noreturn]] void fail_at(const std::string& where, const Error& e) {
  throw Error(e.kind(), where + ": " + e.what());
}

}  // namespace

MemoryNeed memory_need(const std::vector<const Plan*>& plans, const State& state) {
  MemoryNeed need;
  std::map<std::string, int64_t> buffers;
  int64_t largest = 0;
  for (const Plan* plan : plans) {
    need.arena = std::max(need.arena, plan->arena_bytes);
    for (const auto& [name, v] : plan->inputs)
      need.inputs += align_up(plan->specs[static_cast<size_t>(v.id)].bytes());
    largest = std::max(largest, largest_input(*plan));
    for (const auto& [name, spec] : plan->state) {
      if (!state.has(name)) buffers[name] = std::max(buffers[name], align_up(spec.bytes()));
    }
  }
  for (const auto& [name, bytes] : buffers) need.state += bytes;
  need.staging = state.device().staging_bytes(largest);
  return need;
}

std::string BadNode::to_string() const {
  return node + ", output " + std::to_string(output) + ", element " + std::to_string(element) + ": " +
         std::to_string(value);
}

namespace {

template <class T> void append(std::vector<double>& numbers, const Tensor& t) {
  for (int64_t k = 0; k < t.count(); ++k) {
    if constexpr (std::is_same_v<T, Bf16>)
      numbers.push_back(to_float(t.as<T>()[k]));
    else
      numbers.push_back(static_cast<double>(t.as<T>()[k]));
  }
}

}  // namespace

std::vector<double> to_double(const Tensor& t) {
  std::vector<double> numbers;
  numbers.reserve(static_cast<size_t>(t.count()));
  switch (t.dtype) {
    case Dtype::f32:
      append<float>(numbers, t);
      break;
    case Dtype::f64:
      append<double>(numbers, t);
      break;
    case Dtype::bf16:
      append<Bf16>(numbers, t);
      break;
    case Dtype::u8:
      append<uint8_t>(numbers, t);
      break;
    case Dtype::i32:
      append<int32_t>(numbers, t);
      break;
    case Dtype::i64:
      append<int64_t>(numbers, t);
      break;
  }
  return numbers;
}

Session::Session(Plan plan, State& state, SessionOptions options)
    : plan_(std::move(plan)),
      state_(state),
      device_(state.device()),
      poison_(options.poison),
      wait_for_nodes_(options.wait_for_nodes),
      capture_(options.capture && !options.poison && !options.wait_for_nodes),
      arena_(nullptr) {
  MemoryNeed need = memory_need({&plan_}, state_);
  if (options.arena) need.arena = 0;
  require_memory(device_, need);
  for (const auto& [name, spec] : plan_.state) {
    if (!state_.has(name)) {
      if (name == kParamsBf16 || name == kFrozenBf16) {
        fail(ErrorKind::runtime, {"state " + name, "the parameters in bf16", "no such buffer",
                                  "a ParamStore for Precision::bf16 makes it, by initialise()"});
      }
      state_.create(name, spec.dtype, spec.shape[0]);
    } else if (state_.at(name).count() < spec.shape[0] || state_.at(name).dtype != spec.dtype) {
      fail(ErrorKind::runtime, {"state " + name, "at least " + spec.to_string(),
                                Spec{state_.at(name).shape, state_.at(name).dtype}.to_string(), ""});
    }
  }
  if (options.arena && options.arena->bytes() < plan_.arena_bytes) {
    fail(ErrorKind::runtime, {"session", "an arena of " + std::to_string(plan_.arena_bytes) + " bytes",
                              std::to_string(options.arena->bytes()), ""});
  }
  if (!options.arena) own_arena_ = Memory(device_, plan_.arena_bytes);
  arena_ = (options.arena ? *options.arena : own_arena_).at(0);
  int64_t input_bytes = 0;
  for (const auto& [name, v] : plan_.inputs)
    input_bytes += align_up(plan_.specs[static_cast<size_t>(v.id)].bytes());
  inputs_ = Memory(device_, input_bytes);
  device_.reserve_input(largest_input(plan_));
  device_.fill_bytes(inputs_.data(), 0, input_bytes);
  bind();
  nodes_ = std::make_shared<const std::string>(describe_nodes(plan_));
}

Session::~Session() {
  try {
    if (arena_) device_.synchronize();
  } catch (const Error&) {
    // Told before, or of no use to anybody any more.
  }
}

void Session::bind() {
  std::map<std::string, int64_t> slot;
  int64_t next = 0;
  for (const auto& [name, v] : plan_.inputs) {
    slot[name] = next;
    next += align_up(plan_.specs[static_cast<size_t>(v.id)].bytes());
  }
  for (size_t id = 0; id < plan_.places.size(); ++id) {
    const Place& place = plan_.places[id];
    char* data = nullptr;
    if (place.where == Place::Where::arena)
      data = arena_ + place.offset;
    else if (place.where == Place::Where::input)
      data = inputs_.at(slot.at(place.region));
    else
      data = state_.at(place.region).as<char>() + place.offset;
    values_.push_back({.data = data, .shape = plan_.specs[id].shape, .dtype = plan_.specs[id].dtype});
  }
  for (const PlanStep& step : plan_.steps) {
    for (Value v : step.in) operands_.push_back(values_[static_cast<size_t>(v.id)]);
    for (Value v : step.out) operands_.push_back(values_[static_cast<size_t>(v.id)]);
  }
  const Tensor* operand = operands_.data();
  for (const PlanStep& step : plan_.steps) {
    KernelArgs args{.op = *step.op,
                    .in = {operand, step.in.size()},
                    .out = {operand + step.in.size(), step.out.size()},
                    .workspace = step.prepared.workspace_bytes ? arena_ + step.workspace_offset : nullptr,
                    .prepared = step.prepared.state.get(),
                    .stream = device_.stream()};
    operand += step.in.size() + step.out.size();
    launches_.push_back({step.kernel->run, args});
  }
}

void Session::set_bytes(const std::string& name, const void* values, int64_t count, Dtype dtype) {
  const Tensor& t = tensor(plan_.inputs, name, "input");
  if (t.count() != count || t.dtype != dtype) {
    fail(ErrorKind::runtime,
         {"input " + name,
          std::to_string(t.count()) + " x " + std::string(name_of(t.dtype)) + " " + t.shape.to_string(),
          std::to_string(count) + " x " + std::string(name_of(dtype)), ""});
  }
  device_.upload_input(t.data, values, t.bytes());
}

void Session::set_scalar(const std::string& input, double value) {
  if (tensor(plan_.inputs, input, "input").dtype == Dtype::f64) {
    set(input, &value, 1);
  } else {
    const auto single = static_cast<float>(value);
    set(input, &single, 1);
  }
}

const Tensor& Session::tensor(const std::map<std::string, Value>& names, const std::string& name,
                              const char* what) const {
  const auto found = names.find(name);
  if (found != names.end()) return values_[static_cast<size_t>(found->second.id)];
  std::string known;
  for (const auto& [key, value] : names) known += (known.empty() ? "" : ", ") + key;
  fail(ErrorKind::runtime, {"session", std::string("an ") + what + " among " + known, "'" + name + "'", ""});
}

// A device that works beside the host may tell here of a fault in what was queued before.
void Session::launch(size_t step) {
  const NamedRange range(device_, plan_.steps[step].name.c_str());
  try {
    launches_[step].run(launches_[step].args);
  } catch (const Error& e) {
    const bool alone = wait_for_nodes_ || !device_.works_beside_host();
    fail_at(describe_step(plan_.steps[step]) + (alone ? "" : " or what was queued before it"), e);
  }
}

void Session::launch_all() {
  for (size_t k = 0; k < launches_.size(); ++k) {
    launch(k);
    if (wait_for_nodes_) synchronize(k);
    if (poison_) poison_dead(static_cast<int64_t>(k));
  }
}

void Session::synchronize(size_t step) {
  try {
    device_.synchronize();
  } catch (const Error& e) {
    fail_at(describe_step(plan_.steps[step]), e);
  }
}

// What cannot be recorded is run node by node, as before.
void Session::record() {
  try {
    recording_ = device_.record([this] { launch_all(); });
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::device) throw;
    log_warning("a step is not recorded, its nodes are queued one by one: " + std::string(e.what()));
  }
  capture_ = recording_ != nullptr;
}

void Session::run() {
  const NamedRange range(device_, "step");
  if (poison_) device_.fill_bytes(arena_, kPoison, plan_.arena_bytes);
  if (!wait_for_nodes_) device_.note_queued(nodes_);
  if (!recording_ && capture_ && runs_++ >= kWarmUpRuns) record();
  recording_ ? recording_->launch() : launch_all();
}

void Session::poison_dead(int64_t after_step) {
  for (const ArenaBuffer& b : plan_.buffers) {
    if (b.last == after_step) device_.fill_bytes(arena_ + b.offset, kPoison, b.bytes);
  }
}

std::optional<BadNode> Session::run_checked() {
  for (size_t k = 0; k < launches_.size(); ++k) {
    launch(k);
    synchronize(k);
    for (size_t o = 0; o < launches_[k].args.out.size(); ++o) {
      Tensor host = launches_[k].args.out[o];
      host.shape = {plan_.specs[static_cast<size_t>(plan_.steps[k].out[o].id)].elements()};
      if (!is_real(host.dtype)) continue;
      std::vector<char> bytes(static_cast<size_t>(host.bytes()));
      device_.download(bytes.data(), host.data, host.bytes());
      host.data = bytes.data();
      const std::vector<double> numbers = to_double(host);
      for (size_t e = 0; e < numbers.size(); ++e) {
        if (std::isfinite(numbers[e])) continue;
        return BadNode{plan_.steps[k].name, static_cast<int>(o), static_cast<int64_t>(e), numbers[e]};
      }
    }
  }
  return std::nullopt;
}

std::vector<double> Session::get(const std::string& name) const {
  Tensor host = output(name);
  if (!is_real(host.dtype)) {
    fail(ErrorKind::runtime,
         {"output " + name, "real numbers", std::string(name_of(host.dtype)), "read its memory instead"});
  }
  std::vector<char> bytes(static_cast<size_t>(host.bytes()));
  device_.download(bytes.data(), host.data, host.bytes());
  host.data = bytes.data();
  return to_double(host);
}

double Session::get_scalar(const std::string& name) const {
  const std::vector<double> all = get(name);
  if (all.size() != 1) {
    fail(ErrorKind::runtime, {"output " + name, "one element", std::to_string(all.size()), ""});
  }
  return all.front();
}

}  // namespace millrace
