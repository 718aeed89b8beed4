#include "apps/support/environment.h"

#include <omp.h>

#include <nlohmann/json.hpp>

#include "apps/support/program.h"
#include "core/libraries.h"

namespace millrace {

std::string environment_json(const Device& device, const std::string& plans) {
  return nlohmann::json{{"millrace", version()},
                        {"compiler", __VERSION__},
                        {"libraries", library_versions()},
                        {"device", device.description()},
                        {"threads", omp_get_max_threads()},
                        {"plans", nlohmann::json::parse(plans)}}
             .dump(2) +
         "\n";
}

}  // namespace millrace
