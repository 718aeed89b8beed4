#include "apps/training/kernel_settings.h"

#include <fmt/format.h>

#include "apps/support/text.h"
#include "core/error.h"
#include "core/log.h"
#include "core/precision_pass.h"
#include "core/run_dir.h"

namespace millrace {

KernelSettings::KernelSettings(const MachineConfig& config, const std::optional<std::filesystem::path>& run)
    : policy_(kernel_policy(config)), precision_(precision_of(config)) {
  std::filesystem::path file = run ? *run / kKernelsFile : std::filesystem::path(config.kernel_cache);
  if (!run) cache_ = file;
  const bool optional = run || policy_ == KernelPolicy::measure;
  if (!file.empty() && (std::filesystem::exists(file) || !optional)) choices_ = KernelChoices::load(file);
  known_ = choices_.count();
  if (policy_ != KernelPolicy::measure) return;
  if (!cache_.empty() && !std::filesystem::is_directory(std::filesystem::absolute(cache_).parent_path())) {
    fail(ErrorKind::usage, {"--kernel-cache", "a file in a folder that exists", cache_.string(), ""});
  }
  log_info(fmt::format("kernels: {} known; others are timed before the first step, which can take minutes",
                       counted(known_, "choice")));
}

PlanOptions KernelSettings::plan_options(const std::string& device) {
  const std::string note = precision_note(device, precision_);
  if (!noted_ && !note.empty()) log_info(note);
  noted_ = true;
  return {.device = device, .precision = precision_, .kernels = policy_, .choices = &choices_};
}

void KernelSettings::finish() const {
  const int64_t added = choices_.count() - known_;
  if (added == 0) return;
  log_info(fmt::format("kernels: {} chosen by measuring, {} were known", added, known_));
  if (cache_.empty()) return;
  // Another program may have written meanwhile.
  KernelChoices all = std::filesystem::exists(cache_) ? KernelChoices::load(cache_) : KernelChoices();
  all.merge(choices_);
  all.save(cache_);
}

}  // namespace millrace
