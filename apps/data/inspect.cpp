#include "apps/data/inspect.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/data/inspectors.h"
#include "apps/flow/item_folder.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/run_dir.h"
#include "data/lists.h"
#include "data/weights/weight_file.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Inspector {
  ordered_json (*inspect)(const InspectOptions&);
  void (*print)(const ordered_json&);
};

constexpr Inspector kTensors{inspect_tensors, print_tensors},
    kCheckpoint{inspect_checkpoint, print_checkpoint}, kRun{inspect_run, print_run},
    kPlans{inspect_plans, print_plans}, kList{inspect_list, print_list},
    kFlow{inspect_flow_folder, print_flow_folder}, kMedia{inspect_media, print_media};

// "# step", as --plan and plan.txt begin.
bool begins_like_plans(const fs::path& path) {
  std::string start(256, char{0});
  const FileHandle file = open_for_reading(path);
  start.resize(read_at(file, path, 0, std::as_writable_bytes(std::span(start))));
  return start.starts_with("# ") && start.find("\nnode ") != std::string::npos;
}

Inspector inspector_for(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    fail(ErrorKind::data,
         {path.string(), "a run, checkpoint, file of weights, plan, list, video, image or flow",
          "no such file or folder", ""});
  }
  if (fs::is_directory(path, error)) {
    if (fs::exists(path / "config.toml", error)) return kRun;
    if (fs::exists(path / kModelFile, error)) return kCheckpoint;
    if (fs::exists(path / kDoneFile, error)) return kFlow;
    return kMedia;
  }
  if (seems_weights(path)) return kTensors;
  if (begins_like_plans(path)) return kPlans;
  return is_list_name(path) ? kList : kMedia;
}

}  // namespace

void declare_inspect(CLI::App& app, InspectArguments& a) {
  app.footer(
      "examples:\n"
      "  millrace-data inspect runs/holiday\n"
      "  millrace-data inspect runs/holiday/checkpoints/step_000500 --stats\n"
      "  millrace-data inspect trainlist01.txt flow/holiday/flow_00001.flo --json\n"
      "  millrace-data inspect --device\n"
      "exit codes: 0 done, 2 usage, 3 a file is broken or of no known kind");
  app.add_option(
      "path", a.paths,
      "runs, checkpoints, weights (.safetensors, .caffemodel, .pth, .pt), plan.txt, lists, videos, folders\n"
      "of frames, images, flow, folders that motionnet-flow wrote");
  app.add_flag("--device", a.device,
               "what --device of the other programs can be here, and why a GPU cannot be used");
  app.add_flag("--stats", a.stats,
               "of tensors: least, largest, mean, root of the mean square, number of values not finite");
  app.add_flag("--json", a.json, "one line of JSON for each path");
}

namespace {

void print_json(const ordered_json& json) {
  std::cout << json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
}

}  // namespace

int run_inspect(const InspectArguments& a) {
  if (a.paths.empty() && !a.device)
    fail(ErrorKind::usage, {"inspect", "a path, or --device", "none", "millrace-data inspect --help"});
  if (a.device) {
    const ordered_json json = inspect_devices();
    a.json ? print_json(json) : print_devices(json);
  }
  int64_t failed = 0;
  for (const std::string& path : a.paths) {
    try {
      const InspectOptions options{.path = path, .stats = a.stats};
      const Inspector inspector = inspector_for(path);
      const ordered_json json = inspector.inspect(options);
      if (a.json) {
        print_json(json);
        continue;
      }
      if (a.paths.size() > 1) fmt::print("{}\n", path);
      inspector.print(json);
      if (a.paths.size() > 1) fmt::print("\n");
    } catch (const Error& e) {
      if (a.paths.size() == 1 || e.kind() != ErrorKind::data) throw;
      log_error(e.what());  // one broken file does not hide the others
      ++failed;
    }
  }
  return failed > 0 ? static_cast<int>(ErrorKind::data) : 0;
}

}  // namespace millrace
