#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/data/inspectors.h"
#include "apps/flow/item_folder.h"
#include "apps/support/text.h"
#include "core/files.h"
#include "data/flow_jpeg.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr uint64_t kMaxSidecarBytes = 1 << 20;

}  // namespace

ordered_json inspect_flow_folder(const InspectOptions& options) {
  const nlohmann::json done = DoneFile::read(options.path / kDoneFile);
  int64_t files = 0;
  for (const auto& entry : fs::directory_iterator(options.path)) {
    const std::string name = entry.path().filename().string();
    files += name != kDoneFile && name != kFlowJsonFile;
  }
  ordered_json json{
      {"kind", "flow_folder"}, {"path", options.path.string()},     {"complete", done.at("complete")},
      {"files", files},        {"made_with", done.at("made_with")}, {"result", done.at("result")}};
  const fs::path sidecar = options.path / kFlowJsonFile;
  std::error_code error;
  if (fs::exists(sidecar, error)) {
    const FlowJpegInfo info = parse_flow_json(read_file(sidecar, kMaxSidecarBytes), sidecar.string());
    json["jpeg"] = {{"bound", info.mapping.bound},
                    {"rounding", rounding_name(info.mapping.rounding)},
                    {"width", info.size.width},
                    {"height", info.size.height},
                    {"flows", info.flows}};
  }
  return json;
}

void print_flow_folder(const ordered_json& json) {
  fmt::print("flow of motionnet-flow, {}; {}\n",
             json["complete"] == true ? "complete" : "not complete, the same command makes it whole",
             counted(json["files"].get<int64_t>(), "file"));
  for (const char* part : {"made_with", "result", "jpeg"}) {
    if (!json.contains(part)) continue;
    fmt::print("{}\n", part);
    for (const auto& [key, value] : json[part].items()) {
      if (value.is_array() && key == "pairs")
        fmt::print("  {:<14} {} with true flow; --json has their errors\n", key, value.size());
      else
        fmt::print("  {:<14} {}\n", key, value.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    }
  }
}

}  // namespace millrace
