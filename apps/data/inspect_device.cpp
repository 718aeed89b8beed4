#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/data/inspectors.h"
#include "core/registry.h"

namespace millrace {
namespace {

using nlohmann::ordered_json;

ordered_json device_json(const FoundDevice& d) {
  ordered_json json{{"name", d.name}, {"description", d.description}, {"usable", d.trouble.empty()}};
  if (!d.trouble.empty()) json["trouble"] = d.trouble;
  if (!d.capability.empty()) json["compute_capability"] = d.capability;
  if (d.multiprocessors) json["multiprocessors"] = d.multiprocessors;
  if (d.memory_bytes) {
    json["memory_bytes"] = d.memory_bytes;
    json["free_bytes"] = d.free_bytes;
  }
  return json;
}

ordered_json backend_json(const Backend& backend) {
  const FoundDevices found = backend.find();
  ordered_json json{{"name", backend.name}, {"usable", found.trouble.empty()}};
  if (!found.trouble.empty()) json["trouble"] = found.trouble;
  if (!found.driver.empty()) json["driver"] = found.driver;
  if (!found.runtime.empty()) json["runtime"] = found.runtime;
  if (!found.code.empty()) json["compiled_for"] = found.code;
  if (backend.libraries) json["libraries"] = backend.libraries();
  json["devices"] = ordered_json::array();
  for (const FoundDevice& device : found.devices) json["devices"].push_back(device_json(device));
  return json;
}

std::string text(const ordered_json& json, const char* key, const std::string& none = "none") {
  return json.contains(key) ? json[key].get<std::string>() : none;
}

void print_device(const ordered_json& d) {
  fmt::print("{:<10} {}", d["name"].get<std::string>(), d["description"].get<std::string>());
  if (d.contains("multiprocessors")) fmt::print(", {} multiprocessors", d["multiprocessors"].dump());
  if (d.contains("compute_capability")) fmt::print(", compute capability {}", text(d, "compute_capability"));
  if (d.contains("memory_bytes")) {
    fmt::print(", {} MiB of memory, {} free", d["memory_bytes"].get<int64_t>() >> 20,
               d["free_bytes"].get<int64_t>() >> 20);
  }
  fmt::print("\n");
  if (d.contains("trouble")) fmt::print("{:<10} cannot be used: {}\n", "", text(d, "trouble"));
}

}  // namespace

ordered_json inspect_devices() {
  ordered_json backends = ordered_json::array();
  std::string automatic = "cpu";
  for (const Backend& backend : Registry::get().backends()) {
    backends.push_back(backend_json(backend));
    if (backend.automatic && backends.back()["usable"]) automatic = backend.name;
  }
  return {{"kind", "devices"}, {"auto", automatic}, {"backends", std::move(backends)}};
}

void print_devices(const ordered_json& json) {
  bool cuda = false;
  for (const ordered_json& backend : json["backends"]) {
    cuda = cuda || backend["name"] == "cuda";
    for (const ordered_json& device : backend["devices"]) print_device(device);
    if (backend["devices"].empty())
      fmt::print("{:<10} none: {}\n", backend["name"].get<std::string>(), text(backend, "trouble"));
    if (backend.contains("compiled_for"))
      fmt::print("{:<10} CUDA of the driver {}, of this program {}; kernels for {}\n", "",
                 text(backend, "driver"), text(backend, "runtime"), text(backend, "compiled_for"));
    if (backend.contains("libraries")) fmt::print("{:<10} {}\n", "", text(backend, "libraries"));
  }
  if (!cuda) fmt::print("{:<10} not in this build: nvcc was not found\n", "cuda");
  fmt::print("{:<10} takes {}\n", "auto", json["auto"].get<std::string>());
}

}  // namespace millrace
