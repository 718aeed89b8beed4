#include <iostream>

#include "core/registry.h"
#include "cuda/register.h"
#include "tests/generated/families.h"

namespace millrace::check {
namespace {

// Why there is no GPU to test on; empty: there is one.
std::string trouble_of_cuda() {
  cuda::register_backend(Registry::mutable_registry());
  for (const Backend& backend : Registry::get().backends()) {
    if (backend.name == "cuda") return backend.find().trouble;
  }
  return "no backend of that name";
}

}  // namespace

void require_cuda_parity(const std::string& family) {
  static const std::string trouble = trouble_of_cuda();
  if (trouble.empty())
    require_parity(family, "cuda");
  else
    std::cout << "skipped: " << trouble << "\n";
}

}  // namespace millrace::check
