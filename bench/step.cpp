// Time and memory of a MotionNet training step, node by node.
//
//   build/bin/bench_step --preset small --repeats 20
//   build/bin/bench_step --preset paper --batch 1 --repeats 5 --nodes
//
// Whole steps and steps with a clock at each node take turns; medians of both are printed, so that what the
// clocks cost shows. The share of a layer is that of the sum over nodes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "apps/motionnet/graphs.h"
#include "apps/motionnet/kernel_settings.h"
#include "apps/support/program.h"
#include "core/libraries.h"
#include "core/session.h"

namespace millrace {
namespace {

struct Arguments {
  TrainConfig flags;
  OptionTable table;
  std::vector<CLI::Option*> given;
  std::string preset = "small";
  int64_t repeats = 10;
  bool json = false, nodes = false;
};

struct Row {
  double seconds = 0, flop = 0, bytes = 0;
};

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// "motionnet/conv1/conv2d" is layer motionnet/conv1, its gradient motionnet/conv1/d/... the same layer's
// backward.
std::string layer_of(const std::string& node) { return node.substr(0, node.rfind('/')); }

void print_table(const std::vector<std::pair<std::string, Row>>& rows, double total) {
  fmt::print("{:<40} {:>9} {:>7} {:>9} {:>8}\n", "layer or node", "ms", "share", "GFLOP/s", "GB/s");
  for (const auto& [name, row] : rows) {
    fmt::print("{:<40} {:>9.3f} {:>6.1f}% {:>9.1f} {:>8.1f}\n", name, row.seconds * 1e3,
               row.seconds / total * 100, row.flop / row.seconds / 1e9, row.bytes / row.seconds / 1e9);
  }
}

int run(Arguments& a) {
  TrainConfig config = preset_config(a.preset);
  copy_given(a.table, a.given, config.options());
  config.data = "synthetic:";
  check_config(config);
  set_threads(config.threads);
  if (config.accumulate != 1 || a.repeats < 1) {
    fail(ErrorKind::usage, {"bench_step", "--accumulate 1 and --repeats of 1 or more", "others", ""});
  }
  const auto device = make_device(config.device);
  State state(*device);
  ParamStore params(device->name(), precision_of(config));
  KernelSettings kernels(config, std::nullopt);
  Plan plan = plan_training(config, params, kernels.plan_options(device->name())).at("step");
  kernels.finish();
  params.initialise(state, Dtype::f32, 1);
  Session session(std::move(plan), state);
  std::vector<uint8_t> clip(static_cast<size_t>(session.input("clip").count()));
  std::mt19937 random(1);
  for (uint8_t& v : clip) v = static_cast<uint8_t>(random());
  session.set("clip", clip);
  session.set_scalar("rate", 1e-6);

  session.run();
  session.wait();
  std::vector<double> whole;
  std::vector<std::vector<double>> per_node(session.plan().steps.size());
  for (int64_t k = 0; k < a.repeats; ++k) {
    const auto start = std::chrono::steady_clock::now();
    session.run();
    session.wait();
    whole.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    const std::vector<double> seconds = session.run_timed().seconds;
    for (size_t n = 0; n < seconds.size(); ++n) per_node[n].push_back(seconds[n]);
  }

  std::map<std::string, size_t> index;
  std::vector<std::pair<std::string, Row>> rows;
  double total = 0;
  for (size_t n = 0; n < per_node.size(); ++n) {
    const PlanStep& step = session.plan().steps[n];
    const std::string key = a.nodes ? step.name : layer_of(step.name);
    const auto [found, is_new] = index.try_emplace(key, rows.size());
    if (is_new) rows.push_back({key, {}});
    Row& row = rows[found->second].second;
    row.seconds += median(per_node[n]);
    row.flop += step.cost.flop;
    row.bytes += step.cost.bytes;
    total += median(per_node[n]);
  }
  const Plan& p = session.plan();
  if (a.json) {
    nlohmann::json result{
        {"seconds", median(whole)},     {"sum_of_nodes", total},           {"batch", config.batch},
        {"height", config.height},      {"width", config.width},           {"frames", config.frames},
        {"channels", config.channels},  {"arena_bytes", p.arena_bytes},    {"values_bytes", p.values_bytes},
        {"bound_bytes", p.bound_bytes}, {"device", device->description()}, {"libraries", library_versions()}};
    for (const auto& [name, row] : rows)
      result["layers"].push_back(
          {{"name", name}, {"seconds", row.seconds}, {"flop", row.flop}, {"bytes", row.bytes}});
    std::cout << result.dump() << "\n";
    return 0;
  }
  print_table(rows, total);
  fmt::print("step {:.2f} ms (sum of nodes {:.2f}), {:.1f} GFLOP/s, {} x {}x{}x{} clips, {:.3g} channels\n",
             median(whole) * 1e3, total * 1e3, p.cost.flop / median(whole) / 1e9, config.batch, config.frames,
             config.width, config.height, config.channels);
  fmt::print("arena {:.2f} MiB, all values side by side {:.2f}, live at once {:.2f}\n",
             static_cast<double>(p.arena_bytes) / (1 << 20), static_cast<double>(p.values_bytes) / (1 << 20),
             static_cast<double>(p.bound_bytes) / (1 << 20));
  fmt::print("{}; {}\n", device->description(), library_versions());
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  Arguments a;
  return run_program({.name = "bench_step",
                      .about = "Time and memory of a MotionNet training step, layer by layer.",
                      .setup =
                          [&](CLI::App& app) {
                            app.add_option("--preset", a.preset, "paper, small or tiny");
                            app.add_option("--repeats", a.repeats, "timed steps");
                            app.add_flag("--json", a.json, "one line of JSON");
                            app.add_flag("--nodes", a.nodes, "a row per node, not per layer");
                            a.table = a.flags.options();
                            a.given = add_flags(app, a.table);
                          },
                      .run = [&](CLI::App&) { return run(a); }},
                     argc, argv);
}
