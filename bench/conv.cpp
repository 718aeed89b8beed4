// Time of every convolution in a training step of MotionNet, for each version of its kernel on the CPU.
//   bench_conv --width 1 --size 224 --batch 1 --frames 11
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <map>

#include "core/plan.h"
#include "nets/motionnet.h"

namespace millrace {
namespace {

struct Options {
  double width = 1;
  int64_t size = 224, batch = 1, frames = 11;
  int repeats = 5;
  bool cpu_time = false, plain = false;
  std::string op = "conv2d";
};

// The plan of the net and its gradients; losses are left out, any cotangent of the flows will do.
Plan training_plan(const Options& o) {
  Graph g(Dtype::f32);
  ParamStore params;
  const Value images = g.input("images", Shape{o.batch, o.size, o.size, 3 * o.frames});
  const MotionNetFlows net = motionnet(g, params, images, {.frames = o.frames, .channels = o.width});
  std::vector<Value> seeds, weights;
  for (Value flow : net.flows) seeds.push_back(g.input("d" + std::to_string(seeds.size()), g.shape(flow)));
  for (const FlatSlice& slice : params.layout().slices) {
    weights.push_back(params.parameter(g, slice.name, slice.shape, {}));
  }
  const std::vector<Value> d = gradients(g, net.flows, seeds, weights);
  for (size_t k = 0; k < d.size(); ++k) g.output("g" + std::to_string(k), d[k]);
  for (int level = kFinestLevel; level <= kCoarsestLevel; ++level) {
    g.output("flow" + std::to_string(level), net.at(level));
  }
  return make_plan(g);
}

// Wall time, or the processor time of all threads, which other load on the machine disturbs less.
double now(bool cpu_time) {
  if (cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A kernel with memory to run in.
class Trial {
 public:
  Trial(const Kernel& kernel, const Op& op, const std::vector<Spec>& in, const std::vector<Spec>& out)
      : kernel_(kernel), op_(op), device_(make_device("cpu")) {
    std::optional<Prepared> prepared = kernel.prepare ? kernel.prepare(op, in, out) : Prepared{};
    if (!prepared) return;
    prepared_ = std::move(*prepared);
    can_ = true;
    const Layouts& layouts = prepared_.layouts;
    for (size_t i = 0; i < in.size(); ++i) in_.push_back(tensor(in[i], layouts.in, i));
    for (size_t o = 0; o < out.size(); ++o) out_.push_back(tensor(out[o], layouts.out, o));
    workspace_ = Memory(*device_, prepared_.workspace_bytes);
  }

  bool can() const { return can_; }
  const std::string& implementation() const { return prepared_.implementation; }

  // The best of several runs after a first one.
  double seconds(const Options& o) const {
    double best = 1e9;
    for (int k = 0; k <= o.repeats; ++k) {
      const double start = now(o.cpu_time);
      kernel_.run({.op = op_,
                   .in = in_,
                   .out = out_,
                   .workspace = workspace_.data(),
                   .prepared = prepared_.state.get()});
      if (k > 0) best = std::min(best, now(o.cpu_time) - start);
    }
    return best;
  }

 private:
  Tensor tensor(Spec spec, const std::vector<Layout>& layouts, size_t k) {
    if (!layouts.empty()) spec.layout = layouts[k];
    Tensor t{memory_.emplace_back(*device_, spec.bytes()).data(), spec.shape, spec.dtype};
    for (int64_t e = 0; e < spec.elements(); ++e) t.as<float>()[e] = static_cast<float>(e % 17 - 8);
    return t;
  }

  const Kernel& kernel_;
  const Op& op_;
  std::unique_ptr<Device> device_;
  Prepared prepared_;
  std::vector<Memory> memory_;
  Memory workspace_;
  std::vector<Tensor> in_, out_;
  bool can_ = false;
};

std::vector<Spec> specs_of(const Plan& plan, const std::vector<Value>& values) {
  std::vector<Spec> specs;
  for (Value v : values) {
    const Spec& spec = plan.specs[static_cast<size_t>(v.id)];
    specs.push_back({spec.shape, spec.dtype});
  }
  return specs;
}

void run(const Options& o) {
  std::map<std::string, double> total;
  const Plan plan = training_plan(o);
  for (const PlanStep& step : plan.steps) {
    const std::string op(step.op->name());
    if (!op.starts_with(o.op)) continue;
    const std::vector<Spec> in = specs_of(plan, step.in), out = specs_of(plan, step.out);
    fmt::print("{} {}: {} {} -> {}\n", step.name, op, in[0].shape.to_string(),
               in.size() > 1 ? in[1].shape.to_string() : "", out[0].shape.to_string());
    for (const Kernel* kernel : Registry::get().kernels(op, "cpu", Dtype::f32)) {
      if (kernel->version == "plain" && !o.plain && step.kernel != kernel) continue;
      const Trial trial(*kernel, *step.op, in, out);
      if (!trial.can()) {
        fmt::print("  {:<16} has no code for it\n", kernel->version);
        continue;
      }
      const double seconds = trial.seconds(o);
      total[fmt::format("{:<14} {}", op, kernel->version)] += seconds;
      fmt::print("  {:<16} {:9.3f} ms {:7.1f} GFLOP/s {:6.1f} GB/s  {}\n", kernel->version, seconds * 1e3,
                 step.cost.flop / seconds / 1e9, step.cost.bytes / seconds / 1e9, trial.implementation());
    }
  }
  fmt::print("in all\n");
  for (const auto& [what, seconds] : total) fmt::print("  {:<31} {:9.2f} ms\n", what, seconds * 1e3);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Options o;
  CLI::App app{"Times the convolutions of MotionNet on the CPU, each version of each kernel"};
  app.add_option("--width", o.width, "factor of the channels")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--size", o.size, "height and width, a multiple of 32")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--batch", o.batch, "clips")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--frames", o.frames, "frames of a clip")->check(CLI::Range(2, 100))->capture_default_str();
  app.add_option("--repeats", o.repeats, "the best of so many runs")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--op", o.op, "only ops whose names begin so")->capture_default_str();
  app.add_flag("--plain", o.plain, "the plain loops too, which take minutes");
  app.add_flag("--cpu-time", o.cpu_time,
               "processor time instead of wall time; set OMP_NUM_THREADS=1 with it");
  CLI11_PARSE(app, argc, argv);
  try {
    millrace::run(o);
  } catch (const millrace::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
}
