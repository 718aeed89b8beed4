#include "core/run_dir.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDone = "DONE";
constexpr std::string_view kTemporary = ".tmp_";  // being written
constexpr std::string_view kOld = ".old_";        // whole, about to be replaced by one of the same step
constexpr std::string_view kTrash = ".trash_";    // being removed
constexpr uint64_t kMaxSmallFile = 1'000'000;

std::string name_of_step(int64_t step) { return fmt::format("step_{:06}", step); }

fs::path sibling(const fs::path& folder, std::string_view prefix) {
  return folder.parent_path() / (std::string(prefix) + folder.filename().string());
}

std::optional<int64_t> step_of_name(const std::string& name) {
  if (!name.starts_with("step_") || name.size() > 5 + 18) return std::nullopt;
  int64_t step = 0;
  for (const char c : name.substr(5)) {
    if (c < '0' || c > '9') return std::nullopt;
    step = step * 10 + (c - '0');
  }
  return name == name_of_step(step) ? std::optional(step) : std::nullopt;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code code;
  for (auto it = fs::directory_iterator(folder, code); !code && it != fs::directory_iterator();
       it.increment(code)) {
    out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// DONE has a line "<bytes> <file>" for each file.
bool is_complete(const fs::path& folder) {
  std::error_code code;
  if (!fs::is_regular_file(folder / kDone, code)) return false;
  std::ifstream done(folder / kDone);
  uint64_t bytes = 0;
  int64_t files = 0;
  for (; done >> bytes; ++files) {
    std::string name;
    done.get();
    if (!std::getline(done, name) || fs::file_size(folder / name, code) != bytes || code) return false;
  }
  return done.eof() && files > 0;  // an empty DONE is what some file systems leave of one after a crash
}

// Syncs all files and says in DONE what there is.
void finish_checkpoint(const fs::path& folder) {
  std::string done;
  for (const fs::path& file : entries_of(folder)) {
    sync_file(open_for_reading(file), file);
    done += fmt::format("{} {}\n", file_size_of(file), file.filename().string());
  }
  write_file_atomically(folder / kDone, done);
}

// `run` may belong to another process.
fs::path folder_of_checkpoints(const fs::path& run) { return run / "checkpoints"; }

std::optional<int64_t> step_of_line(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
  return json["step"].get<int64_t>();
}

// Size of the file up to the end of its last whole line.
off_t end_of_whole_lines(const FileHandle& file, const fs::path& path) {
  off_t end = ::lseek(file.get(), 0, SEEK_END);
  for (char c = 0; end > 0; --end) {
    read_at(file, path, static_cast<uint64_t>(end - 1), std::as_writable_bytes(std::span(&c, 1)));
    if (c == '\n') break;
  }
  return end;
}

}  // namespace

std::vector<Checkpoint> list_checkpoints(const fs::path& run) {
  std::vector<Checkpoint> out;
  for (const fs::path& path : entries_of(folder_of_checkpoints(run))) {
    const auto step = step_of_name(path.filename().string());
    if (step && is_complete(path)) out.push_back({.step = *step, .path = path});
  }
  std::sort(out.begin(), out.end(), [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return out;
}

std::optional<Checkpoint> latest_checkpoint(const fs::path& run) {
  std::string name;
  std::ifstream(folder_of_checkpoints(run) / "latest") >> name;
  const auto step = step_of_name(name);
  const fs::path named = folder_of_checkpoints(run) / name;
  if (step && is_complete(named)) return Checkpoint{.step = *step, .path = named};
  const auto all = list_checkpoints(run);
  return all.empty() ? std::nullopt : std::optional(all.back());
}

fs::path resolve_weights(const fs::path& path) {
  const std::string expected = "a .safetensors file, a checkpoint folder or a run folder";
  std::error_code code;
  if (!fs::exists(path, code)) {
    fail(ErrorKind::data, {.where = path.string(), .expected = expected, .got = "nothing there", .hint = {}});
  }
  if (!fs::is_directory(path, code)) return path;
  if (fs::exists(path / kModelFile, code)) {
    if (is_complete(path)) return path / kModelFile;
    fail(ErrorKind::data, {.where = path.string(),
                           .expected = "a complete checkpoint",
                           .got = "a folder without file DONE, or with other files than DONE lists",
                           .hint = "Name its model.safetensors to use it all the same"});
  }
  const fs::path run = path.filename() == "checkpoints" ? path.parent_path() : path;
  if (!fs::is_directory(folder_of_checkpoints(run), code)) {
    fail(ErrorKind::data, {.where = path.string(),
                           .expected = expected,
                           .got = "a folder with neither model.safetensors nor checkpoints",
                           .hint = {}});
  }
  const auto latest = latest_checkpoint(run);
  if (!latest || !fs::exists(latest->path / kModelFile, code)) {
    fail(ErrorKind::data, {.where = path.string(),
                           .expected = "a run with a complete checkpoint",
                           .got = latest ? "one without model.safetensors" : "none",
                           .hint = {}});
  }
  return latest->path / kModelFile;
}

void write_checkpoint(const fs::path& folder, const std::function<void(const fs::path& folder)>& fill) {
  const fs::path named = folder.lexically_normal();
  const fs::path target = named.has_filename() ? named : named.parent_path();  // "joined/" is "joined"
  std::error_code code;
  if (fs::exists(target, code) && !(fs::is_directory(target, code) && fs::is_empty(target, code))) {
    fail(ErrorKind::usage, {.where = target.string(),
                            .expected = "a new folder",
                            .got = fs::is_directory(target, code) ? "one that is not empty" : "a file",
                            .hint = "Choose another name, or remove it first"});
  }
  const fs::path temporary = sibling(target, kTemporary);
  fs::remove_all(temporary, code);
  make_folders(temporary);
  try {
    fill(temporary);
    finish_checkpoint(temporary);
    rename_path(temporary, target);
  } catch (...) {
    fs::remove_all(temporary, code);
    throw;
  }
  sync_folder(target.has_parent_path() ? target.parent_path() : fs::path("."));
}

RunDir RunDir::create(const fs::path& path) {
  RunDir run(path);
  for (const fs::path& file :
       {path, path / "lock", run.config_path(), run.env_path(), run.kernels_path(), run.plan_path(),
        run.log_path(), run.metrics_path(), run.events_path(), run.checkpoints_path()}) {
    std::error_code unknown;
    if (!fs::exists(file, unknown)) run.made_.push_back(file);
  }
  make_folders(path);
  run.lock();
  const auto refuse = [&](const std::string& file, const char* hint) {
    run.discard();
    fail(ErrorKind::usage, {.where = path.string(),
                            .expected = "a folder for a new run",
                            .got = "one that has " + file,
                            .hint = hint});
  };
  for (const fs::path& file : {run.config_path(), run.metrics_path(), run.events_path(), run.result_path(),
                               run.checkpoints_path() / "latest"}) {
    std::error_code code;
    if (fs::exists(file, code)) refuse(file.filename().string(), "Resume that run, or choose another folder");
  }
  run.clean_up();
  make_folders(run.checkpoints_path());
  if (const auto others = entries_of(run.checkpoints_path()); !others.empty())
    refuse("checkpoints/" + others.front().filename().string(), "Choose another folder");
  return run;
}

void RunDir::discard() {
  metrics_ = FileHandle();
  for (auto file = made_.rbegin(); file != made_.rend(); ++file) {
    std::error_code ignored;
    fs::remove(*file, ignored);
  }
  lock_ = FileHandle();
}

RunDir RunDir::open(const fs::path& path) {
  RunDir run(path);
  std::error_code code;
  if (!fs::is_regular_file(run.config_path(), code)) {
    fail(ErrorKind::usage, {.where = path.string(),
                            .expected = "the folder of a run",
                            .got = fs::exists(path, code) ? "one without config.toml" : "nothing there",
                            .hint = {}});
  }
  run.lock();
  run.clean_up();
  make_folders(run.checkpoints_path());
  return run;
}

// The lock ends with the process, however it ends, so the file can stay.
void RunDir::lock() {
  const fs::path path = path_ / "lock";
  lock_ = open_for_appending(path);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) {
    const std::string pid = fmt::format("{}\n", ::getpid());
    if (::ftruncate(lock_.get(), 0) == 0) write_all(lock_, path, std::as_bytes(std::span(pid)));
  } else if (errno == EWOULDBLOCK) {
    std::string pid = "unknown";
    std::ifstream(path) >> pid;
    fail(ErrorKind::usage, {.where = path_.string(),
                            .expected = "a run that no process writes to",
                            .got = "one that process " + pid + " writes to",
                            .hint = {}});
  }  // else a file system without locks: one cannot know
}

void RunDir::clean_up() const {
  remove_stale_temporary_files(path_);
  remove_stale_temporary_files(checkpoints_path());
  for (const fs::path& path : entries_of(checkpoints_path())) {
    const std::string name = path.filename().string();
    std::error_code ignored;
    const size_t begin = name.find("step_");
    if (begin == std::string::npos || !step_of_name(name.substr(begin))) continue;  // not ours
    if (name.starts_with(kOld) && is_complete(path)) {
      const fs::path original = path.parent_path() / name.substr(kOld.size());
      if (!fs::exists(original, ignored)) {
        rename_path(path, original);
        continue;
      }
    }
    if (name.starts_with(kTemporary) || name.starts_with(kOld) || name.starts_with(kTrash)) {
      fs::remove_all(path, ignored);
    }
  }
}

void RunDir::open_metrics() {
  metrics_ = open_for_appending(metrics_path());
  if (::ftruncate(metrics_.get(), end_of_whole_lines(metrics_, metrics_path())) != 0) {
    fail(ErrorKind::runtime, {.where = metrics_path().string(),
                              .expected = "to write",
                              .got = std::generic_category().message(errno),
                              .hint = {}});
  }
}

void RunDir::append_metrics(const MetricsLine& line) {
  nlohmann::ordered_json json = {{"step", line.step}, {"seconds", line.seconds}};
  for (const auto& [name, value] : line.values) json[name] = value;
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (!metrics_) open_metrics();
  const off_t before = ::lseek(metrics_.get(), 0, SEEK_END);
  try {
    write_all(metrics_, metrics_path(), std::as_bytes(std::span(text)));
  } catch (const Error&) {
    // A part of the line would spoil the next.
    if (::ftruncate(metrics_.get(), before) != 0) metrics_ = FileHandle();
    throw;
  }
}

int64_t RunDir::trim_metrics(int64_t last_step) {
  std::error_code code;
  if (!fs::exists(metrics_path(), code)) return 0;
  int64_t dropped = 0;
  AtomicFile kept(metrics_path());
  std::ifstream lines(metrics_path());
  for (std::string line; std::getline(lines, line);) {
    const auto step = step_of_line(line);
    if (step && *step <= last_step) {
      kept.write(line + "\n");
    } else {
      ++dropped;
    }
  }
  metrics_ = FileHandle();
  kept.commit();
  return dropped;
}

double RunDir::metrics_seconds() const {
  double sum = 0;
  std::ifstream lines(metrics_path());
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("seconds") && json["seconds"].is_number()) {
      sum += json["seconds"].get<double>();
    }
  }
  return sum;
}

Checkpoint RunDir::save_checkpoint(int64_t step, const std::function<void(const fs::path& folder)>& fill) {
  const fs::path final_path = checkpoints_path() / name_of_step(step);
  const fs::path temporary = sibling(final_path, kTemporary);
  const fs::path old = sibling(final_path, kOld);
  std::error_code code;
  fs::remove_all(temporary, code);
  fs::remove_all(old, code);
  make_folders(temporary);
  try {
    fill(temporary);
    finish_checkpoint(temporary);
    if (metrics_) sync_file(metrics_, metrics_path());
  } catch (...) {
    fs::remove_all(temporary, code);
    throw;
  }
  // A kill between the two renames leaves the old one under a name that clean_up() turns back.
  if (fs::exists(final_path, code)) rename_path(final_path, old);
  rename_path(temporary, final_path);
  sync_folder(checkpoints_path());
  write_file_atomically(checkpoints_path() / "latest", final_path.filename().string() + "\n");
  fs::remove_all(old, code);
  return {.step = step, .path = final_path};
}

// The new name first: a kill while files go leaves no half checkpoint that looks whole.
void RunDir::remove_checkpoint(const fs::path& folder) const {
  const fs::path trash = sibling(folder, kTrash);
  std::error_code ignored;
  fs::remove_all(trash, ignored);
  rename_path(folder, trash);
  fs::remove_all(trash, ignored);
}

void RunDir::keep(int64_t n, std::optional<int64_t> best_step) const {
  if (n < 1) {
    fail(ErrorKind::usage, {.where = path_.string(),
                            .expected = "at least 1 checkpoint to keep",
                            .got = std::to_string(n),
                            .hint = {}});
  }
  const auto all = checkpoints();
  const auto last = latest();
  for (size_t i = 0; i + static_cast<size_t>(n) < all.size(); ++i) {
    if (all[i].step == best_step || (last && all[i].step == last->step)) continue;
    remove_checkpoint(all[i].path);
  }
}

void RunDir::remove_checkpoints_after(int64_t last_step) const {
  for (const Checkpoint& checkpoint : checkpoints()) {
    if (checkpoint.step > last_step) remove_checkpoint(checkpoint.path);
  }
}

}  // namespace millrace
