#include "core/kernel_timing.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <optional>
#include <set>

#include "core/device.h"
#include "core/reorder.h"
#include "core/tensor.h"

namespace millrace {
namespace {

constexpr uint64_t kSeed = 1;
constexpr size_t kMinRuns = 3, kMaxRuns = 9;
constexpr double kLong = .1;     // seconds: a longer run needs no repeats
constexpr double kHopeless = 3;  // times the best: one run is enough to know
constexpr double kBetter = .97;  // a smaller gain over a more preferred version is noise

struct Candidate {
  const Kernel* kernel = nullptr;
  Prepared prepared;

  // Operand i as this version wants it, `layouts` being those of the inputs or of the outputs.
  Spec lies(const Spec& spec, const std::vector<Layout>& layouts, size_t i) const {
    return {spec.shape, spec.dtype, layouts.empty() ? Layout{} : layouts[i]};
  }
};

// A node to be timed.
struct Job {
  KernelKey key;
  std::shared_ptr<const Op> op;
  std::vector<Spec> in, out;
  std::vector<Candidate> candidates;  // most preferred first
  double work = 0;                    // what seconds are roughly proportional to, within one op
};

// Versions that say they run the same implementation are one candidate: the most preferred of them.
void add_candidate(std::vector<Candidate>& candidates, Candidate c) {
  for (const Candidate& other : candidates) {
    const std::string& name = other.prepared.implementation;
    if (!name.empty() && name == c.prepared.implementation) return;
  }
  candidates.push_back(std::move(c));
}

std::vector<Spec> specs_of(const Graph& g, const std::vector<Value>& values) {
  std::vector<Spec> specs;
  for (Value v : values) specs.push_back(g.spec(v));
  return specs;
}

// Smallest first: what is learnt there spares long runs later.
std::vector<Job> find_jobs(const Graph& g, const TimingOptions& options, const KernelChoices& choices) {
  std::vector<Job> jobs;
  std::set<KernelKey> seen;
  for (const Node& node : g.nodes()) {
    Job job{.key = {},
            .op = node.op,
            .in = specs_of(g, node.in),
            .out = specs_of(g, node.out),
            .candidates = {},
            .work = 0};
    job.key = {options.environment, kernel_node(*node.op, job.in, job.out)};
    if (!seen.insert(job.key).second) continue;
    const std::string* known = choices.find(job.key);
    bool usable = false;
    for (const Kernel* k :
         Registry::get().kernels(node.op->name(), options.device, kernel_dtype(job.in, job.out))) {
      if (!k->repeatable || (k->tf32 && options.precision != Precision::tf32)) continue;
      std::optional<Prepared> prepared = prepare_kernel(*k, *node.op, job.in, job.out);
      if (!prepared) continue;
      usable = usable || (known && *known == k->version);
      add_candidate(job.candidates, {k, std::move(*prepared)});
    }
    if (usable || job.candidates.size() < 2) continue;
    const Cost cost = node.op->cost(job.in, job.out);
    job.work = std::max(cost.flop, cost.bytes);
    jobs.push_back(std::move(job));
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.work < b.work; });
  return jobs;
}

template <class T> void fill(std::vector<char>& bytes, const std::function<T()>& next) {
  T* values = reinterpret_cast<T*>(bytes.data());
  std::generate_n(values, bytes.size() / sizeof(T), next);
}

// Reals in [-1, 1), any byte; other integers may be indices, and are 0.
std::vector<char> random_bytes(const Spec& spec, Random& random) {
  std::vector<char> bytes(static_cast<size_t>(spec.bytes()));
  const auto real = [&] { return static_cast<float>(random.uniform(-1, 1)); };
  switch (spec.dtype) {
    case Dtype::f32:
      fill<float>(bytes, real);
      break;
    case Dtype::f64:
      fill<double>(bytes, real);
      break;
    case Dtype::bf16:
      fill<Bf16>(bytes, [&] { return round_to_bf16(real()); });
      break;
    case Dtype::u8:
      fill<uint8_t>(bytes, [&] { return static_cast<uint8_t>(random.integer(0, 255)); });
      break;
    case Dtype::i32:
    case Dtype::i64:
      break;
  }
  return bytes;
}

// Memory of one node, and a clock.
class Bench {
 public:
  Bench(Device& device, const Job& job) : device_(device), job_(job) {
    Random random(kSeed);
    for (size_t i = 0; i < job.in.size(); ++i) {
      const Spec spec = largest(job.in, &Layouts::in, i);
      const std::vector<char> values = random_bytes(spec, random);
      in_.push_back(add(spec));
      device.upload(in_.back().data, values.data(), spec.bytes());
    }
    for (size_t o = 0; o < job.out.size(); ++o) {
      const Spec spec = largest(job.out, &Layouts::out, o);
      out_.push_back(add(spec));
      device.fill_bytes(out_.back().data, 0, spec.bytes());
    }
  }

  // Median seconds of a run; nothing when already the first took longer than `limit`.
  std::optional<double> seconds_of(const Candidate& c, double limit) {
    workspace_ = Memory();
    workspace_ = Memory(device_, c.prepared.workspace_bytes);
    device_.fill_bytes(workspace_.data(), 0, workspace_.bytes());
    first_ = run(c);  // warms up
    if (first_ > limit) return {};
    if (first_ > kLong) return first_;
    std::vector<double> seconds;
    double sum = 0;
    while (seconds.size() < kMinRuns || (seconds.size() < kMaxRuns && sum < kLong)) {
      seconds.push_back(run(c));
      sum += seconds.back();
    }
    const auto middle = seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }
  // Of the last candidate's first run.
  double first_seconds() const { return first_; }

 private:
  // The operand in the layout that takes most memory.
  Spec largest(const std::vector<Spec>& specs, std::vector<Layout> Layouts::*side, size_t i) const {
    Spec result = specs[i];
    for (const Candidate& c : job_.candidates) {
      const Spec other = c.lies(specs[i], c.prepared.layouts.*side, i);
      if (other.bytes() > result.bytes()) result = other;
    }
    return result;
  }

  Tensor add(const Spec& spec) {
    memory_.emplace_back(device_, spec.bytes());
    return {memory_.back().data(), spec.shape, spec.dtype};
  }

  double run(const Candidate& c) {
    device_.synchronize();
    const auto start = std::chrono::steady_clock::now();
    c.kernel->run({.op = *job_.op,
                   .in = in_,
                   .out = out_,
                   .workspace = workspace_.data(),
                   .prepared = c.prepared.state.get(),
                   .stream = device_.stream()});
    device_.synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Device& device_;
  const Job& job_;
  std::vector<Memory> memory_;
  Memory workspace_;
  std::vector<Tensor> in_, out_;
  double first_ = 0;
};

// What the reorders cost that a version calls for. Half of it counts: in a chain of nodes that agree on a
// layout most reorders fall away.
class ReorderCost {
 public:
  ReorderCost(Device& device, std::string name) : device_(device), name_(std::move(name)) {}

  double seconds(const Job& job, const Candidate& c) {
    double sum = 0;
    for (size_t i = 0; i < job.in.size(); ++i)
      sum += one(job.in[i], c.lies(job.in[i], c.prepared.layouts.in, i));
    for (size_t o = 0; o < job.out.size(); ++o)
      sum += one(job.out[o], c.lies(job.out[o], c.prepared.layouts.out, o));
    return sum / 2;
  }

 private:
  double one(const Spec& from, const Spec& to) {
    if (from == to) return 0;
    const auto [known, is_new] = known_.try_emplace(from.to_string() + " " + to.to_string());
    if (!is_new) return known->second;
    const Spec plain{from.shape, from.dtype};
    Job job{.key = {},
            .op = make_op<Reorder>(ReorderAttrs{from.layout, to.layout}),
            .in = {plain},
            .out = {plain},
            .candidates = {},
            .work = 0};
    for (const Kernel* k : Registry::get().kernels(Reorder::kName, name_, from.dtype)) {
      auto prepared = prepare_kernel(*k, *job.op, job.in, job.out);
      if (!prepared) continue;
      job.candidates.push_back({k, std::move(*prepared)});
      break;
    }
    if (job.candidates.empty()) return 0;
    known->second = Bench(device_, job)
                        .seconds_of(job.candidates.front(), std::numeric_limits<double>::infinity())
                        .value();
    return known->second;
  }

  Device& device_;
  std::string name_;
  std::map<std::string, double> known_;
};

// Work a second of each version, at the last node that it was timed at.
using Speeds = std::map<const Kernel*, double>;

std::string fastest(const Job& job, Device& device, Speeds& speeds, ReorderCost& reorders) {
  Bench bench(device, job);
  double best = std::numeric_limits<double>::infinity();
  const Kernel* winner = nullptr;
  for (const Candidate& c : job.candidates) {
    const auto speed = speeds.find(c.kernel);
    const double expected = speed == speeds.end() ? 0 : job.work / speed->second;
    if (expected > kLong && expected > kHopeless * best) continue;
    std::optional<double> seconds = bench.seconds_of(c, kHopeless * best);
    if (seconds) *seconds += reorders.seconds(job, c);
    speeds[c.kernel] = job.work / seconds.value_or(bench.first_seconds());
    if (!seconds || (winner && *seconds > kBetter * best)) continue;
    best = *seconds;
    winner = c.kernel;
  }
  return winner->version;
}

}  // namespace

void time_kernels(const Graph& graph, const TimingOptions& options, KernelChoices& choices) {
  const auto device = make_device(options.device);
  Speeds speeds;
  ReorderCost reorders(*device, options.device);
  for (const Job& job : find_jobs(graph, options, choices))
    choices.set(job.key, fastest(job, *device, speeds, reorders));
}

}  // namespace millrace
