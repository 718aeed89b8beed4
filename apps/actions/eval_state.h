// The folder of an evaluation, which can be stopped at any moment and goes on:
//   evaluation.json   what its numbers depend on: weights, data, protocol
//   journal.jsonl     a line a finished video: its averaged logits
//   lock              held while a process evaluates into it
// and, when it is finished, what evaluate_results.h writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/files.h"

namespace millrace {

// What one stream said of a video.
struct StreamScore {
  std::vector<float> logits;    // averaged over all views
  int64_t identical_clips = 0;  // that were not computed again
  bool is_short = false;        // the last frame was repeated
  bool operator==(const StreamScore&) const = default;
};

struct VideoScore {
  int64_t split = 0;  // from 0
  std::string video;
  uint64_t bytes = 0;                // of its file, 0 of a folder: another file of that name is computed anew
  std::vector<StreamScore> streams;  // in the order of the evaluation's streams
  bool operator==(const VideoScore&) const = default;
};

class EvalState {
 public:
  // `made_with`: an object of numbers and strings. Errors (usage): those of check(), unless `overwrite`;
  // another process evaluates into the folder.
  EvalState(std::filesystem::path folder, const nlohmann::json& made_with, bool overwrite);

  // Changes nothing. Errors (usage): the folder holds an evaluation with another `made_with`, whose first
  // difference is named, or results of none.
  static void check(const std::filesystem::path& folder, const nlohmann::json& made_with);

  const std::filesystem::path& folder() const { return folder_; }
  // The finished video of an earlier run, if any.
  const VideoScore* finished(int64_t split, const std::string& video, uint64_t bytes) const;
  // One write call a line: a kill tears at most the last.
  void append(const VideoScore& score);
  void sync();

 private:
  void lock();
  void read_journal();

  std::filesystem::path folder_;
  FileHandle lock_, journal_;
  std::map<std::pair<int64_t, std::string>, VideoScore> finished_;
  std::chrono::steady_clock::time_point synced_;
};

// A line of the journal, with its end; and what it says, nothing where it is torn or no such line.
std::string journal_line(const VideoScore& score);
std::optional<VideoScore> parse_journal_line(const std::string& line);

}  // namespace millrace
