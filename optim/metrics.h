// metrics: keeps the numbers of the last steps in a ring of rows, so that the host can read them while later
// steps go on, and stops the updates behind a step that is not finite.
//
// ring (R,W), at (2), x_0 (1), ..., x_{n-1} (1), n <= W, n <= 32 -> ring' (R,W), at' (2), guard (1)
//
//   r = at(0);  ring'(r,.) = x_0, ..., x_{n-1}, 0, ..., 0;  ring'(k,.) = ring(k,.) for k != r
//   guard = 0 where at(1) and all x are finite, else NaN
//   at' = ((r + 1) mod R, guard)
//
// The optimizer takes `guard` for its loss (optim/flat.h): after a step that is not finite nothing moves any
// more, whatever was queued behind it before the host could know.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct Metrics : OpBase<Metrics> {
  static constexpr const char* kName = "metrics";
  static constexpr size_t kFirst = 2;       // operand x_0
  static constexpr size_t kMaxValues = 32;  // a kernel takes them as one struct

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override;
  bool has_gradient() const override { return false; }  // it writes down; no loss contains it
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}, {.out = 1, .in = 1}}; }
  static std::vector<Case> cases();
};

// In the State: R rows of W numbers in the buffer kMetrics, and `at` in kMetricsAt. All zeros is an empty
// ring.
inline constexpr const char* kMetrics = "metrics";
inline constexpr const char* kMetricsAt = "metrics_at";
struct MetricsRing {
  int64_t rows = 0, columns = 0;
};
// Appends the node that writes the next row. Returns `guard`.
Value record_metrics(Graph& g, const MetricsRing& ring, const std::vector<Value>& values);

inline void register_metrics(Registry& r) { r.add_op<Metrics>(); }

}  // namespace millrace
