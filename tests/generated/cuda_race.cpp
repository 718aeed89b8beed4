#include "core/registry.h"
#include "cuda/register.h"
#include "tests/generated/families.h"

namespace millrace::check {

// A race is an Error of the launch, so it ends the parity test.
void require_no_races(const std::string& family) {
  static const bool registered = [] {
    cuda_race::register_kernels(Registry::mutable_registry());
    return true;
  }();
  if (registered) require_parity(family, "cuda-race");
}

}  // namespace millrace::check
