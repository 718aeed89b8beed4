// Streams with weights and files of them, for the tests of --init.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "apps/actions/init.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

namespace millrace::test {

using Numbers = std::vector<float>;
using Values = std::map<std::string, Numbers>;

inline StreamSpec narrow(StreamKind kind) {
  return {.kind = kind,
          .classes = {"hit", "kick", "run"},
          .input = {64, 64},
          .resize = {0, 0},
          .channels = 1. / 64,
          .flows = 2,
          .motionnet = {.frames = 3, .channels = .04, .kind = MotionNetKind::tiny}};
}

// A stream on the CPU, drawn from `seed`.
struct Net {
  StreamSpec spec;
  Graph g;
  ParamStore params;
  std::unique_ptr<Device> device = make_device("cpu");
  State state{*device};

  explicit Net(const StreamSpec& s, uint64_t seed = 1, std::vector<ParamRule> rules = {})
      : spec(s), params("cpu") {
    params.set_rules(std::move(rules));
    stream(g, params, g.input("clip", clip_spec(spec, 1)), spec);
    params.initialise(state, Dtype::f32, seed);
    // Biases start at 0, which would tell nothing.
    std::map<std::string, ParamStore::Values> biases;
    for (const std::string& name : params.names()) {
      if (name.ends_with(".bias"))
        biases[name] = [seed](int64_t first, std::span<double> values) {
          for (size_t k = 0; k < values.size(); ++k)
            values[k] = static_cast<double>(seed) + static_cast<double>(first) + static_cast<double>(k) / 8;
        };
    }
    params.load(biases, state);
  }

  void save(const std::filesystem::path& path) const {
    params.save(path, state, {{kParams, ""}}, stream_metadata(spec));
  }
  Values values() const {
    const TemporaryFolder folder;
    save(folder / "now");
    const SafetensorsReader file(folder / "now");
    Values values;
    for (const TensorEntry& e : file.tensors())
      file.read(e.name, std::span(values[e.name] = Numbers(static_cast<size_t>(e.count()))));
    return values;
  }
  std::vector<std::string> init(const std::vector<InitPart>& parts) {
    return initialise_parts(parts, spec, params, state);
  }
};

// A copy of the file with other tensors, names or metadata.
struct Edit {
  std::function<std::string(const std::string&)> name = [](const std::string& n) { return n; };  // "": none
  std::function<void(const std::string&, Numbers&)> values = [](const std::string&, Numbers&) {};
  bool described = true;
};
inline void rewrite(const std::filesystem::path& from, const std::filesystem::path& to, const Edit& edit) {
  const SafetensorsReader file(from);
  SafetensorsContent content;
  Values values;
  for (const TensorEntry& e : file.tensors()) {
    const std::string name = edit.name(e.name);
    if (name.empty()) continue;
    Numbers& numbers = values[name] = Numbers(static_cast<size_t>(e.count()));
    file.read(e.name, std::span(numbers));
    edit.values(name, numbers);
    content.tensors.push_back({.name = name, .dtype = "F32", .shape = e.shape});
  }
  if (edit.described) content.metadata = file.metadata();
  write_safetensors(to, content, [&](const TensorEntry& e, uint64_t offset, std::span<std::byte> chunk) {
    const auto bytes = std::as_bytes(std::span(values.at(e.name)));
    std::copy_n(bytes.begin() + static_cast<int64_t>(offset), chunk.size(), chunk.begin());
  });
}
inline Edit without(const std::vector<std::string>& parts) {
  return {.name = [parts](const std::string& name) {
    return std::any_of(parts.begin(), parts.end(), [&](const auto& p) { return name.starts_with(p); }) ? ""
                                                                                                       : name;
  }};
}

// Names whose values differ.
inline std::set<std::string> changed(const Values& before, const Values& after) {
  std::set<std::string> names;
  for (const auto& [name, values] : after) {
    if (before.at(name) != values) names.insert(name);
  }
  return names;
}

// Refused, and nothing changed.
inline std::string refusal(Net& net, const std::vector<InitPart>& parts, ErrorKind kind = ErrorKind::data) {
  const Values before = net.values();
  std::string message = "no error";
  try {
    net.init(parts);
  } catch (const Error& e) {
    CHECK(e.kind() == kind);
    message = e.what();
  }
  CHECK(net.values() == before);
  return message;
}

}  // namespace millrace::test
