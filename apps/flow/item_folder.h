// The folder of one video's flow, OUT/<name>. It is made under another name beside it, OUT/.<name>.part, and
// renamed when all of it is written; done.json in it says what it was made with, so that a later run knows
// what is finished and never mixes flow of different weights or options.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/files.h"

namespace millrace {

constexpr const char* kDoneFile = "done.json";

// What done.json holds: `made_with` (weights, source, options) and `result` of a finished folder.
struct DoneFile {
  // With `complete`, false where the file does not say. Errors (data, with this hint): no file of
  // motionnet-flow.
  static nlohmann::json read(const std::filesystem::path& file, const std::string& hint = "");
  static nlohmann::json make(const nlohmann::json& made_with, const nlohmann::json& result);
};

// The result of a folder that is finished; nothing where it has to be made. Throws ErrorKind::usage when it
// holds flow that was made with something else, or that motionnet-flow cannot have made there, unless
// `overwrite`.
std::optional<nlohmann::json> finished_result(const std::filesystem::path& folder,
                                              const nlohmann::json& made_with, bool overwrite);

// The folder in the making. Removed with all that is in it unless commit() was called.
class UnfinishedFolder {
 public:
  // Removes what a killed run left. `taken()`: another process is at it.
  explicit UnfinishedFolder(std::filesystem::path target);
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;
  ~UnfinishedFolder();

  bool taken() const { return taken_; }
  const std::filesystem::path& path() const { return part_; }
  // Writes done.json and gives the folder its name. Where a folder of that name is there already (flow that
  // is made anew, or folders of other videos in it), the old flow is removed and files are moved one by one;
  // done.json says "complete": false until all are there, and other files stay.
  void commit(const nlohmann::json& done);

 private:
  void move_into_target(const nlohmann::json& done);

  std::filesystem::path target_, part_;
  FileHandle lock_;
  bool taken_ = false;
  bool committed_ = false;
};

}  // namespace millrace
