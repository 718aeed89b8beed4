// What is checked before a run begins or goes on.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/support/environment.h"
#include "apps/support/text.h"
#include "apps/training/trainer.h"
#include "core/log.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr double kMiB = 1 << 20;

}  // namespace

std::string Trainer::environment() const {
  json plans;
  for (const auto& [name, plan] : plans_) plans[name] = plan.fingerprint();
  return environment_json(*device_, plans.dump());
}

// Bit-equal results are promised for equal build, libraries, processor, threads and plan.
void Trainer::check_environment() const {
  const json was = json::parse(read_file(dir_.env_path(), 1 << 20), nullptr, false),
             is = json::parse(environment());
  if (was.is_discarded()) return;
  for (const auto& [key, value] : is.items()) {
    if (was.contains(key) && was[key] == value) continue;
    const std::string before = was.contains(key) ? was[key].dump() : "nothing";
    if (options_.allow_drift) {
      log_warning(fmt::format("{} was {} and is {}: the run will not be equal to an undisturbed one", key,
                              before, value.dump()));
      continue;
    }
    fail(ErrorKind::usage, {"--resume: " + key, before + " as when the run began", value.dump(),
                            "the last bits would differ; --allow-drift goes on all the same"});
  }
}

void Trainer::check_disk() const {
  const double parameters = 4.0 * static_cast<double>(params_.count());
  const double checkpoint =
      parameters * (1 + static_cast<double>(optimizer_buffers(optimizer_options(config_).kind).size()));
  // With the best and one being written; a run that goes on has some of them already.
  const auto have = static_cast<int64_t>(dir_.checkpoints().size());
  const int64_t more = std::max<int64_t>(1, config_.keep_checkpoints + 2 - have);
  const double need = checkpoint * static_cast<double>(more);
  const auto free = static_cast<double>(free_space(dir_.path()));
  log_info(fmt::format("disk: the run needs about {:.0f} MiB ({} of {:.1f}), {:.0f} MiB are free",
                       need / kMiB, counted(more, "checkpoint"), checkpoint / kMiB, free / kMiB));
  if (free < need) {
    fail(ErrorKind::runtime, {dir_.path().string(), fmt::format("{:.0f} MiB of free disk space", need / kMiB),
                              fmt::format("{:.0f}", free / kMiB), "a smaller --keep-checkpoints needs less"});
  }
}

}  // namespace millrace
