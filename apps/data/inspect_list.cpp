#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/data/inspectors.h"
#include "apps/support/text.h"
#include "core/files.h"
#include "data/lists.h"

namespace millrace {
namespace {

using nlohmann::ordered_json;

struct LabelCount {
  int64_t entries = 0, frames = 0;
  std::string folder;  // of its first entry's path
};

ordered_json inspect_hmdb51(const InspectOptions& options, const Hmdb51Name& name) {
  const auto lines = parse_hmdb51(read_file(options.path, 1 << 26), options.path.string());
  int64_t parts[3] = {};
  for (const Hmdb51Line& line : lines) ++parts[line.part];
  return {{"kind", "list"},
          {"path", options.path.string()},
          {"format", "HMDB51 split of one class"},
          {"class", name.class_name},
          {"split", name.split},
          {"entries", lines.size()},
          {"training", parts[1]},
          {"test", parts[2]},
          {"unused", parts[0]}};
}

std::string first_folder(const std::string& path) {
  const size_t slash = path.find('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

ordered_json inspect_list(const InspectOptions& options) {
  if (const auto name = hmdb51_name(options.path.string())) return inspect_hmdb51(options, *name);
  const VideoList list = read_list(options.path);
  std::map<int64_t, LabelCount> labels;
  std::vector<int64_t> frames;
  for (const ListEntry& entry : list.entries) {
    if (entry.frames) frames.push_back(*entry.frames);
    if (!entry.label) continue;
    LabelCount& count = labels[*entry.label];
    if (++count.entries == 1) count.folder = first_folder(entry.path);
    count.frames += entry.frames.value_or(0);
  }
  ordered_json json{{"kind", "list"},
                    {"path", options.path.string()},
                    {"format", columns_name(list.columns)},
                    {"entries", list.entries.size()},
                    {"repeated", list.repeated}};
  if (!frames.empty()) {
    std::sort(frames.begin(), frames.end());
    int64_t sum = 0;
    for (const int64_t f : frames) sum += f;
    json["frames"] = {
        {"sum", sum}, {"min", frames.front()}, {"median", frames[frames.size() / 2]}, {"max", frames.back()}};
  }
  json["labels"] = ordered_json::array();
  for (const auto& [label, count] : labels) {
    ordered_json row{{"label", label}, {"entries", count.entries}};
    if (!frames.empty()) row["frames"] = count.frames;
    if (!count.folder.empty()) row["folder"] = count.folder;
    json["labels"].push_back(std::move(row));
  }
  return json;
}

void print_list(const ordered_json& json) {
  const auto text = [&](const char* key) { return json[key].get<std::string>(); };
  if (json.contains("class")) {
    fmt::print("{}: class {}, split {}: {} for training, {} for test, {} unused\n", text("format"),
               text("class"), json["split"].dump(), json["training"].dump(), json["test"].dump(),
               json["unused"].dump());
    return;
  }
  fmt::print("list of \"{}\": {} entries, {} repeated lines\n", text("format"), json["entries"].dump(),
             json["repeated"].dump());
  if (json.contains("frames")) {
    const auto& f = json["frames"];
    fmt::print("{} frames, {} to {} an entry, median {}\n", f["sum"].dump(), f["min"].dump(), f["max"].dump(),
               f["median"].dump());
  }
  const auto& labels = json["labels"];
  if (labels.empty()) return;
  fmt::print("{}, {} to {}\n", counted(static_cast<int64_t>(labels.size()), "label"),
             labels.front()["label"].dump(), labels.back()["label"].dump());
  fmt::print("{:>8} {:>8} {:>10}  {}\n", "label", "entries", "frames", "folder of the first");
  for (const auto& row : labels) {
    fmt::print("{:>8} {:>8} {:>10}  {}\n", row["label"].dump(), row["entries"].dump(),
               row.contains("frames") ? row["frames"].dump() : "-", row.value("folder", "-"));
  }
}

}  // namespace millrace
