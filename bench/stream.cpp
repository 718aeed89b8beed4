// Time and memory of a stream of the action recogniser, layer by layer: its training step (one batch, softmax
// loss, dropout, SGD) or its inference, on made-up clips and weights.
//
//   build/bin/bench_stream --stream temporal --training --batch 2 --repeats 5
//   build/bin/bench_stream --stream stacked --batch 10 --nodes
//
// The opponent of tests/golden/vgg16.py in bench/versus_pytorch. Whole steps, and steps with a mark behind
// each node take turns; of both the median is printed.
#include "apps/actions/stream.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <random>

#include "apps/support/program.h"
#include "bench/peaks.h"
#include "bench/rows.h"
#include "core/add.h"
#include "core/error.h"
#include "core/libraries.h"
#include "core/session.h"
#include "losses/softmax_cross_entropy.h"
#include "nets/motion_loss.h"
#include "optim/update.h"

namespace millrace {
namespace {

using nlohmann::json;

struct Arguments {
  std::string stream = "temporal", device = "cpu", precision = "fp32", kernels = "heuristic", peaks = "auto";
  int64_t batch = 1, size = 224, flows = 10, classes = 101, threads = 0, repeats = 10;
  double channels = 1;
  bool training = false, joint = false, json = false, nodes = false;
};

StreamSpec spec_of(const Arguments& a) {
  StreamSpec spec{.input = {a.size, a.size}, .channels = a.channels, .flows = a.flows};
  for (const StreamKind kind : {StreamKind::spatial, StreamKind::temporal, StreamKind::stacked}) {
    if (a.stream == name_of(kind)) spec.kind = kind;
  }
  spec.motionnet = {.frames = a.flows + 1, .channels = a.channels};
  for (int64_t k = 0; k < a.classes; ++k) spec.classes.push_back(std::to_string(k));
  return spec;
}

Graph graph_of(const Arguments& a, const StreamSpec& spec, ParamStore& params) {
  Graph g;
  const Value clip = g.input("clip", clip_spec(spec, a.batch));
  if (!a.training) {
    g.output("logits", stream(g, params, clip, spec).logits);
    return g;
  }
  const StreamTraining training{.dropout_at = g.input("dropout_at", Spec{{2}, Dtype::i64})};
  const StreamValues values = stream(g, params, clip, spec, training);
  Value loss = softmax_cross_entropy(g, values.logits, g.input("labels", Spec{{a.batch}, Dtype::i32})).loss;
  if (a.joint)
    loss = add(g, loss, motion_loss(g, values.images, *values.flows, {.frames = a.flows + 1}).loss);
  g.output("loss", loss);
  train_step(g, loss, params.layout(), {.kind = OptimizerKind::sgd, .weight_decay = 5e-4});
  return g;
}

class Bench {
 public:
  explicit Bench(const Arguments& a) : a_(a), device_(make_device(a.device)), state_(*device_) {
    peaks_ = find_peaks(a.peaks, *device_);
    const Precision precision = parse_precision(a.precision, "--precision");
    ParamStore params(device_->name(), precision);
    const PlanOptions options{
        .device = device_->name(),
        .precision = precision,
        .kernels = a.kernels == "measure" ? KernelPolicy::measure : KernelPolicy::heuristic};
    Plan plan = make_plan(graph_of(a, spec_of(a), params), options);
    params.initialise(state_, Dtype::f32, 1);
    parameters_ = params.count();
    session_ = std::make_unique<Session>(std::move(plan), state_);
    std::mt19937 random(1);
    std::vector<uint8_t> clip(static_cast<size_t>(session_->input("clip").count()));
    for (uint8_t& v : clip) v = static_cast<uint8_t>(random());
    session_->set("clip", clip);
    if (!a.training) return;
    session_->set("labels", std::vector<int32_t>(static_cast<size_t>(a.batch), 0));
    session_->set("dropout_at", std::vector<int64_t>{1, 1});
    session_->set_scalar("rate", 1e-6);
  }

  void run() {
    for (int64_t k = 0; k <= Session::kWarmUpRuns; ++k) session_->run();
    session_->run_timed();
    const Plan& plan = session_->plan();
    const std::unique_ptr<Timer> timer = device_->make_timer();
    std::vector<std::vector<double>> per_node(plan.steps.size());
    for (int64_t k = 0; k < a_.repeats; ++k) {
      timer->start();
      session_->run();
      timer->mark();
      whole_.push_back(timer->read().front());
      if (a_.json) continue;  // the table alone tells nodes apart
      const StepTimes step = session_->run_timed();
      for (size_t n = 0; n < per_node.size(); ++n) per_node[n].push_back(step.seconds[n]);
    }
    if (!a_.json) add_rows(plan, per_node);
  }

  void print_json() const {
    const Plan& p = session_->plan();
    const double seconds = median(whole_);
    std::cout << json{{"work", a_.training ? "training" : "inference"},
                      {"stream", a_.stream},
                      {"joint", a_.joint},
                      {"batch", a_.batch},
                      {"size", a_.size},
                      {"channels", a_.channels},
                      {"parameters", parameters_},
                      {"precision", a_.precision},
                      {"repeats", a_.repeats},
                      {"seconds", seconds},
                      {"fastest_seconds", *std::min_element(whole_.begin(), whole_.end())},
                      {"clips_per_second", static_cast<double>(a_.batch) / seconds},
                      {"flop", p.cost.flop},
                      {"arena_bytes", p.arena_bytes},
                      {"memory_bytes", memory_need({&p}, State(*device_)).total()},
                      {"device", device_->description()},
                      {"libraries", library_versions()}}
                     .dump()
              << "\n";
  }

  void print_table() const {
    print_head(a_.nodes ? "node" : "layer");
    for (const auto& [name, row] : rows_) print_row(name, row, total_.seconds);
    print_row("all", total_, total_.seconds);
    const Plan& p = session_->plan();
    const double seconds = median(whole_);
    constexpr double kMiB = 1 << 20;
    fmt::print(
        "{} of the {} stream {:.2f} ms (sum of nodes {:.2f}), {:.1f} GFLOP/s, {:.1f} clips/s; batch {}, "
        "{} parameters, {}\n",
        a_.training ? "training step" : "inference", a_.stream, seconds * 1e3, total_.seconds * 1e3,
        p.cost.flop / seconds / 1e9, static_cast<double>(a_.batch) / seconds, a_.batch, parameters_,
        a_.precision);
    fmt::print("arena {:.2f} MiB, live at once {:.2f}; with inputs and State {:.2f}\n",
               static_cast<double>(p.arena_bytes) / kMiB, static_cast<double>(p.bound_bytes) / kMiB,
               static_cast<double>(memory_need({&p}, State(*device_)).total()) / kMiB);
    fmt::print("floor: the share of the time that {} would take\n{}; {}\n", peaks_text(peaks_),
               device_->description(), library_versions());
  }

 private:
  void add_rows(const Plan& plan, const std::vector<std::vector<double>>& per_node) {
    std::map<std::string, size_t> index;
    for (size_t n = 0; n < per_node.size(); ++n) {
      const PlanStep& step = plan.steps[n];
      const NodeTime time = node_time(step, median(per_node[n]), peaks_);
      const std::string key = a_.nodes ? step.name : layer_of(step.name);
      const auto [found, is_new] = index.try_emplace(key, rows_.size());
      if (is_new) rows_.push_back({key, {}});
      rows_[found->second].second += time;
      total_ += time;
    }
  }

  const Arguments& a_;
  std::unique_ptr<Device> device_;
  State state_;
  std::unique_ptr<Session> session_;
  Peaks peaks_;
  int64_t parameters_ = 0;
  std::vector<double> whole_;
  std::vector<std::pair<std::string, NodeTime>> rows_;
  NodeTime total_;
};

int run(const Arguments& a) {
  if (a.joint && (a.stream != "stacked" || !a.training))
    fail(ErrorKind::usage, {"--joint", "--stream stacked --training with it", "--stream " + a.stream, ""});
  set_threads(a.threads);
  Bench bench(a);
  bench.run();
  a.json ? bench.print_json() : bench.print_table();
  return 0;
}

void declare(CLI::App& app, Arguments& a) {
  app.add_option("--stream", a.stream, "spatial, temporal or stacked")
      ->check(CLI::IsMember({"spatial", "temporal", "stacked"}));
  app.add_flag("--training", a.training, "a training step in place of inference");
  app.add_flag("--joint", a.joint,
               "with --stream stacked --training: MotionNet's own losses beside the action's");
  app.add_option("--batch", a.batch, "clips a step")->check(CLI::PositiveNumber);
  app.add_option("--size", a.size, "height and width, a multiple of 32");
  app.add_option("--flows", a.flows, "of a clip");
  app.add_option("--classes", a.classes, "number of them")->check(CLI::PositiveNumber);
  app.add_option("--channels", a.channels, "factor of the paper's widths");
  app.add_option("--threads", a.threads, "0: as many as the machine has")->check(CLI::NonNegativeNumber);
  app.add_option("--repeats", a.repeats, "timed steps")->check(CLI::PositiveNumber);
  app.add_option("--device", a.device, "cpu, cuda or cuda-sim");
  app.add_option("--precision", a.precision, "fp32, tf32 or bf16");
  app.add_option("--kernels", a.kernels, "heuristic, or measure: the fastest version of each node")
      ->check(CLI::IsMember({"heuristic", "measure"}));
  app.add_option("--peaks", a.peaks, kPeaksHelp);
  app.add_flag("--json", a.json, "one line of JSON, of whole steps alone");
  app.add_flag("--nodes", a.nodes, "a row per node, not per layer");
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  Arguments a;
  return run_program({.name = "bench_stream",
                      .about = "Time and memory of a stream's training step or inference, layer by layer.",
                      .setup = [&](CLI::App& app) { declare(app, a); },
                      .run = [&](CLI::App&) { return run(a); }},
                     argc, argv);
}
