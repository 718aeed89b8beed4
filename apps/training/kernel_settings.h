// --precision, --kernels and --kernel-cache, as plans want them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "apps/training/run_config.h"
#include "core/plan.h"

namespace millrace {

class KernelSettings {
 public:
  // `run`: the folder of a run to go on with. Its choices are taken, none from the cache. A cache that does
  // not exist is an empty one where it will be written, that is with --kernels measure, else ErrorKind::data.
  KernelSettings(const MachineConfig& config, const std::optional<std::filesystem::path>& run);

  // Valid as long as this object, which collects what is measured. Says, once, where the device has no such
  // precision.
  PlanOptions plan_options(const std::string& device);
  const KernelChoices& choices() const { return choices_; }
  // Says what was measured, and writes it to the cache. To be called when all plans are made.
  void finish() const;

 private:
  KernelPolicy policy_;
  Precision precision_;
  bool noted_ = false;
  std::filesystem::path cache_;  // empty: none
  KernelChoices choices_;
  int64_t known_ = 0;  // before the first plan
};

}  // namespace millrace
