#include "apps/support/environment.h"

#include <fmt/format.h>
#include <omp.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/support/program.h"
#include "core/error.h"
#include "core/libraries.h"
#include "core/rng.h"

namespace millrace {

std::string file_hash(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorKind::data, {path, "a file to read", "none", ""});
  uint64_t hash = 0;
  std::vector<char> block(1 << 20);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())) || file.gcount() > 0) {
    hash = mix64(hash ^ hash_name({block.data(), static_cast<size_t>(file.gcount())}));
  }
  return fmt::format("{:016x}", hash);
}

std::string environment_json(const Device& device, const std::string& plans) {
  return nlohmann::json{{"millrace", version()},
                        {"program", file_hash("/proc/self/exe")},  // the build, engine included
                        {"compiler", __VERSION__},
                        {"libraries", library_versions()},
                        {"device", device.description()},
                        {"threads", omp_get_max_threads()},
                        {"plans", nlohmann::json::parse(plans)}}
             .dump(2) +
         "\n";
}

}  // namespace millrace
