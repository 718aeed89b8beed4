#include "apps/training/metrics_reader.h"

namespace millrace {

MetricsReader::MetricsReader(State& state, const MetricsReaderOptions& options)
    : state_(state), options_(options) {
  for (int64_t k = 0; k < options_.steps; ++k)
    readbacks_.push_back(state_.device().make_readback(state_.at(kMetrics).bytes()));
}

void MetricsReader::queue() {
  const Tensor& ring = state_.at(kMetrics);
  readbacks_[static_cast<size_t>(queued_ % options_.steps)]->queue(ring.data, ring.bytes());
  ++queued_;
}

std::vector<std::vector<double>> MetricsReader::next() {
  const auto* ring =
      static_cast<const float*>(readbacks_[static_cast<size_t>(read_ % options_.steps)]->wait());
  std::vector<std::vector<double>> rows;
  for (int64_t k = 0; k < options_.rows_of_step; ++k) {
    const float* row =
        ring + (read_ * options_.rows_of_step + k) % options_.ring.rows * options_.ring.columns;
    rows.emplace_back(row, row + options_.ring.columns);
  }
  ++read_;
  return rows;
}

void MetricsReader::reset() {
  for (const char* buffer : {kMetrics, kMetricsAt}) {
    const Tensor& t = state_.at(buffer);
    const std::vector<float> zeros(static_cast<size_t>(t.count()));
    state_.write(buffer, 0, t.count(), zeros.data());
  }
  queued_ = read_ = 0;
}

}  // namespace millrace
