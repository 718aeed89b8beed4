#include "apps/support/environment.h"

#include <fmt/format.h>
#include <omp.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/support/program.h"
#include "core/libraries.h"
#include "core/rng.h"

namespace millrace {

namespace {

// Of the running program's file: the build to the last bit, engine included, since that is linked in.
std::string program_hash() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  uint64_t hash = 0;
  std::vector<char> block(1 << 20);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())) || file.gcount() > 0) {
    hash = mix64(hash ^ hash_name({block.data(), static_cast<size_t>(file.gcount())}));
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace

std::string environment_json(const Device& device, const std::string& plans) {
  return nlohmann::json{{"millrace", version()},
                        {"program", program_hash()},
                        {"compiler", __VERSION__},
                        {"libraries", library_versions()},
                        {"device", device.description()},
                        {"threads", omp_get_max_threads()},
                        {"plans", nlohmann::json::parse(plans)}}
             .dump(2) +
         "\n";
}

}  // namespace millrace
