#include "apps/actions/evaluate_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "data/source.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxClips = 10'000, kMaxBatch = 4096, kMaxLoaderThreads = 256;

[[noreturn]] void refuse(const char* flag, const std::string& expected, const std::string& got) {
  fail(ErrorKind::usage, {flag, expected, got, ""});
}

void check_range(const char* flag, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most)
    refuse(flag, fmt::format("{} to {}", least, most), std::to_string(value));
}

void check_word(const char* flag, const std::string& value, std::initializer_list<const char*> words) {
  std::string expected;
  for (const char* word : words) {
    if (value == word) return;
    expected += (expected.empty() ? "" : ", ") + std::string(word);
  }
  refuse(flag, expected, "'" + value + "'");
}

// A word for a path: of "runs/temporal/" "temporal", of "lists/testlist01.txt" "testlist01".
std::string word_of(const std::string& path) {
  fs::path p = fs::path(path).lexically_normal();
  if (!p.has_filename()) p = p.parent_path();
  std::string word = p.stem().string();
  if (word == "model") word = p.parent_path().filename().string();
  for (char& c : word) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '-' || c == '_' || c == '=';
    if (!plain) c = '_';
  }
  return word.empty() || word.starts_with('.') ? "data" : word;
}

}  // namespace

void check_settings(const EvalSettings& s) {
  if (s.weights.empty()) refuse("--weights", "a .safetensors file, a checkpoint or a run", "nothing");
  if (s.data.empty()) refuse("--data", "a list or a folder of videos", "nothing");
  for (const std::string& data : s.data) {
    if (data.empty()) refuse("--data", "a list or a folder of videos", "nothing");
  }
  const auto is_list = [](const std::string& data) { return is_list_spec(data); };
  if (!s.data_root.empty() && std::none_of(s.data.begin(), s.data.end(), is_list))
    refuse("--data-root", "a list (.txt, .lst, .list, .csv or hmdb51:) in --data", "'" + s.data[0] + "'");
  check_range("--clips", s.clips, 1, kMaxClips);
  if (s.crops != 1 && s.crops != 2 && s.crops != 5 && s.crops != 10)
    refuse("--crops", "1, 2, 5 or 10", std::to_string(s.crops));
  check_word("--on-error", s.on_error, {"skip", "fail"});
  check_word("--label-base", s.label_base, {"auto", "0", "1"});
  check_word("--kernels", s.kernels, {"heuristic", "measure"});
  check_range("--batch", s.batch, 0, kMaxBatch);
  check_range("--loader-threads", s.loader_threads, 1, kMaxLoaderThreads);
  if (!s.fusion.empty()) parse_fusion(s.fusion);
}

std::string default_out(const EvalSettings& s) {
  std::string name = word_of(s.data[0]);
  for (const std::string& weights : s.weights) name += "-" + word_of(weights);
  name += fmt::format("-{}x{}{}", s.clips, s.crops, s.share_flow ? "-share-flow" : "");
  return (fs::path("evaluation") / name).string();
}

}  // namespace millrace
