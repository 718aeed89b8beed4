#include "apps/training/restarts.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr const char* kRestartsFile = "restarts.json";

}  // namespace

double restart_factor(const std::vector<Restart>& restarts, int64_t step) {
  double factor = 1;
  for (const Restart& r : restarts) {
    if (step > r.from && step <= r.from + kSlowSteps) factor *= kSlowFactor;
  }
  return factor;
}

std::vector<Restart> read_restarts(const std::filesystem::path& run) {
  const std::filesystem::path file = run / kRestartsFile;
  if (!std::filesystem::exists(file)) return {};
  const json list = json::parse(read_file(file, 1 << 20), nullptr, false);
  std::vector<Restart> restarts;
  const auto step = [](const json& j, const char* key) {
    return j.is_object() && j.contains(key) && j.at(key).is_number_unsigned();
  };
  bool good = list.is_array();
  for (size_t k = 0; good && k < list.size(); ++k) {
    good = step(list[k], "from") && step(list[k], "diverged");
    if (good) restarts.push_back({list[k]["from"], list[k]["diverged"]});
  }
  if (!good)
    fail(ErrorKind::data, {file.string(), "a list of {\"from\": step, \"diverged\": step}", "something else",
                           "without the file the run goes on as if it had never diverged"});
  return restarts;
}

void write_restarts(const std::filesystem::path& run, const std::vector<Restart>& restarts) {
  json list = json::array();
  for (const Restart& r : restarts) list.push_back({{"from", r.from}, {"diverged", r.diverged}});
  write_file_atomically(run / kRestartsFile, list.dump(2) + "\n");
}

}  // namespace millrace
