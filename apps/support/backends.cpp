#include "apps/support/backends.h"

#include "core/registry.h"
#include "cuda/register.h"

namespace millrace {

void register_backends() {
  [[maybe_unused]] Registry& registry = Registry::mutable_registry();
#ifdef MILLRACE_HAVE_CUDA
  cuda::register_backend(registry);
#endif
#ifdef MILLRACE_HAVE_CUDA_SIM
  cuda_sim::register_backend(registry);
#endif
}

}  // namespace millrace
