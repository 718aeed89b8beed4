#include "core/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/copy.h"
#include "core/device.h"
#include "core/kernel_timing.h"
#include "core/layouts.h"
#include "core/passes.h"
#include "core/precision_pass.h"
#include "core/storage.h"

namespace millrace {
namespace {

std::vector<Spec> specs_of(const Graph& g, const std::vector<Value>& values) {
  std::vector<Spec> specs;
  for (Value v : values) specs.push_back(g.spec(v));
  return specs;
}

// PlanOptions, and the environment that choices are looked up in; empty without any.
struct Choosing {
  const PlanOptions& options;
  std::string environment;
};

// Of what is fixed or known that, else the most preferred version that can do the node.
Choice choose_kernel(const Node& node, const std::vector<Spec>& in, const std::vector<Spec>& out,
                     const Choosing& c) {
  const std::string op(node.op->name());
  const Dtype dtype = kernel_dtype(in, out);
  const std::vector<const Kernel*> kernels = Registry::get().kernels(op, c.options.device, dtype);
  const auto fixed = c.options.versions.find(op);
  const bool is_fixed = fixed != c.options.versions.end();
  const std::string* known = is_fixed ? &fixed->second
                             : c.options.choices && kernels.size() > 1
                                 ? c.options.choices->find({c.environment, kernel_node(*node.op, in, out)})
                                 : nullptr;
  for (const bool only_known : {true, false}) {
    for (const Kernel* k : kernels) {
      if (only_known ? !known || k->version != *known : is_fixed) continue;
      if (!k->repeatable && !is_fixed) continue;
      if (k->tf32 && c.options.precision != Precision::tf32) continue;
      if (auto prepared = prepare_kernel(*k, *node.op, in, out)) return {k, std::move(*prepared)};
    }
  }
  fail(ErrorKind::runtime,
       {node.name, fmt::format("a kernel for '{}' in {} on {}", op, name_of(dtype), c.options.device),
        "none that can do " + out.front().to_string(),
        is_fixed ? "asked for was version '" + fixed->second + "'" : ""});
}

PlanStep make_step(const Graph& g, const Node& node, Choice choice) {
  PlanStep step{.op = node.op,
                .name = node.name,
                .kernel = choice.kernel,
                .prepared = std::move(choice.prepared),
                .in = node.in,
                .out = node.out,
                .workspace_offset = 0,
                .cost = {}};
  step.cost = node.op->cost(specs_of(g, node.in), specs_of(g, node.out));
  return step;
}

void append_copies(Plan& plan, const Graph& g, const Storage& storage, const Choosing& choosing) {
  for (const Update& u : storage.copies) {
    const Node node{
        .op = make_op<Copy>(), .in = {u.next}, .out = {u.state}, .name = "update/" + g.info(u.state).name};
    const std::vector<Spec> spec{g.spec(u.next)};
    Choice choice = choose_kernel(node, spec, spec, choosing);
    if (choice.kernel->follow) {
      if (auto followed = choice.kernel->follow(*node.op, spec, spec)) choice.prepared = std::move(*followed);
    }
    plan.steps.push_back(make_step(g, node, std::move(choice)));
  }
}

void place_in_arena(Plan& plan, Storage storage) {
  const auto end = static_cast<int64_t>(plan.steps.size());
  std::vector<size_t> workspace_of;
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const int64_t bytes = plan.steps[k].prepared.workspace_bytes;
    if (bytes == 0) continue;
    workspace_of.push_back(k);
    storage.buffers.push_back({bytes, 0, static_cast<int64_t>(k), static_cast<int64_t>(k)});
  }
  plan.arena_bytes = assign_offsets(storage.buffers);
  for (size_t i = 0; i < workspace_of.size(); ++i) {
    plan.steps[workspace_of[i]].workspace_offset =
        storage.buffers[storage.buffers.size() - workspace_of.size() + i].offset;
  }
  for (Place& place : storage.places) {
    if (place.where == Place::Where::arena)
      place.offset += storage.buffers[static_cast<size_t>(place.buffer)].offset;
  }
  for (int64_t k = 0; k < end; ++k) {
    int64_t live = 0;
    for (const ArenaBuffer& b : storage.buffers) live += b.first <= k && k <= b.last ? b.bytes : 0;
    plan.bound_bytes = std::max(plan.bound_bytes, live);
  }
  plan.places = std::move(storage.places);
  plan.buffers = std::move(storage.buffers);
}

void sum_up(Plan& plan, const Graph& g) {
  plan.values_bytes = 0;
  for (int32_t id = 0; id < g.value_count(); ++id) {
    const Spec& spec = g.spec(Value{id});
    plan.specs.push_back(spec);
    const Place& place = plan.places[static_cast<size_t>(id)];
    if (place.where == Place::Where::state) {
      const int64_t end = place.offset / size_of(spec.dtype) + spec.elements();
      Spec& need = plan.state.try_emplace(place.region, Spec{{0}, spec.dtype}).first->second;
      need.shape = {std::max(need.shape[0], end)};
    }
    if (place.where == Place::Where::input) plan.input_bytes += spec.bytes();
    if (g.info(Value{id}).node >= 0) plan.values_bytes += align_up(spec.bytes());
  }
  for (const PlanStep& step : plan.steps) {
    plan.values_bytes += align_up(step.prepared.workspace_bytes);
    plan.cost.flop += step.cost.flop;
    plan.cost.bytes += step.cost.bytes;
  }
}

std::string place_text(const Place& p) {
  switch (p.where) {
    case Place::Where::arena:
      return fmt::format("arena+{}", p.offset);
    case Place::Where::input:
      return "input " + p.region;
    case Place::Where::state:
      return fmt::format("{}+{}", p.region, p.offset);
  }
  return {};
}

// After the step such an output would show the new content, though its value is the old one.
void refuse_updated_outputs(const Graph& g) {
  for (const auto& [name, v] : g.outputs()) {
    const ValueInfo& out = g.info(v);
    for (const Update& u : g.updates()) {
      const ValueInfo& updated = g.info(u.state);
      if (!out.state || out.state->buffer != updated.state->buffer ||
          out.state->offset >= updated.state->offset + updated.spec.elements() ||
          updated.state->offset >= out.state->offset + out.spec.elements())
        continue;
      fail(ErrorKind::runtime, {"output " + name, "a value that outlasts the step",
                                "state " + updated.name + ", which the step updates",
                                "output what it is updated with, or a copy of it"});
    }
  }
}

}  // namespace

namespace {

Choosing choosing_by(const PlanOptions& options) {
  return {options, options.choices ? kernel_environment(options.device) : ""};
}

// A fusion runs where the options or else the device want it and there is a kernel to do it.
bool runs(const Fusion& fusion, const PlanOptions& options, Dtype real) {
  const auto given = options.fusions.find(fusion.op);
  const bool by_device = std::count(fusion.devices.begin(), fusion.devices.end(), options.device) > 0;
  return (given == options.fusions.end() ? by_device : given->second) &&
         !Registry::get().kernels(fusion.op, options.device, precise(real)).empty();
}

Graph rewrite(const Graph& original, const PlanOptions& options) {
  Graph result = original;
  if (options.rewrite) {
    result = remove_dead_nodes(join_equal_nodes(original));
    for (const Fusion& fusion : Registry::get().fusions()) {
      if (runs(fusion, options, original.real())) result = fusion.run(result);
    }
    result = fuse_nodes(result);
  }
  if (options.precision == Precision::bf16) result = to_bf16(result, options.device);
  refuse_updated_outputs(result);
  return result;
}

ArrangedGraph arrange(const Graph& rewritten, const Choosing& choosing) {
  return arrange_layouts(rewritten, [&](const Node& node, const auto& in, const auto& out) {
    return choose_kernel(node, in, out, choosing);
  });
}

}  // namespace

Graph planned_graph(const Graph& original, const PlanOptions& options) {
  return arrange(rewrite(original, options), choosing_by(options)).graph;
}

Plan make_plan(const Graph& original, const PlanOptions& given) {
  KernelChoices measured;
  PlanOptions options = given;
  if (options.kernels == KernelPolicy::measure && !options.choices) options.choices = &measured;
  const Graph rewritten = rewrite(original, options);
  const Choosing choosing = choosing_by(options);
  if (options.kernels == KernelPolicy::measure) {
    time_kernels(
        rewritten,
        {.device = options.device, .environment = choosing.environment, .precision = options.precision},
        *options.choices);
  }
  Plan plan;
  plan.device = options.device;
  plan.precision = options.precision;
  ArrangedGraph arranged = arrange(rewritten, choosing);
  const Graph& g = arranged.graph;
  for (size_t k = 0; k < g.nodes().size(); ++k)
    plan.steps.push_back(make_step(g, g.nodes()[k], std::move(arranged.choices[k])));
  Storage storage = assign_storage(g);
  append_copies(plan, g, storage, choosing);
  place_in_arena(plan, std::move(storage));
  plan.inputs = g.inputs();
  plan.outputs = g.outputs();
  sum_up(plan, g);
  return plan;
}

std::string Plan::to_string() const {
  std::string text = fmt::format("{:<44} {:<22} {:>20} {:>10} {:>10}  {}\n", "node", "kernel", "output",
                                 "MFLOP", "KiB", "place");
  for (const PlanStep& s : steps) {
    const auto out = static_cast<size_t>(s.out.front().id);
    std::string version = s.kernel->version;
    if (!s.prepared.implementation.empty()) version += " " + s.prepared.implementation;
    text +=
        fmt::format("{:<44} {:<22} {:>20} {:>10.2f} {:>10.1f}  {}\n", s.name, version, specs[out].to_string(),
                    s.cost.flop / 1e6, s.cost.bytes / 1024, place_text(places[out]));
  }
  const double mib = 1.0 / (1 << 20);
  text += fmt::format("{} nodes on {} in {}, {:.3f} GFLOP, {:.1f} MiB read and written\n", steps.size(),
                      device, name_of(precision), cost.flop / 1e9, cost.bytes * mib);
  int64_t state_bytes = 0;
  for (const auto& [name, spec] : state) {
    text += fmt::format("state {:<12} {:>10.2f} MiB\n", name, spec.bytes() * mib);
    state_bytes += spec.bytes();
  }
  text += fmt::format("inputs             {:>10.2f} MiB\n", input_bytes * mib);
  text +=
      fmt::format("arena              {:>10.2f} MiB ({:.2f} all values side by side, {:.2f} live at once)\n",
                  arena_bytes * mib, values_bytes * mib, bound_bytes * mib);
  text += fmt::format("in all             {:>10.2f} MiB\n", (arena_bytes + input_bytes + state_bytes) * mib);
  text += "fingerprint " + fingerprint() + "\n";
  return text;
}

std::string plans_to_string(const std::map<std::string, Plan>& plans) {
  std::string text;
  for (const auto& [name, plan] : plans) text += "# " + name + "\n" + plan.to_string();
  return text;
}

std::string Plan::fingerprint() const {
  uint64_t hash = 1469598103934665603ull;  // FNV-1a
  auto mix = [&](const std::string& s) {
    for (unsigned char c : s) hash = (hash ^ c) * 1099511628211ull;
    hash = (hash ^ 0xff) * 1099511628211ull;
  };
  mix(device);
  mix(name_of(precision));
  for (const PlanStep& s : steps) {
    mix(std::string(s.op->name()) + "{" + s.op->attributes() + "}" + s.kernel->version +
        s.prepared.implementation);
    for (Value v : s.in) mix(specs[static_cast<size_t>(v.id)].to_string() + std::to_string(v.id));
    for (Value v : s.out) mix(specs[static_cast<size_t>(v.id)].to_string() + std::to_string(v.id));
  }
  for (size_t id = 0; id < places.size(); ++id) {
    if (places[id].where != Place::Where::arena) mix(std::to_string(id) + place_text(places[id]));
  }
  for (const auto& [name, v] : outputs) mix(name + "=" + std::to_string(v.id));
  return fmt::format("{:016x}", hash);
}

}  // namespace millrace
