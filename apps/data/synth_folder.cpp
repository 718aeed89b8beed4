#include "apps/data/synth_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <vector>

#include "apps/support/program.h"
#include "core/error.h"
#include "core/log.h"
#include "data/encode.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kPartial = ".partial";

std::string encode(const Image& image, const FrameFormat& format) {
  if (format.name == "jpg") return encode_jpeg(image, static_cast<int>(format.quality));
  return format.name == "png" ? encode_png(image) : encode_pnm(image);
}

}  // namespace

SetFolder::SetFolder(const SetFolderOptions& options) : options_(options), path_(options.out) {
  std::error_code error;
  begun_ = fs::exists(path_ / options_.description, error);
  // Killed while it wrote the description, a set has nothing but that file's beginning.
  if (!begun_ && fs::is_directory(path_, error)) remove_stale_temporary_files(path_);
  if (!begun_ && fs::exists(path_, error) &&
      !(fs::is_directory(path_, error) && fs::is_empty(path_, error))) {
    fail(ErrorKind::usage, {"--out " + options_.out, "a new or empty folder, or a set that was begun",
                            "one with other things in it", "Nothing is overwritten; choose another"});
  }
  make_folders(path_);
  lock_ = FileHandle(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    fail(ErrorKind::usage,
         {"--out " + options_.out, "a folder for this process alone", "another that writes there", ""});
  }
}

ordered_json SetFolder::description() const {
  const std::string file = description_file();
  ordered_json json = ordered_json::parse(read_file(file, 1 << 20), nullptr, false);
  if (!json.is_object() || !json.contains("format") || json["format"] != options_.format) {
    fail(ErrorKind::data,
         {file, fmt::format("\"{}\"", options_.format), "something else", "Choose another --out"});
  }
  return json;
}

void SetFolder::describe(const ordered_json& description) const {
  write_file_atomically(path_ / options_.description, description.dump(2) + "\n");
}

void SetFolder::refuse(const std::string& what, const std::string& before, const std::string& now) const {
  fail(ErrorKind::usage, {"--out " + options_.out + ": " + what, before + " as the set there has it", now,
                          "Choose another --out"});
}

void SetFolder::warn_of_other_version(const ordered_json& was) const {
  const std::string before =
      was.contains("millrace") && was["millrace"].is_string() ? was["millrace"].get<std::string>() : "none";
  if (before != version()) {
    log_warning(fmt::format("{}: begun by version {}, this is {}: clips might differ", description_file(),
                            before, version()));
  }
}

void check(const FrameFormat& format, const std::string& known_formats) {
  if (format.name != "png" && format.name != "ppm" && format.name != "jpg")
    fail(ErrorKind::usage, {"--format", known_formats, "'" + format.name + "'", ""});
  if (format.quality < 1 || format.quality > 100)
    fail(ErrorKind::usage, {"--quality", "1 to 100", std::to_string(format.quality), ""});
}

double bytes_per_pixel(const FrameFormat& format) {
  return format.name == "ppm" ? 3 : format.name == "jpg" ? 0.1 : 1;
}

uint64_t write_frame_folder(const Clip& clip, const FrameFormat& format, const fs::path& folder) {
  const fs::path partial = folder.parent_path() / ("." + folder.filename().string() + kPartial);
  uint64_t bytes = 0;
  try {
    make_folders(partial);
    for (size_t k = 0; k < clip.frames.size(); ++k) {
      const std::string image = encode(clip.frames[k], format);
      write_file_atomically(partial / fmt::format("img_{:05}.{}", k + 1, format.name), image);
      bytes += image.size();
    }
    for (size_t k = 0; k < clip.truth.size(); ++k) {
      write_flo(partial / fmt::format("flow{:05}.flo", k + 1), clip.truth[k]);
      bytes += 12 + sizeof(float) * clip.truth[k].uv.size();
    }
    sync_folder(partial);
    rename_path(partial, folder);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw;
  }
  return bytes;
}

void remove_partial_clips(const fs::path& folder) {
  remove_stale_temporary_files(folder);
  std::vector<fs::path> partial;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const fs::path name = entry.path().filename();
    if (name.string().starts_with(".") && name.extension() == kPartial) partial.push_back(entry.path());
  }
  for (const fs::path& path : partial) fs::remove_all(path);
}

}  // namespace millrace
