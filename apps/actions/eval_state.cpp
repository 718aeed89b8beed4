#include "apps/actions/eval_state.h"

#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "millrace evaluation 1";
constexpr const char* kStateFile = "evaluation.json";
constexpr const char* kJournal = "journal.jsonl";
constexpr const char* kResults[] = {"scores.csv", "fused.csv", "metrics.json", "report.html"};
constexpr const char* kHint = "--overwrite begins anew, or choose another --out";
constexpr uint64_t kMaxStateBytes = 1'000'000, kMaxJournalBytes = uint64_t{4} << 30;
// What a loss of power may cost; a kill costs nothing that append() has returned from.
constexpr std::chrono::seconds kSyncEvery{2};

std::string said(const json& made_with, const std::string& key) {
  const auto found = made_with.find(key);
  return found == made_with.end() ? "none" : found->dump();
}

// The first thing in which the two differ.
[[noreturn]] void fail_difference(const fs::path& folder, const json& wanted, const json& found) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : wanted.items()) keys.push_back(key);
  for (const auto& [key, value] : found.items()) {
    if (!wanted.contains(key)) keys.push_back(key);
  }
  for (const std::string& key : keys) {
    if (said(wanted, key) == said(found, key)) continue;
    fail(ErrorKind::usage, {folder.string(), fmt::format("an evaluation with {} {}", key, said(wanted, key)),
                            fmt::format("one with {} {}", key, said(found, key)), kHint});
  }
  fail(ErrorKind::usage, {folder.string(), "an evaluation with these options", "another", kHint});
}

std::optional<StreamScore> parse_stream(const json& j) {
  if (!j.is_object() || !j.contains("logits") || !j["logits"].is_array()) return std::nullopt;
  StreamScore score;
  for (const json& v : j["logits"]) {
    if (!v.is_number()) return std::nullopt;
    score.logits.push_back(v.get<float>());
  }
  if (!j.contains("identical") || !j["identical"].is_number_integer()) return std::nullopt;
  if (!j.contains("short") || !j["short"].is_boolean()) return std::nullopt;
  score.identical_clips = j["identical"].get<int64_t>();
  score.is_short = j["short"].get<bool>();
  return score;
}

}  // namespace

std::string journal_line(const VideoScore& score) {
  json streams = json::array();
  for (const StreamScore& s : score.streams)
    streams.push_back({{"logits", s.logits}, {"identical", s.identical_clips}, {"short", s.is_short}});
  const json line{
      {"split", score.split}, {"video", score.video}, {"bytes", score.bytes}, {"streams", streams}};
  // Names of files may hold any bytes.
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<VideoScore> parse_journal_line(const std::string& line) {
  const json j = json::parse(line, nullptr, false);
  if (!j.is_object() || !j.contains("split") || !j["split"].is_number_integer() || !j.contains("video") ||
      !j["video"].is_string() || !j.contains("bytes") || !j["bytes"].is_number_integer() ||
      !j.contains("streams") || !j["streams"].is_array())
    return std::nullopt;
  VideoScore score{.split = j["split"].get<int64_t>(),
                   .video = j["video"].get<std::string>(),
                   .bytes = j["bytes"].get<uint64_t>(),
                   .streams = {}};
  for (const json& stream : j["streams"]) {
    auto parsed = parse_stream(stream);
    if (!parsed) return std::nullopt;
    score.streams.push_back(std::move(*parsed));
  }
  return score;
}

EvalState::EvalState(fs::path folder, const json& made_with, bool overwrite) : folder_(std::move(folder)) {
  make_folders(folder_);
  lock();
  remove_stale_temporary_files(folder_);
  if (!overwrite) check(folder_, made_with);
  std::error_code error;
  if (overwrite) {
    // The state last: until it is gone, this is the old evaluation, without what was removed.
    for (const char* old : kResults) remove_path(folder_ / old);
    remove_path(folder_ / kJournal);
    remove_path(folder_ / kStateFile);
  }
  if (!fs::exists(folder_ / kStateFile, error)) {
    const json state{{"format", kFormat}, {"made_with", made_with}};
    write_file_atomically(folder_ / kStateFile, state.dump(1) + "\n");
  }
  read_journal();
  journal_ = open_for_appending(folder_ / kJournal);
  synced_ = std::chrono::steady_clock::now();
}

void EvalState::lock() {
  const fs::path path = folder_ / "lock";
  lock_ = open_for_appending(path);
  // Where files cannot be locked, two processes at one evaluation are not noticed.
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  fail(ErrorKind::usage, {folder_.string(), "an evaluation that nobody works at",
                          "one that another twostream-eval is at", "choose another --out"});
}

void EvalState::check(const fs::path& folder, const json& made_with) {
  const fs::path file = folder / kStateFile;
  std::error_code error;
  if (!fs::exists(file, error)) {
    for (const char* old : kResults) {
      if (!fs::exists(folder / old, error)) continue;
      fail(ErrorKind::usage,
           {folder.string(), fmt::format("no results yet, or an {} that says of what", kStateFile), old,
            kHint});
    }
    return;
  }
  const json state = json::parse(read_file(file, kMaxStateBytes), nullptr, false);
  if (!state.is_object() || !state.contains("format") || state["format"] != kFormat ||
      !state.contains("made_with") || !state["made_with"].is_object())
    fail(ErrorKind::data, {file.string(), fmt::format("JSON of '{}'", kFormat), "something else", kHint});
  if (state["made_with"] != made_with) fail_difference(folder, made_with, state["made_with"]);
}

// A torn line and what follows it, which only a loss of power leaves, are cut off.
void EvalState::read_journal() {
  const fs::path path = folder_ / kJournal;
  std::error_code error;
  if (!fs::exists(path, error)) return;
  const std::string text = read_file(path, kMaxJournalBytes);
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    auto score = parse_journal_line(text.substr(begin, end - begin));
    if (!score) break;
    auto key = std::pair(score->split, score->video);
    finished_.insert_or_assign(std::move(key), std::move(*score));
    begin = end + 1;
  }
  if (begin == text.size()) return;
  log_warning(
      fmt::format("{}: its last {} bytes are torn; computed anew", path.string(), text.size() - begin));
  write_file_atomically(path, std::string_view(text).substr(0, begin));
}

const VideoScore* EvalState::finished(int64_t split, const std::string& video, uint64_t bytes) const {
  const auto found = finished_.find({split, video});
  return found == finished_.end() || found->second.bytes != bytes ? nullptr : &found->second;
}

void EvalState::append(const VideoScore& score) {
  const std::string line = journal_line(score);
  write_all(journal_, folder_ / kJournal, std::as_bytes(std::span(line)));
  if (std::chrono::steady_clock::now() - synced_ >= kSyncEvery) sync();
}

void EvalState::sync() {
  sync_file(journal_, folder_ / kJournal);
  synced_ = std::chrono::steady_clock::now();
}

}  // namespace millrace
