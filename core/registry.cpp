#include "core/registry.h"

#include <algorithm>
#include <set>

namespace millrace {

void register_ops(Registry& registry);  // generated
namespace cpu {
void register_kernels(Registry& registry);  // generated
void register_device(Registry& registry);
}  // namespace cpu

Registry& Registry::mutable_registry() {
  static Registry registry = [] {
    Registry r;
    register_ops(r);
    cpu::register_kernels(r);
    cpu::register_device(r);
    return r;
  }();
  return registry;
}

const Registry& Registry::get() { return mutable_registry(); }

Dtype kernel_dtype(std::span<const Spec> in, std::span<const Spec> out) {
  const auto is_bf16 = [](const Spec& s) { return s.dtype == Dtype::bf16; };
  const bool any = std::any_of(in.begin(), in.end(), is_bf16) || std::any_of(out.begin(), out.end(), is_bf16);
  return any ? Dtype::bf16 : out.front().dtype;
}

std::vector<const Kernel*> Registry::kernels(std::string_view op, std::string_view device,
                                             Dtype dtype) const {
  std::vector<const Kernel*> found;
  for (const Kernel& k : kernels_) {
    if (k.op == op && k.device == device && k.dtype == dtype) found.push_back(&k);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Kernel* a, const Kernel* b) { return a->preference > b->preference; });
  return found;
}

void Registry::add_backend(Backend backend) {
  std::erase_if(backends_, [&](const Backend& b) { return b.name == backend.name; });
  backends_.push_back(std::move(backend));
}

Layout Registry::weight_layout(const std::string& device, const Spec& weights) const {
  const auto found = weights_.find(device);
  return found == weights_.end() ? Layout{} : found->second(weights);
}

std::vector<std::string> Registry::devices() const {
  std::set<std::string> names;
  for (const Kernel& k : kernels_) names.insert(k.device);
  return {names.begin(), names.end()};
}

}  // namespace millrace
