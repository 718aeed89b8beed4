#include "optim/metrics.h"

namespace millrace {

std::vector<Spec> Metrics::infer(std::span<const Spec> in, Dtype real) const {
  const Dtype dtype = precise(real);
  const Spec at{{2}, dtype}, one{{1}, dtype};
  const size_t n = in.size() < kFirst ? 0 : in.size() - kFirst;
  bool fits = n >= 1 && n <= kMaxValues && in[0].shape.rank() == 2 && in[0].dtype == dtype && in[1] == at &&
              static_cast<int64_t>(n) <= in[0].shape[1];
  for (size_t k = kFirst; fits && k < in.size(); ++k) fits = in[k] == one;
  if (!fits) {
    fail(ErrorKind::runtime,
         {kName, "a ring (R,W), its place (2), and 1 to 32 numbers (1), at most W",
          std::to_string(n) + " numbers" + (in.empty() ? "" : " for " + in[0].to_string()), ""});
  }
  return {in[0], at, one};
}

std::vector<Case> Metrics::cases() {
  const auto make = [](const char* name, int64_t rows, int64_t columns, size_t values) {
    const Draw row = [rows](Random& r) { return static_cast<double>(r.integer(0, rows - 1)); };
    Case c{.name = name,
           .op = make_op<Metrics>(),
           .in = {{.shape = {rows, columns}, .precise = true}, {.shape = {2}, .draw = row, .precise = true}}};
    for (size_t k = 0; k < values; ++k) c.in.push_back({.shape = {1}, .precise = true});
    return c;
  };
  return {make("one number", 1, 1, 1), make("a row that is not full", 3, 5, 2),
          make("most numbers", 4, 33, kMaxValues), make("more than a block", 40, 22, 22)};
}

Value record_metrics(Graph& g, const MetricsRing& ring, const std::vector<Value>& values) {
  std::vector<Value> in{g.state({kMetrics, 0}, {ring.rows, ring.columns}, kMetrics),
                        g.state({kMetricsAt, 0}, {2}, kMetricsAt)};
  in.insert(in.end(), values.begin(), values.end());
  const std::vector<Value> out = g.add(make_op<Metrics>(), in);
  g.update(in[0], out[0]);
  g.update(in[1], out[1]);
  return out[2];
}

}  // namespace millrace
