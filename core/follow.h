// Layouts that kernels of simple ops can go along with (Kernel::follow). What they decide is a number, which
// the kernel finds in KernelArgs::prepared; without one all operands are dense.
#pragma once

#include <algorithm>
#include <memory>

#include "core/registry.h"

namespace millrace {

inline Prepared following(int64_t number, Layouts layouts) {
  return {.state = std::make_shared<int64_t>(number),
          .workspace_bytes = 0,
          .implementation = {},
          .layouts = std::move(layouts)};
}

inline int64_t number_or(const KernelArgs& args, int64_t otherwise) {
  return args.prepared ? *static_cast<const int64_t*>(args.prepared) : otherwise;
}

// Elementwise ops that make zero of zeros work on arrays of any layout, when all operands have it: that of
// the first input that is not dense. The number is that of the arrays' elements.
inline std::optional<Prepared> follow_elementwise(const Op&, std::span<const Spec> in,
                                                  std::span<const Spec>) {
  const auto found = std::find_if(in.begin(), in.end(), [](const Spec& s) { return !s.layout.dense(); });
  if (found == in.end()) return {};
  return following(found->elements(), {std::vector(in.size(), found->layout), {found->layout}});
}
inline int64_t elements(const KernelArgs& args) { return number_or(args, args.out[0].count()); }

}  // namespace millrace
