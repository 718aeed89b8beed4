#include "apps/flow/item_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/flow/outputs.h"
#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "millrace flow 1";
constexpr uint64_t kMaxDoneBytes = uint64_t{1} << 30;
constexpr const char* kHint = "--overwrite replaces it, or choose another --out";

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code unreadable;
    if (!entry.is_directory(unreadable)) files.push_back(entry.path());
  }
  return files;
}

void remove_file(const fs::path& file) {
  std::error_code error;
  fs::remove(file, error);
  if (error) fail(ErrorKind::runtime, {file.string(), "to remove it", error.message(), ""});
}

// The first thing in which two folders' making differs.
void fail_difference(const fs::path& folder, const json& wanted, const json& found) {
  for (const auto& [key, value] : wanted.items()) {
    const auto other = found.find(key);
    if (other != found.end() && *other == value) continue;
    fail(ErrorKind::usage,
         {folder.string(), fmt::format("flow made with {} {}", key, value.dump()),
          other == found.end() ? "flow made without" : fmt::format("{} {}", key, other->dump()), kHint});
  }
  fail(ErrorKind::usage, {folder.string(), "flow made with these options", "flow made with more", kHint});
}

}  // namespace

json DoneFile::read(const fs::path& file, const std::string& hint) {
  json done = json::parse(read_file(file, kMaxDoneBytes), nullptr, false);
  const auto is_object = [&](const char* key) { return done.contains(key) && done.at(key).is_object(); };
  if (done.is_object() && done.contains("format") && done.at("format") == kFormat && is_object("made_with") &&
      is_object("result")) {
    done["complete"] = done.contains("complete") && done.at("complete") == true;
    return done;
  }
  fail(ErrorKind::data, {file.string(), fmt::format("JSON of '{}'", kFormat), "something else", hint});
}

json DoneFile::make(const json& made_with, const json& result) {
  return {{"format", kFormat}, {"complete", true}, {"made_with", made_with}, {"result", result}};
}

std::optional<json> finished_result(const fs::path& folder, const json& made_with, bool overwrite) {
  const fs::path file = folder / kDoneFile;
  std::error_code error;
  if (!fs::exists(file, error)) {
    if (overwrite) return std::nullopt;
    for (const fs::path& old : files_in(folder)) {
      if (!is_output_name(old.filename().string())) continue;
      fail(ErrorKind::usage, {folder.string(), "no flow yet, or a done.json that says how it was made",
                              old.filename().string(), kHint});
    }
    return std::nullopt;
  }
  json done;
  try {
    done = DoneFile::read(file, kHint);
  } catch (const Error& e) {
    if (overwrite) return std::nullopt;
    throw;
  }
  if (done.at("made_with") == made_with)
    return done.at("complete") == true ? std::optional(done.at("result")) : std::nullopt;
  if (!overwrite) fail_difference(folder, made_with, done.at("made_with"));
  return std::nullopt;
}

UnfinishedFolder::UnfinishedFolder(fs::path target)
    : target_(std::move(target)),
      part_(target_.parent_path() / ("." + target_.filename().string() + ".part")) {
  make_folders(part_);
  lock_ = FileHandle(::open(part_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Where folders cannot be locked, two processes at one video are not noticed.
  if (lock_ && ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) taken_ = errno == EWOULDBLOCK;
  struct stat held {
  }, there{};
  // Between the two calls its maker may have finished it.
  if (lock_ && !taken_) {
    taken_ =
        ::fstat(lock_.get(), &held) != 0 || ::stat(part_.c_str(), &there) != 0 || held.st_ino != there.st_ino;
  }
  if (taken_) return;
  for (const fs::path& old : files_in(part_)) remove_file(old);
}

UnfinishedFolder::~UnfinishedFolder() {
  if (taken_ || committed_) return;
  std::error_code ignored;
  fs::remove_all(part_, ignored);
}

void UnfinishedFolder::commit(const json& done) {
  std::error_code error;
  if (fs::is_directory(target_, error)) {
    move_into_target(done);
  } else {
    write_file_atomically(part_ / kDoneFile, done.dump(1) + "\n");
    sync_folder(part_);
    rename_path(part_, target_);
  }
  committed_ = true;
  sync_folder(target_.parent_path());
}

void UnfinishedFolder::move_into_target(const json& done) {
  json begun = done;
  begun["complete"] = false;
  write_file_atomically(target_ / kDoneFile, begun.dump(1) + "\n");
  for (const fs::path& old : files_in(target_)) {
    if (is_output_name(old.filename().string())) remove_file(old);
  }
  for (const fs::path& file : files_in(part_)) rename_path(file, target_ / file.filename());
  sync_folder(target_);
  write_file_atomically(target_ / kDoneFile, done.dump(1) + "\n");
  remove_file(part_);
}

}  // namespace millrace
