#include "tests/generated/families.h"

#include <iostream>

#include "tests/catch.h"
#include "tests/generated/op_check.h"

namespace millrace::check {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::vector<OpEntry> ops_of(const std::string& family) {
  std::vector<OpEntry> found;
  for (const OpEntry& op : Registry::get().ops()) {
    if (op.family == family) found.push_back(op);
  }
  if (found.empty()) FAIL("no op is registered by register_" << family);
  return found;
}

void require_none(const Complaints& complaints) {
  for (const std::string& c : complaints) UNSCOPED_INFO(c);
  CHECK(complaints.empty());
}

}  // namespace

void require_gradients(const std::string& family) {
  for (const OpEntry& op : ops_of(family)) {
    if (!op.has_gradient) {
      std::cout << op.name << " declares that it has no gradient\n";
      continue;
    }
    int64_t checked = 0;
    for (const Case& test : op.cases()) {
      if (test.benchmark || test.fused) continue;
      require_none(gradient(test));
      ++checked;
    }
    if (checked == 0) FAIL_CHECK(op.name << " has no small case");
  }
}

void require_parity(const std::string& family, const std::string& device) {
  for (const OpEntry& op : ops_of(family)) {
    const std::vector<Case> cases = op.cases();
    if (cases.empty()) FAIL_CHECK(op.name << " has no case");
    for (Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      const auto versions = Registry::get().kernels(op.name, device, dtype);
      const bool needed = dtype == Dtype::f32 || (dtype == Dtype::f64 && device == "cpu");
      if (needed && versions.empty())
        FAIL_CHECK(op.name << " has no kernel for " << name_of(dtype) << " on " << device);
      for (const Kernel* kernel : versions) {
        int64_t reached = 0;
        for (const Case& test : cases) {
          // Large tensors take minutes when they are simulated, or under the sanitizers.
          if (test.benchmark && device != "cpu" && device != "cuda") continue;
          if (test.benchmark && kSanitized && reached > 0) continue;
          bool ran = false;
          require_none(parity(test, *kernel, ran));
          reached += ran;
        }
        if (reached == 0) FAIL_CHECK(op.name << " version " << kernel->version << " is reached by no case");
      }
    }
  }
}

}  // namespace millrace::check
