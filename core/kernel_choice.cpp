#include "core/kernel_choice.h"

#include <nlohmann/json.hpp>

#include "core/device.h"
#include "core/files.h"
#include "core/libraries.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "millrace kernel choices 1";
constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;

[[noreturn]] void broken(const std::string& name, const std::string& expected, const std::string& got) {
  fail(ErrorKind::data, {name, expected, got, "Without the file, choices are made anew"});
}

}  // namespace

std::string kernel_environment(const std::string& device) {
  std::string text = device + ": " + make_device(device)->description() + "; " + library_versions();
  for (const Backend& backend : Registry::get().backends()) {
    if (!backend.libraries || device.substr(0, device.find(':')) != backend.name) continue;
    if (const std::string libraries = backend.libraries(); !libraries.empty()) text += "; " + libraries;
  }
  return text;
}

std::string kernel_node(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  std::string text = std::string(op.name()) + "{" + op.attributes() + "}";
  for (const Spec& spec : in) text += " " + spec.to_string();
  text += " ->";
  for (const Spec& spec : out) text += " " + spec.to_string();
  return text;
}

std::optional<Prepared> prepare_kernel(const Kernel& kernel, const Op& op, std::span<const Spec> in,
                                       std::span<const Spec> out) {
  return kernel.prepare ? kernel.prepare(op, in, out) : Prepared{};
}

const std::string* KernelChoices::find(const KernelKey& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? nullptr : &found->second;
}

void KernelChoices::merge(const KernelChoices& other) {
  for (const auto& [key, version] : other.choices_) choices_[key] = version;
}

std::string KernelChoices::to_json() const {
  json choices = json::object();
  for (const auto& [key, version] : choices_) choices[key.environment][key.node] = version;
  return json{{"format", kFormat}, {"choices", choices}}.dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

KernelChoices KernelChoices::from_json(const std::string& text, const std::string& name) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) broken(name, "JSON", "something else");
  if (!parsed.is_object() || !parsed.contains("format") || parsed["format"] != kFormat) {
    broken(name, "\"format\": \"" + std::string(kFormat) + "\"", "another or none");
  }
  if (!parsed.contains("choices") || !parsed["choices"].is_object()) {
    broken(name, "an object 'choices'", "another type or none");
  }
  KernelChoices result;
  for (const auto& [environment, nodes] : parsed["choices"].items()) {
    if (!nodes.is_object()) broken(name, "an object for " + environment, nodes.type_name());
    for (const auto& [node, version] : nodes.items()) {
      if (!version.is_string()) broken(name, "the name of a version for " + node, version.type_name());
      result.set({environment, node}, version.get<std::string>());
    }
  }
  return result;
}

KernelChoices KernelChoices::load(const std::filesystem::path& file) {
  return from_json(read_file(file, kMaxFileBytes), file.string());
}

void KernelChoices::save(const std::filesystem::path& file) const { write_file_atomically(file, to_json()); }

}  // namespace millrace
