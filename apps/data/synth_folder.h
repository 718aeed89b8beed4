// The folder of a synthetic set on its way to disk: this process's alone, described by a file, and never
// anything else written over. A clip appears in it whole; until then its name begins with a dot, and readers
// pass over it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "core/files.h"
#include "data/source.h"

namespace millrace {

struct SetFolderOptions {
  std::string out = {};          // as the person wrote it
  std::string description = {};  // name of the file
  std::string format = {};       // what its "format" says
};

class SetFolder {
 public:
  // A new or empty folder, or one with a description. Errors (usage): other things in it; another process
  // that writes there.
  explicit SetFolder(const SetFolderOptions& options);

  const std::filesystem::path& path() const { return path_; }
  bool begun() const { return begun_; }
  std::string description_file() const { return (path_ / options_.description).string(); }
  // What a begun set says of itself. Errors (data): it is of another format.
  nlohmann::ordered_json description() const;
  void describe(const nlohmann::ordered_json& description) const;

  // Fails (usage): what is there is not the beginning of what is asked for.
  [[noreturn]] void refuse(const std::string& what, const std::string& before, const std::string& now) const;
  void warn_of_other_version(const nlohmann::ordered_json& was) const;

 private:
  SetFolderOptions options_;
  std::filesystem::path path_;
  bool begun_ = false;
  FileHandle lock_;
};

// Images of a clip as files of their own.
struct FrameFormat {
  std::string name = "png";  // png, ppm or jpg
  int64_t quality = 95;      // of jpg, 1 to 100
};
// Errors (usage), beginning with the flag.
void check(const FrameFormat& format, const std::string& known_formats);
// The least a pixel takes: PNG and JPEG may need more.
double bytes_per_pixel(const FrameFormat& format);

// Writes img_00001.png, ... and flow00001.flo, ... of a clip, and gives the folder its name when all is
// there. Returns the bytes written. Errors (runtime): the disk; then nothing is left.
uint64_t write_frame_folder(const Clip& clip, const FrameFormat& format, const std::filesystem::path& folder);

// Removes what a killed process left half in a folder of clips.
void remove_partial_clips(const std::filesystem::path& folder);

}  // namespace millrace
