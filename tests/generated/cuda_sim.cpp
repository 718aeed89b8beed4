#include "core/registry.h"
#include "cuda/register.h"
#include "tests/generated/families.h"

namespace millrace::check {

void require_sim_parity(const std::string& family) {
  static const bool registered = [] {
    cuda_sim::register_kernels(Registry::mutable_registry());
    cuda_sim::register_device(Registry::mutable_registry());
    return true;
  }();
  if (registered) require_parity(family, "cuda-sim");
}

}  // namespace millrace::check
