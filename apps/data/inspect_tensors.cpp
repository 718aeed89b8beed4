#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "apps/data/inspectors.h"
#include "core/error.h"
#include "core/files.h"
#include "core/run_dir.h"
#include "data/weights/weight_file.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr int64_t kChunk = 1 << 16;

struct Statistics {
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  double sum = 0, squares = 0;
  int64_t finite = 0, not_finite = 0;

  void add(double v) {
    if (!std::isfinite(v)) {
      ++not_finite;
      return;
    }
    ++finite;
    least = std::min(least, v);
    largest = std::max(largest, v);
    sum += v;
    squares += v * v;
  }
};

ordered_json statistics_of(const WeightFile& file, size_t tensor) {
  const int64_t count = file.tensors()[tensor].count();
  Statistics s;
  std::vector<double> chunk;
  for (int64_t first = 0; first < count; first += kChunk) {
    chunk.resize(static_cast<size_t>(std::min(kChunk, count - first)));
    file.read(tensor, first, chunk);
    for (const double v : chunk) s.add(v);
  }
  ordered_json json;
  if (s.finite > 0) {
    const auto n = static_cast<double>(s.finite);
    json = {{"min", s.least}, {"max", s.largest}, {"mean", s.sum / n}, {"rms", std::sqrt(s.squares / n)}};
  }
  json["not_finite"] = s.not_finite;
  return json;
}

std::string optional_number(const ordered_json& tensor, const char* key) {
  return tensor.contains(key) ? fmt::format("{:.4g}", tensor[key].get<double>()) : "-";
}

}  // namespace

ordered_json inspect_tensors(const InspectOptions& options) {
  const WeightFilePtr file = open_weights(options.path);
  int64_t values = 0;
  ordered_json tensors = ordered_json::array();
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    const WeightTensor& entry = file->tensors()[i];
    ordered_json tensor{
        {"name", entry.name}, {"dtype", entry.dtype}, {"shape", entry.shape}, {"bytes", entry.bytes()}};
    if (options.stats) tensor.update(statistics_of(*file, i));
    tensors.push_back(std::move(tensor));
    values += entry.count();
  }
  return {{"kind", file->format()}, {"path", options.path.string()}, {"bytes", file_size_of(options.path)},
          {"values", values},       {"metadata", file->metadata()},  {"tensors", std::move(tensors)}};
}

void print_tensors(const ordered_json& json) {
  const auto& tensors = json["tensors"];
  size_t width = 4;
  for (const auto& t : tensors) width = std::max(width, t["name"].get_ref<const std::string&>().size());
  const bool stats = !tensors.empty() && tensors[0].contains("not_finite");
  fmt::print("{:<{}}  {:<5} {:<18} {:>12}", "name", width, "type", "shape", "bytes");
  fmt::print("{}\n", stats ? fmt::format(" {:>11} {:>11} {:>11} {:>11} {:>10}", "min", "max", "mean", "rms",
                                         "not finite")
                           : "");
  for (const auto& t : tensors) {
    fmt::print("{:<{}}  {:<5} {:<18} {:>12}", t["name"].get<std::string>(), width,
               t["dtype"].get<std::string>(),
               fmt::format("[{}]", fmt::join(t["shape"].get<std::vector<int64_t>>(), ", ")),
               t["bytes"].get<uint64_t>());
    if (stats)
      fmt::print(" {:>11} {:>11} {:>11} {:>11} {:>10}", optional_number(t, "min"), optional_number(t, "max"),
                 optional_number(t, "mean"), optional_number(t, "rms"), t["not_finite"].get<int64_t>());
    fmt::print("\n");
  }
  fmt::print("{} tensors, {} values, {}\n", tensors.size(), json["values"].get<int64_t>(),
             bytes_text(json["bytes"].get<uint64_t>()));
  for (const auto& [key, value] : json["metadata"].items())
    fmt::print("  {} = {}\n", key, value.get<std::string>());
}

ordered_json inspect_checkpoint(const InspectOptions& options) {
  ordered_json json{{"kind", "checkpoint"}, {"path", options.path.string()}};
  try {
    resolve_weights(options.path);
    json["complete"] = true;
  } catch (const Error&) {
    json["complete"] = false;
  }
  json["files"] = ordered_json::array();
  std::error_code error;
  for (const std::string_view name : {kModelFile, kStateFile}) {
    InspectOptions file = options;
    file.path = options.path / name;
    if (fs::exists(file.path, error)) json["files"].push_back(inspect_tensors(file));
  }
  return json;
}

void print_checkpoint(const ordered_json& json) {
  for (const auto& file : json["files"]) {
    fmt::print("{}\n", file["path"].get<std::string>());
    print_tensors(file);
    fmt::print("\n");
  }
  fmt::print("{}\n", json["complete"] == true ? "complete"
                                              : "NOT complete: without DONE, or other sizes than it lists");
}

}  // namespace millrace
