#include "apps/actions/predict_streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "core/run_dir.h"
#include "data/csv.h"

namespace millrace {
namespace {

constexpr int64_t kCpuBatch = 10, kGpuBatch = 50;

bool says_streams(const SafetensorsReader& file) {
  return std::any_of(file.metadata().begin(), file.metadata().end(),
                     [](const auto& entry) { return entry.first.starts_with("stream."); });
}

std::vector<StreamSpec> specs_of(const SafetensorsReader& file) {
  if (!says_streams(file) && file.has("motionnet.conv1.weight")) {
    fail(ErrorKind::data,
         {file.path().string(), "a stream that knows classes", "a MotionNet alone, which knows only motion",
          "Train a stream on it with twostream-train --stream stacked-c --init motionnet=FILE"});
  }
  return streams_of(file);
}

// For each of `classes` its place in `other`, which must be the same names.
std::vector<size_t> places(const std::vector<std::string>& classes, const StreamFile& other,
                           const std::string& first_file) {
  std::unordered_map<std::string, size_t> index;
  for (size_t k = 0; k < other.spec.classes.size(); ++k) index.emplace(other.spec.classes[k], k);
  std::vector<size_t> result;
  for (const std::string& name : classes) {
    const auto found = index.find(name);
    if (found == index.end() || other.spec.classes.size() != classes.size()) {
      fail(ErrorKind::data,
           {other.file->path().string(), fmt::format("the {} classes of {}", classes.size(), first_file),
            fmt::format("{} classes{}", other.spec.classes.size(),
                        found == index.end() ? ", without " + shown(name) : ""),
            "Streams can only be fused when they tell the same classes apart"});
    }
    result.push_back(found->second);
  }
  return result;
}

}  // namespace

std::vector<StreamFile> find_streams(const std::vector<std::string>& weights) {
  std::vector<StreamFile> streams;
  for (const std::string& path : weights) {
    const auto file = std::make_shared<const SafetensorsReader>(resolve_weights(path));
    for (StreamSpec& spec : specs_of(*file))
      streams.push_back({.file = file, .spec = std::move(spec), .labels = {}});
  }
  std::stable_sort(streams.begin(), streams.end(), [](const StreamFile& a, const StreamFile& b) {
    return a.spec.kind == StreamKind::spatial && b.spec.kind != StreamKind::spatial;
  });
  for (size_t k = 0; k < streams.size(); ++k) {
    const StreamFile &first = streams[0], &here = streams[k];
    if (k > 0 && scope_of(streams[k - 1].spec) == scope_of(here.spec)) {
      fail(ErrorKind::usage, {"--weights", "one spatial and one temporal stream",
                              fmt::format("two {} ones, of {} and {}", scope_of(here.spec),
                                          streams[k - 1].file->path().string(), here.file->path().string()),
                              ""});
    }
    streams[k].labels = places(first.spec.classes, here, first.file->path().string());
  }
  return streams;
}

int64_t batch_of(const PredictSettings& s, const Device& device) {
  if (s.batch > 0) return s.batch;
  const bool cpu = device.name() == "cpu";
  return std::min(s.clips * s.crops, cpu ? kCpuBatch : kGpuBatch);
}

int64_t frames_spanned(const StreamSpec& spec) {
  return clip_frames(spec) + (spec.kind == StreamKind::temporal ? 1 : 0);
}

}  // namespace millrace
