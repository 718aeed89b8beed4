// Time and memory of MotionNet's training step or of its flow alone, layer by layer, against what the device
// can do at most.
//
//   build/bin/bench_step --preset small --repeats 20
//   build/bin/bench_step --preset paper --batch 1 --repeats 5 --nodes
//   build/bin/bench_step --preset paper --precision bf16 --json
//
// Whole steps, as a run queues them, and steps with a mark behind each node take turns; of both the median is
// printed, so that what the marks cost shows. All times are the device's. Each whole step has another input
// than the one before; its upload lies outside of the step's time, and inside of the time from step to step.
// A node that is over 100 % of its floor found its operands in a cache, which the floor knows nothing of.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "apps/motionnet/graphs.h"
#include "apps/support/program.h"
#include "apps/training/kernel_settings.h"
#include "bench/peaks.h"
#include "bench/rows.h"
#include "core/libraries.h"
#include "core/session.h"
#include "core/step_report.h"

namespace millrace {
namespace {

using nlohmann::json;

struct Arguments {
  TrainConfig flags;
  OptionTable table;
  std::vector<CLI::Option*> given;
  std::string preset = "small", peaks = "auto";
  int64_t repeats = 50;
  bool json = false, nodes = false, inference = false;
};

constexpr int64_t kInputs = 3;
constexpr int64_t kInTurn = 10;  // whole steps in a row, as many as queue up before the device is waited for

Plan make(const Arguments& a, const TrainConfig& c, ParamStore& params, const PlanOptions& options) {
  if (!a.inference) {
    const TaskForward forward = [&](Graph& g, ParamStore& store) { return motionnet_forward(g, c, store); };
    return plan_training(c, forward, params, options).at("step");
  }
  return plan_flow({.height = c.height, .width = c.width, .net = net_options(c), .batch = c.batch}, params,
                   options);
}

// Cold: from nothing, or what --kernel-cache knows. Cached: again, with all choices known.
struct PlanSeconds {
  double cold = 0, cached = 0;
};

struct Times {
  std::vector<double> whole;                  // seconds of a step
  std::vector<double> apart;                  // from the end of one to the end of the next
  std::vector<std::vector<double>> per_node;  // of each node
};

class Bench {
 public:
  Bench(const Arguments& a, const TrainConfig& config)
      : a_(a), config_(config), device_(make_device(config.device)), state_(*device_) {
    peaks_ = find_peaks(a.peaks, *device_);
    ParamStore params(device_->name(), precision_of(config_));
    KernelSettings kernels(config_, std::nullopt);
    const PlanOptions options = kernels.plan_options(device_->name());
    auto start = HostClock::now();
    Plan plan = make(a_, config_, params, options);
    plan_seconds_.cold = since(start);
    ParamStore again(device_->name(), precision_of(config_));
    start = HostClock::now();
    make(a_, config_, again, options);
    plan_seconds_.cached = since(start);
    kernels.finish();
    params.initialise(state_, Dtype::f32, 1);
    session_ = std::make_unique<Session>(
        std::move(plan), state_,
        SessionOptions{.wait_for_nodes = config_.wait_for_nodes, .capture = config_.capture});
    std::mt19937 random(1);
    for (std::vector<uint8_t>& clip : clips_) {
      clip.resize(static_cast<size_t>(session_->input("clip").count()));
      for (uint8_t& v : clip) v = static_cast<uint8_t>(random());
    }
    if (!a_.inference) session_->set_scalar("rate", 1e-6);
  }

  void run() {
    for (int64_t k = 0; k < std::max<int64_t>(kInputs, Session::kWarmUpRuns + 1); ++k) run_once();
    session_->run_timed();
    times_.per_node.resize(plan().steps.size());
    for (int64_t left = a_.repeats; left > 0; left -= kInTurn) {
      run_whole(std::min(left, kInTurn));
      for (int64_t k = 0; k < std::min(left, kInTurn); ++k) {
        const StepTimes step = session_->run_timed();
        for (size_t n = 0; n < step.seconds.size(); ++n) times_.per_node[n].push_back(step.seconds[n]);
      }
    }
    for (size_t n = 0; n < times_.per_node.size(); ++n) {
      const PlanStep& step = plan().steps[n];
      const NodeTime time = node_time(step, median(times_.per_node[n]), peaks_);
      const std::string key = a_.nodes ? step.name : layer_of(step.name);
      const auto [found, is_new] = index_.try_emplace(key, rows_.size());
      if (is_new) rows_.push_back({key, {}});
      rows_[found->second].second += time;
      kinds_[node_kind(step)] += time;
      total_ += time;
    }
  }

  void print_json() const;
  void print_table() const;

 private:
  static double since(HostClock::time_point start) {
    return std::chrono::duration<double>(HostClock::now() - start).count();
  }
  const Plan& plan() const { return session_->plan(); }

  void run_once() {
    session_->set("clip", clips_[next_]);
    next_ = (next_ + 1) % clips_.size();
    session_->run();
  }

  void run_whole(int64_t count) {
    if (!timer_) timer_ = device_->make_timer();
    timer_->start();
    for (int64_t k = 0; k < count; ++k) {
      session_->set("clip", clips_[next_]);
      next_ = (next_ + 1) % clips_.size();
      timer_->mark();
      session_->run();
      timer_->mark();
    }
    const std::vector<double> at = timer_->read();
    for (size_t k = 1; k < at.size(); k += 2) {
      times_.whole.push_back(at[k] - at[k - 1]);
      if (k >= 3) times_.apart.push_back(at[k] - at[k - 2]);
    }
  }

  double seconds() const { return median(times_.whole); }
  double apart() const { return times_.apart.empty() ? seconds() : median(times_.apart); }

  const Arguments& a_;
  const TrainConfig& config_;
  std::unique_ptr<Device> device_;
  State state_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Timer> timer_;
  std::array<std::vector<uint8_t>, kInputs> clips_;
  size_t next_ = 0;
  Peaks peaks_;
  PlanSeconds plan_seconds_;
  Times times_;
  std::map<std::string, size_t> index_;
  std::vector<std::pair<std::string, NodeTime>> rows_;
  std::map<NodeKind, NodeTime> kinds_;
  NodeTime total_;
};

void Bench::print_json() const {
  const TrainConfig& c = config_;
  const Plan& p = plan();
  json result{{"work", a_.inference ? "inference" : "training"},
              {"net", c.net},
              {"small_displacement", c.small_displacement},
              {"smooth_conv", c.smooth_conv},
              {"batch", c.batch},
              {"height", c.height},
              {"width", c.width},
              {"frames", c.frames},
              {"channels", c.channels},
              {"precision", c.precision},
              {"captured", session_->recorded()},
              {"repeats", a_.repeats},
              {"seconds", seconds()},
              {"fastest_seconds", *std::min_element(times_.whole.begin(), times_.whole.end())},
              {"seconds_apart", apart()},
              {"clips_per_second", static_cast<double>(c.batch) / apart()},
              {"sum_of_nodes", total_.seconds},
              {"floor_seconds", total_.floor},
              {"flop", p.cost.flop},
              {"bytes", p.cost.bytes},
              {"plan_seconds", {{"cold", plan_seconds_.cold}, {"cached", plan_seconds_.cached}}},
              {"arena_bytes", p.arena_bytes},
              {"values_bytes", p.values_bytes},
              {"bound_bytes", p.bound_bytes},
              {"peak_bytes", memory_need({&p}, State(*device_)).total()},
              {"peaks",
               {{"fp32", peaks_.fp32},
                {"tf32", peaks_.tf32},
                {"bf16", peaks_.bf16},
                {"bytes", peaks_.bytes},
                {"source", peaks_.source}}},
              {"device", device_->description()},
              {"libraries", library_versions()},
              {"kinds", json::array()},
              {"layers", json::array()}};
  for (const NodeKind kind : kNodeKinds) {
    const auto found = kinds_.find(kind);
    result["kinds"].push_back(to_json(name_of(kind), found == kinds_.end() ? NodeTime{} : found->second));
  }
  for (const auto& [name, row] : rows_) result["layers"].push_back(to_json(name, row));
  std::cout << result.dump() << "\n";
}

void Bench::print_table() const {
  print_head(a_.nodes ? "node" : "layer");
  for (const auto& [name, row] : rows_) print_row(name, row, total_.seconds);
  fmt::print("\n");
  for (const auto& [kind, row] : kinds_) print_row("all of kind " + name_of(kind), row, total_.seconds);
  print_row("all", total_, total_.seconds);
  const Plan& p = plan();
  constexpr double kMiB = 1 << 20;
  fmt::print(
      "{} {:.2f} ms{} (from step to step with another input {:.2f}, sum of nodes {:.2f}), {:.1f} GFLOP/s, "
      "{:.1f} clips/s; {} x {}x{}x{} clips, {:.3g} channels, {}\n",
      a_.inference ? "flow" : "step", seconds() * 1e3, session_->recorded() ? ", recorded" : "",
      apart() * 1e3, total_.seconds * 1e3, p.cost.flop / seconds() / 1e9,
      static_cast<double>(config_.batch) / apart(), config_.batch, config_.frames, config_.width,
      config_.height, config_.channels, config_.precision);
  fmt::print("plan: {:.2f} s, with all choices known {:.2f} s\n", plan_seconds_.cold, plan_seconds_.cached);
  fmt::print(
      "arena {:.2f} MiB, all values side by side {:.2f}, live at once {:.2f}; with inputs and "
      "State {:.2f}\n",
      static_cast<double>(p.arena_bytes) / kMiB, static_cast<double>(p.values_bytes) / kMiB,
      static_cast<double>(p.bound_bytes) / kMiB,
      static_cast<double>(memory_need({&p}, State(*device_)).total()) / kMiB);
  fmt::print("floor: the share of the time that {} would take\n", peaks_text(peaks_));
  fmt::print("{}; {}\n", device_->description(), library_versions());
}

int run(const Arguments& a) {
  TrainConfig config = preset_config(a.preset);
  copy_given(a.table, a.given, config.options());
  config.data = "synthetic:";
  check_config(config);
  set_threads(config.threads);
  if (config.accumulate != 1 || a.repeats < 1) {
    fail(ErrorKind::usage, {"bench_step", "--accumulate 1 and --repeats of 1 or more", "others", ""});
  }
  Bench bench(a, config);
  bench.run();
  a.json ? bench.print_json() : bench.print_table();
  return 0;
}

void declare(CLI::App& app, Arguments& a) {
  app.add_option("--preset", a.preset, "paper, small or tiny");
  app.add_option("--repeats", a.repeats, "timed steps, and as many with a mark behind each node");
  app.add_flag("--inference", a.inference, "flow alone, without losses, gradients and update");
  app.add_option("--peaks", a.peaks, kPeaksHelp);
  app.add_flag("--json", a.json, "one line of JSON");
  app.add_flag("--nodes", a.nodes, "a row per node, not per layer");
  a.table = a.flags.options();
  a.given = add_flags(app, a.table);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  Arguments a;
  return run_program({.name = "bench_step",
                      .about = "Time and memory of MotionNet's training step or flow, layer by layer.",
                      .setup = [&](CLI::App& app) { declare(app, a); },
                      .run = [&](CLI::App&) { return run(a); }},
                     argc, argv);
}
