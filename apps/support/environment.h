// What a run's results depend on to the last bit, as JSON: version, compiler, libraries, processor, threads,
// plans.
#pragma once

#include <string>

#include "core/device.h"

namespace millrace {

// `plans` is JSON text: the fingerprints of the run's plans.
std::string environment_json(const Device& device, const std::string& plans);

}  // namespace millrace
