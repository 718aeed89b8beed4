// Every version of every kernel of a device against the CPU in double, at all cases of its op: the parity
// tests as a program of its own, for a machine that has a GPU and no test library.
//   check_kernels --device cuda
#include <fmt/format.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "apps/support/backends.h"
#include "core/device.h"
#include "core/error.h"
#include "core/registry.h"
#include "tests/generated/op_check.h"

namespace millrace {
namespace {

constexpr const char* kHelp = R"(Every version of every kernel of a device against the CPU in double.

usage: check_kernels [options]
  --device D   cpu, cuda, cuda:<number> or cuda-sim (default: cuda)
  --op NAME    only the ops of this name
  --small      without the cases of full size, for compute-sanitizer
  --help

One line a kernel on stdout. It ends with 0 where all agree, 1 where one does not, 4 where there is no such device.
)";

struct Options {
  std::string device = "cuda", op;
  bool small = false, help = false;
};

Options parse(const std::vector<std::string>& words) {
  Options o;
  for (size_t k = 0; k < words.size(); ++k) {
    const bool more = k + 1 < words.size();
    if (words[k] == "--device" && more)
      o.device = words[++k];
    else if (words[k] == "--op" && more)
      o.op = words[++k];
    else if (words[k] == "--small")
      o.small = true;
    else if (words[k] == "--help" || words[k] == "-h")
      o.help = true;
    else
      fail(ErrorKind::usage, {.where = "check_kernels",
                              .expected = "--device D, --op NAME, --small or --help",
                              .got = "'" + words[k] + "'"});
  }
  return o;
}

struct Outcome {
  int64_t cases = 0;
  check::Complaints complaints;
};

Outcome check_kernel(const OpEntry& op, const Kernel& kernel, bool small) {
  Outcome outcome;
  for (const Case& test : op.cases()) {
    // Simulated, that takes minutes.
    if (test.benchmark && (small || kernel.device == "cuda-sim")) continue;
    bool ran = false;
    for (const std::string& c : check::parity(test, kernel, ran)) outcome.complaints.push_back(c);
    outcome.cases += ran;
  }
  if (outcome.cases == 0) outcome.complaints.push_back("no case reaches it");
  return outcome;
}

// The number of kernels that do not agree.
int64_t run(const Options& o) {
  register_backends();
  const auto device = make_device(o.device);
  fmt::print("{}\n", device->description());
  int64_t kernels = 0, wrong = 0;
  for (const OpEntry& op : Registry::get().ops()) {
    if (!o.op.empty() && op.name != o.op) continue;
    for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const Kernel* kernel : Registry::get().kernels(op.name, device->name(), dtype)) {
        const Outcome outcome = check_kernel(op, *kernel, o.small);
        ++kernels;
        wrong += !outcome.complaints.empty();
        fmt::print("{:<5} {} {} {}: {} cases\n", outcome.complaints.empty() ? "ok" : "WRONG", op.name,
                   kernel->version, name_of(dtype), outcome.cases);
        for (const std::string& c : outcome.complaints) fmt::print("      {}\n", c);
        std::fflush(stdout);
      }
    }
  }
  if (kernels == 0)
    fail(ErrorKind::usage,
         {.where = "--op", .expected = "a kernel on " + device->name(), .got = "'" + o.op + "'"});
  fmt::print("{} of {} kernels agree with the CPU\n", kernels - wrong, kernels);
  return wrong;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  try {
    const Options o = parse({argv + 1, argv + argc});
    if (!o.help) return run(o) > 0 ? 1 : 0;
    fmt::print("{}", kHelp);
  } catch (const Error& error) {
    fmt::print(stderr, "check_kernels: {}\n", error.what());
    return error.exit_code();
  }
}
