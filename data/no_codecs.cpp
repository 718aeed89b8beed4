// In place of the readers of images and flow files, in a build without their libraries (MILLRACE_DATA=OFF).
#include <string>

#include "core/error.h"
#include "data/flow_files.h"
#include "data/flow_folder.h"
#include "data/image.h"

namespace millrace {
namespace {

[[noreturn]] void cannot_read(const std::string& path) {
  fail(ErrorKind::usage, {.where = path,
                          .expected = "a millrace that reads images",
                          .got = "a build with MILLRACE_DATA=OFF",
                          .hint = "build with MILLRACE_DATA=ON, which needs libpng and libjpeg-turbo"});
}

}  // namespace

void read_image(const std::string& path, Image&) { cannot_read(path); }
std::optional<FrameFolder> list_flow(const std::filesystem::path& folder) { cannot_read(folder.string()); }
void read_flow_bytes(const FrameFolder& folder, size_t, double, Image&) {
  cannot_read(folder.frames.front().string());
}
Flow read_flow(const std::string& path) { cannot_read(path); }

}  // namespace millrace
