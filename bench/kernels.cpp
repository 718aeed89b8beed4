// Time of every version of every kernel at its op's benchmark cases, as GB/s, GFLOP/s and a share of what a
// copy reaches. It needs no other library than millrace's own, so that it builds on a bare machine that has a
// GPU.
//   bench_kernels --op warp --device cpu
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "apps/support/backends.h"
#include "core/copy.h"
#include "core/device.h"
#include "core/error.h"
#include "core/kernel_choice.h"
#include "core/registry.h"

namespace millrace {
namespace {

constexpr const char* kHelp = R"(Time of every version of every kernel at the benchmark cases of its op.

usage: bench_kernels [options]
  --op NAME        only ops whose name contains NAME, or matches it as a regular expression ('^warp$')
  --device D       auto, cpu, cuda or cuda:<number>; auto: a GPU where one can be used (default: auto)
  --seconds S      time given to each version, at least one run (default: 0.5)
  --max-first S    leave a version out of repeats whose first run took longer (default: 5)
  --counts         bytes and FLOP only: nothing is run
  --json           an array of objects on stdout, in place of the table
  --help

How it is measured: operands are drawn as the tests draw them. Runs are queued in batches of at least a
millisecond, and the clock stops when the device has done them all; printed is the median over batches of the
time of one run. A device keeps what it has just touched in its caches, so successive runs take operands of
their own, as many sets as fill 256 MiB: times are those of a node whose inputs come from memory. Runs shorter
than a launch (some microseconds on a GPU) show the launch. Bytes and FLOP are the op's own count of what must
be moved and computed at least once, so a share of the copy over 100 % says that caches helped or that the
count is generous. The copy is millrace's own, of 256 MiB.

JSON: op, version, device, case, dtype, seconds, bytes, flop, copy_share; seconds and copy_share are null where
a version cannot do the case, and with --counts.
)";

constexpr int64_t kColdBytes = 256 << 20;
constexpr int64_t kMostSets = 512;
constexpr double kBatchSeconds = 1e-3;

struct Options {
  std::string op, device = "auto";
  double seconds = .5, max_first = 5;
  bool counts = false, json = false, help = false;
};

double number(const std::string& flag, const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || !(value > 0 && std::isfinite(value)))
    fail(ErrorKind::usage,
         {.where = flag, .expected = "a number of seconds over 0", .got = "'" + text + "'"});
  return value;
}

Options parse(const std::vector<std::string>& words) {
  Options o;
  for (size_t k = 0; k < words.size(); ++k) {
    const std::string& flag = words[k];
    const auto value = [&]() -> const std::string& {
      if (k + 1 == words.size())
        fail(ErrorKind::usage, {.where = flag, .expected = "a value", .got = "the end of the line"});
      return words[++k];
    };
    if (flag == "--op")
      o.op = value();
    else if (flag == "--device")
      o.device = value();
    else if (flag == "--seconds")
      o.seconds = number(flag, value());
    else if (flag == "--max-first")
      o.max_first = number(flag, value());
    else if (flag == "--counts")
      o.counts = true;
    else if (flag == "--json")
      o.json = true;
    else if (flag == "--help" || flag == "-h")
      o.help = true;
    else
      fail(ErrorKind::usage,
           {.where = "bench_kernels",
            .expected = "--op, --device, --seconds, --max-first, --counts, --json or --help",
            .got = "'" + flag + "'"});
  }
  return o;
}

std::regex pattern_of(const std::string& op) {
  try {
    return std::regex(op);
  } catch (const std::regex_error& error) {
    fail(ErrorKind::usage, {.where = "--op", .expected = "a regular expression", .got = "'" + op + "'"});
  }
}

std::vector<Spec> input_specs(const Case& test, Dtype real) {
  std::vector<Spec> specs;
  for (const CaseInput& in : test.in)
    specs.push_back({in.shape, !is_real(in.dtype) ? in.dtype : in.precise ? precise(real) : real});
  return specs;
}

template <class T, class Convert>
void draw_as(const CaseInput& in, std::vector<char>& bytes, Convert convert) {
  Random random(1);
  T* values = reinterpret_cast<T*>(bytes.data());
  for (int64_t e = 0; e < in.shape.count(); ++e) values[e] = convert(in.draw(random));
}

std::vector<char> drawn(const CaseInput& in, const Spec& spec) {
  std::vector<char> bytes(static_cast<size_t>(spec.bytes()));
  switch (spec.dtype) {
    case Dtype::f32:
      draw_as<float>(in, bytes, [](double v) { return static_cast<float>(v); });
      break;
    case Dtype::bf16:
      draw_as<Bf16>(in, bytes, [](double v) { return round_to_bf16(static_cast<float>(v)); });
      break;
    case Dtype::u8:
      draw_as<uint8_t>(in, bytes, [](double v) { return static_cast<uint8_t>(v); });
      break;
    case Dtype::i32:
      draw_as<int32_t>(in, bytes, [](double v) { return static_cast<int32_t>(v); });
      break;
    case Dtype::i64:
      draw_as<int64_t>(in, bytes, [](double v) { return static_cast<int64_t>(v); });
      break;
    case Dtype::f64:
      draw_as<double>(in, bytes, [](double v) { return v; });
      break;
  }
  return bytes;
}

// One kernel at one case, with memory to run in.
class Trial {
 public:
  Trial(Device& device, const Kernel& kernel, const Case& test)
      : device_(device), kernel_(kernel), op_(*test.op) {
    in_specs_ = input_specs(test, kernel.dtype);
    out_specs_ = op_.infer(in_specs_, kernel.dtype);
    std::optional<Prepared> prepared = prepare_kernel(kernel, op_, in_specs_, out_specs_);
    if (!prepared) return;
    prepared_ = std::move(*prepared);
    can_ = true;
    workspace_ = Memory(device, prepared_.workspace_bytes);
    device.fill_bytes(workspace_.data(), 0, workspace_.bytes());
    const int64_t bytes = allocate();
    const int64_t sets = std::clamp<int64_t>(kColdBytes / std::max<int64_t>(bytes, 1), 1, kMostSets);
    for (int64_t k = 1; k < sets; ++k) allocate();
    for (size_t i = 0; i < test.in.size(); ++i) {
      const Spec laid = lies(in_specs_[i], prepared_.layouts.in, i);
      std::vector<char> values = drawn(test.in[i], in_specs_[i]);
      values.resize(static_cast<size_t>(laid.bytes()));  // where blocks are filled up: some order will do
      for (const Set& set : sets_) device.upload(set.in[i].data, values.data(), laid.bytes());
    }
  }

  bool can() const { return can_; }

  double seconds(const Options& o) {
    const double first = batch(1);  // and whatever a first run sets up
    if (first > o.max_first) return first;
    const double second = batch(1);
    const auto runs = static_cast<int64_t>(std::ceil(kBatchSeconds / std::max(second, 1e-7)));
    std::vector<double> seconds;
    double sum = 0;
    do {
      const double all = batch(runs);
      sum += all;
      seconds.push_back(all / static_cast<double>(runs));
    } while (sum < o.seconds);
    const auto middle = seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }

 private:
  struct Set {
    std::vector<Tensor> in, out;
  };

  static Spec lies(const Spec& spec, const std::vector<Layout>& layouts, size_t i) {
    return {spec.shape, spec.dtype, layouts.empty() ? Layout{} : layouts[i]};
  }

  // One more set of operands; its bytes.
  int64_t allocate() {
    int64_t bytes = 0;
    const auto tensor = [&](const Spec& spec) {
      bytes += spec.bytes();
      return Tensor{memory_.emplace_back(device_, spec.bytes()).data(), spec.shape, spec.dtype};
    };
    Set& set = sets_.emplace_back();
    for (size_t i = 0; i < in_specs_.size(); ++i)
      set.in.push_back(tensor(lies(in_specs_[i], prepared_.layouts.in, i)));
    for (size_t k = 0; k < out_specs_.size(); ++k) {
      const Spec spec = lies(out_specs_[k], prepared_.layouts.out, k);
      set.out.push_back(tensor(spec));
      device_.fill_bytes(set.out.back().data, 0, spec.bytes());  // memory that is really there
    }
    return bytes;
  }

  // Seconds of so many runs.
  double batch(int64_t runs) {
    device_.synchronize();
    const auto start = std::chrono::steady_clock::now();
    for (int64_t k = 0; k < runs; ++k) {
      const Set& set = sets_[next_++ % sets_.size()];
      kernel_.run({.op = op_,
                   .in = set.in,
                   .out = set.out,
                   .workspace = workspace_.data(),
                   .prepared = prepared_.state.get(),
                   .stream = device_.stream()});
    }
    device_.synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Device& device_;
  const Kernel& kernel_;
  const Op& op_;
  std::vector<Spec> in_specs_, out_specs_;
  Prepared prepared_;
  Memory workspace_;
  std::vector<Memory> memory_;
  std::vector<Set> sets_;
  size_t next_ = 0;
  bool can_ = false;
};

// Bytes a second, read and written, of the device's best copy.
double copy_bandwidth(Device& device, const Options& o) {
  const Case large{.name = "large", .op = make_op<Copy>(), .in = {{{kColdBytes / 4}}}};
  for (const Kernel* kernel : Registry::get().kernels(Copy::kName, device.name(), Dtype::f32)) {
    Trial trial(device, *kernel, large);
    if (trial.can()) return 2.0 * kColdBytes / trial.seconds(o);
  }
  fail(ErrorKind::device, {.where = "copy", .expected = "a kernel on " + device.name(), .got = "none"});
}

struct Row {
  const Kernel& kernel;
  std::string test;
  Cost cost;
  bool can = true;
  std::optional<double> seconds = {};  // none: it cannot do the case, or nothing was to be run
};

void print(const Row& r, double bandwidth) {
  const std::string what =
      fmt::format("  {:<12} {:<4} {:<28}", r.kernel.version, name_of(r.kernel.dtype), r.test);
  if (!r.seconds) {
    fmt::print("{} {:9.3f} MB {:10.3f} MFLOP{}\n", what, r.cost.bytes / 1e6, r.cost.flop / 1e6,
               r.can ? "" : ", which it cannot do");
    return;
  }
  const double rate = r.cost.bytes / *r.seconds;
  fmt::print("{} {:10.4f} ms {:8.1f} GB/s {:9.1f} GFLOP/s {:6.1f} % of the copy\n", what, *r.seconds * 1e3,
             rate / 1e9, r.cost.flop / *r.seconds / 1e9, rate / bandwidth * 100);
}

nlohmann::ordered_json json_of(const Row& r, double bandwidth) {
  nlohmann::ordered_json j = {{"op", r.kernel.op},
                              {"version", r.kernel.version},
                              {"device", r.kernel.device},
                              {"case", r.test},
                              {"dtype", name_of(r.kernel.dtype)},
                              {"seconds", nullptr},
                              {"bytes", r.cost.bytes},
                              {"flop", r.cost.flop},
                              {"copy_share", nullptr}};
  if (r.seconds) {
    j["seconds"] = *r.seconds;
    j["copy_share"] = r.cost.bytes / *r.seconds / bandwidth;
  }
  return j;
}

Cost cost_of(const Case& test, Dtype dtype) {
  const std::vector<Spec> in = input_specs(test, dtype);
  return test.op->cost(in, test.op->infer(in, dtype));
}

// Every version of one op at its benchmark cases, handed on as they are done.
void measure(Device& device, const OpEntry& op, const Options& o,
             const std::function<void(const Row&)>& done) {
  const std::vector<Case> cases = op.cases();
  for (const Case& test : cases) {
    if (!test.benchmark) continue;
    for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const Kernel* kernel : Registry::get().kernels(op.name, device.name(), dtype)) {
        Row row{.kernel = *kernel, .test = test.name, .cost = cost_of(test, dtype)};
        if (!o.counts) {
          Trial trial(device, *kernel, test);
          row.can = trial.can();
          if (row.can) row.seconds = trial.seconds(o);
        }
        done(row);
      }
    }
  }
}

void run(const Options& o) {
  register_backends();
  if (o.device == "cuda-sim" && !o.counts)
    fail(ErrorKind::usage, {.where = "--device",
                            .expected = "a device whose times mean something",
                            .got = "cuda-sim",
                            .hint = "The simulator runs kernels to find faults; --counts runs none."});
  const std::regex pattern = pattern_of(o.op);
  const auto device = make_device(o.device);
  const double bandwidth = o.counts ? 0 : copy_bandwidth(*device, o);
  if (!o.json && !o.counts)
    fmt::print("{}; a copy moves {:.1f} GB/s\n", device->description(), bandwidth / 1e9);

  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  int64_t rows = 0;
  for (const OpEntry& op : Registry::get().ops()) {
    if (!std::regex_search(op.name, pattern)) continue;
    if (!o.json) fmt::print("{}\n", op.name);
    measure(*device, op, o, [&](const Row& row) {
      ++rows;
      if (o.json)
        all.push_back(json_of(row, bandwidth));
      else
        print(row, bandwidth);
    });
  }
  if (rows == 0)
    fail(ErrorKind::usage,
         {.where = "--op",
          .expected = "an op that has a kernel on " + device->name() + " and a benchmark case",
          .got = "'" + o.op + "'"});
  if (o.json) fmt::print("{}\n", all.dump(1));
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  try {
    const Options o = parse({argv + 1, argv + argc});
    if (o.help)
      fmt::print("{}", kHelp);
    else
      run(o);
  } catch (const Error& error) {
    fmt::print(stderr, "bench_kernels: {}\n", error.what());
    return error.exit_code();
  }
}
