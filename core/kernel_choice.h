// KernelChoices: which version of a kernel computes a node, as data that can be kept in a file. Versions that
// compute the same differ in speed with shapes, machine and libraries, and in the last bits of the result: a
// run that is to be repeated exactly keeps its choices.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "core/registry.h"

namespace millrace {

// What decides how fast versions are. Both are text for people too.
struct KernelKey {
  std::string environment;  // device, threads, versions of libraries
  std::string node;         // op, attributes, types and shapes of inputs and outputs

  auto operator<=>(const KernelKey&) const = default;
};

// "cpu: Xeon ..., 2 threads; oneDNN 2.6.3 (39)". `device` as in make_device().
std::string kernel_environment(const std::string& device);
// "conv2d{stride=1 pad=1} f32(1,8,8,3) f32(4,3,3,3) -> f32(1,8,8,4)"
std::string kernel_node(const Op& op, std::span<const Spec> in, std::span<const Spec> out);

// Nothing: this version cannot do the node.
std::optional<Prepared> prepare_kernel(const Kernel& kernel, const Op& op, std::span<const Spec> in,
                                       std::span<const Spec> out);

class KernelChoices {
 public:
  // Null where nothing is known.
  const std::string* find(const KernelKey& key) const;
  void set(const KernelKey& key, const std::string& version) { choices_[key] = version; }
  int64_t count() const { return static_cast<int64_t>(choices_.size()); }
  // Takes over what `other` knows; where both know something, the other's.
  void merge(const KernelChoices& other);
  bool operator==(const KernelChoices&) const = default;

  std::string to_json() const;
  // `name` is for messages. Throws ErrorKind::data for anything that to_json() does not write. A version that
  // no longer exists is no error here: the planner chooses anew.
  static KernelChoices from_json(const std::string& text, const std::string& name);

  // Files of to_json(), written whole or not at all.
  static KernelChoices load(const std::filesystem::path& file);
  void save(const std::filesystem::path& file) const;

 private:
  std::map<KernelKey, std::string> choices_;
};

}  // namespace millrace
