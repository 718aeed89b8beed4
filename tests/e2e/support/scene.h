// Inputs and outputs of the end-to-end tests: small nets, moving pictures, and what a run has written.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/flow.h"
#include "data/image.h"
#include "tests/e2e/support/process.h"
#include "tests/unit/temporary_folder.h"

namespace millrace::test {

namespace fs = std::filesystem;
using nlohmann::json;

// A net that steps in milliseconds: 64x64, 109,015 parameters, batch 2, one thread.
std::vector<std::string> tiny();
// A run of the tiny net on synthetic clips, for programs that need weights. `more` overrides.
fs::path small_run(const TemporaryFolder& folder, const std::string& name, const std::string& more = "");

// Frame k of a smooth texture that moves by (1.5, -.75) pixels a frame.
Image frame(int64_t k, Size size);
// img_00001.png, ... : frames first, first + 1, ...
struct FrameSpan {
  int64_t first = 0;
  int64_t count = 0;
};
void write_frames(const fs::path& folder, FrameSpan span, Size size);

std::string bytes_of(const fs::path& file);
// Of a run that nobody writes to: beside a writer the last line may be there in part.
std::vector<json> metrics_of(const fs::path& run);
// Until the run has written so many lines of metrics, or has ended.
void wait_for_lines(Process& process, const fs::path& run, size_t lines);
json parse_only_line(const std::string& out);  // REQUIREs one line and nothing else
std::vector<std::string> names_in(const fs::path& folder);
// The same of a folder of motionnet-flow, without its done.json, which must be there; nothing when the folder
// is not.
std::vector<std::string> flow_names_in(const fs::path& folder);
// The header of a safetensors file.
json header_of(const fs::path& file);
// The folder that checkpoints/latest names.
fs::path latest_of(const fs::path& run);

// "pixel2" ... "ssim6"
std::vector<std::string> term_names();

// REQUIREs the exit code of a kind, and one line in stderr that begins with the program's name and holds
// `parts`.
struct Expected {
  int code = 0;
  std::vector<std::string> parts = {};
};
void require_failure(const Result& result, const Expected& expected);

// Real videos: the folder of MILLRACE_TEST_DATA. Prints why when there is none.
std::optional<fs::path> test_data(const std::string& inside);
bool video_built_in();

}  // namespace millrace::test
