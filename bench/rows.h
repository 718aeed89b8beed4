// Rows of bench_step and bench_stream: the time of a layer or node beside what the device can do at most.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/step_report.h"

namespace millrace {

inline double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// "motionnet/conv1/conv2d" is layer motionnet/conv1, its gradient motionnet/conv1/d/... the same layer's
// backward.
inline std::string layer_of(const std::string& node) { return node.substr(0, node.rfind('/')); }

inline nlohmann::json to_json(const std::string& name, const NodeTime& t) {
  return {{"name", name},   {"nodes", t.nodes}, {"seconds", t.seconds},
          {"flop", t.flop}, {"bytes", t.bytes}, {"floor_seconds", t.floor}};
}

inline void print_head(const char* what) {
  fmt::print("{:<40} {:>5} {:>9} {:>7} {:>9} {:>8} {:>7}\n", what, "nodes", "ms", "share", "GFLOP/s", "GB/s",
             "floor");
}
inline void print_row(const std::string& name, const NodeTime& t, double total) {
  fmt::print("{:<40} {:>5} {:>9.3f} {:>6.1f}% {:>9.1f} {:>8.1f} {:>6.1f}%\n", name, t.nodes, t.seconds * 1e3,
             t.seconds / total * 100, t.flop / t.seconds / 1e9, t.bytes / t.seconds / 1e9,
             t.floor / t.seconds * 100);
}

}  // namespace millrace
