// What a run's results depend on to the last bit, as JSON: version, compiler, libraries, processor, threads,
// plans.
#pragma once

#include <string>

#include "core/device.h"

namespace millrace {

// 16 hexadecimal digits that depend on every byte of the file. Throws ErrorKind::data when it cannot be read.
std::string file_hash(const std::string& path);

// `plans` is JSON text: the fingerprints of the run's plans.
std::string environment_json(const Device& device, const std::string& plans);

}  // namespace millrace
