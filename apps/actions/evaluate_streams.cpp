#include "apps/actions/evaluate_streams.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <filesystem>
#include <map>
#include <unordered_map>

#include "apps/support/environment.h"
#include "core/run_dir.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigFile = "config.toml";

std::vector<StreamSpec> specs_of(const SafetensorsReader& file) {
  const auto says_stream = [](const auto& entry) { return entry.first.starts_with("stream."); };
  const auto& metadata = file.metadata();
  if (file.has("motionnet.conv1.weight") && std::none_of(metadata.begin(), metadata.end(), says_stream)) {
    fail(ErrorKind::data,
         {file.path().string(), "a stream that knows classes", "a MotionNet alone, which knows only motion",
          "Train a stream on it with twostream-train --stream stacked-c --init motionnet=FILE"});
  }
  return streams_of(file);
}

// runs/x, runs/x/checkpoints/step_000100 and its model.safetensors are of the run runs/x.
fs::path run_of(const fs::path& model) {
  std::error_code error;
  const fs::path full = fs::absolute(model, error);
  const fs::path run = full.parent_path().parent_path().parent_path();
  return full.parent_path().parent_path().filename() == "checkpoints" && fs::exists(run / kConfigFile, error)
             ? run
             : fs::path();
}

std::vector<size_t> places(const std::vector<std::string>& classes, const StreamWeights& other,
                           const std::string& first) {
  std::unordered_map<std::string, size_t> index;
  for (size_t k = 0; k < other.spec.classes.size(); ++k) index.emplace(other.spec.classes[k], k);
  std::vector<size_t> result;
  for (const std::string& name : classes) {
    const auto found = index.find(name);
    if (found == index.end() || other.spec.classes.size() != classes.size()) {
      fail(ErrorKind::data, {other.given, fmt::format("the {} classes of {}", classes.size(), first),
                             fmt::format("{} classes{}", other.spec.classes.size(),
                                         found == index.end() ? fmt::format(", without '{}'", name) : ""),
                             "Only streams and splits of the same classes can be fused and averaged"});
    }
    result.push_back(found->second);
  }
  return result;
}

std::string named(const std::vector<StreamWeights>& weights) {
  std::string names;
  for (const StreamWeights& w : weights) names += (names.empty() ? "" : ", ") + w.given;
  return names;
}

}  // namespace

std::vector<EvalStream> find_eval_streams(const std::vector<std::string>& weights, int64_t splits) {
  std::map<std::string, std::vector<StreamWeights>> by_scope;  // "spatial" before "temporal"
  for (const std::string& given : weights) {
    const auto file = std::make_shared<const SafetensorsReader>(resolve_weights(given));
    const std::string hash = file_hash(file->path().string());
    for (StreamSpec& spec : specs_of(*file)) {
      const std::string scope = scope_of(spec);
      by_scope[scope].push_back(
          {.given = given, .file = file, .spec = std::move(spec), .hash = hash, .run = run_of(file->path())});
    }
  }
  std::vector<EvalStream> streams;
  for (auto& [scope, found] : by_scope) {
    const auto count = static_cast<int64_t>(found.size());
    if (count != 1 && count != splits) {
      fail(ErrorKind::usage,
           {"--weights",
            splits == 1
                ? fmt::format("one file of the {} stream", scope)
                : fmt::format("one file of the {} stream for all {} splits, or one for each", scope, splits),
            fmt::format("{}: {}", count, named(found)),
            splits == 1 ? "Evaluate each by itself; --fuse compares and fuses their scores.csv" : ""});
    }
    streams.push_back({.name = scope, .weights = std::move(found)});
  }
  const StreamWeights& first = streams.front().weights.front();
  const std::vector<std::string> classes = first.spec.classes;
  for (EvalStream& stream : streams) {
    for (StreamWeights& w : stream.weights) w.labels = places(classes, w, first.given);
  }
  return streams;
}

std::optional<TrainingData> training_data(const fs::path& run) {
  std::error_code error;
  if (run.empty() || !fs::exists(run / kConfigFile, error)) return std::nullopt;
  try {
    const toml::table config = toml::parse_file((run / kConfigFile).string());
    const auto spec = config["data"].value<std::string>();
    if (!spec || spec->empty()) return std::nullopt;
    return TrainingData{.spec = *spec, .data_root = config["data_root"].value_or(std::string())};
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
}

}  // namespace millrace
