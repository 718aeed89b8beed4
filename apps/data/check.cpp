#include "apps/data/check.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <iostream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/data/check_clip.h"
#include "apps/data/work.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/list_finder.h"
#include "data/list_source.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// As open_source sees it: a folder is one, whatever its name.
bool names_list(const std::string& data) {
  std::error_code error;
  return is_list_spec(data) && !fs::is_directory(data, error);
}

class DataCheck {
 public:
  explicit DataCheck(const CheckArguments& a) : a_(a) {}

  int run() {
    find_clips();
    reports_.resize(clips_.size());
    checked_.resize(clips_.size());
    catch_signals();
    count_ = static_cast<int64_t>(problems_.size());
    const auto status = [this] { return count_ == 0 ? "" : fmt::format("{} problems", count_.load()); };
    work_on_items({.title = "check",
                   .unit = "clip",
                   .count = static_cast<int64_t>(clips_.size()),
                   .threads = a_.threads,
                   .status = status},
                  [this](int64_t item) { check(static_cast<size_t>(item)); });
    sum_up();
    a_.json ? print_json() : print_table();
    if (stop_requested()) {
      log_warning(
          fmt::format("stopped by a signal after {} of {} clips", summary_["checked"].dump(), clips_.size()));
      return kExitInterrupted;
    }
    return problems_.empty() ? 0 : static_cast<int>(ErrorKind::data);
  }

 private:
  void find_clips() {
    try {
      names_list(a_.data) ? find_listed() : find_files();
    } catch (const Error& broken) {
      if (broken.kind() != ErrorKind::data) throw;
      problems_.push_back(problem_of(broken.what()));
    }
  }

  void find_files() {
    const auto warn = [this](const std::string& text) {
      const size_t end = text.rfind("; left out");
      problems_.push_back(problem_of(text.substr(0, end)));
    };
    for (FileItem& item : list_files({.spec = a_.data, .warn = warn}))
      clips_.push_back({.item = std::move(item), .listed_frames = {}, .min_frames = a_.min_frames});
    check_description(fs::path(a_.data) / "synthetic.json");
  }

  // Of a set that synth wrote.
  void check_description(const fs::path& file) {
    std::error_code error;
    if (!fs::is_regular_file(file, error)) return;
    const auto json = ordered_json::parse(read_file(file, 1 << 20), nullptr, false);
    if (!json.is_object() || !json.contains("complete") || !json.contains("clips")) {
      problems_.push_back({file.string(), "is no description by millrace-data synth"});
    } else if (json["complete"] != true) {
      problems_.push_back(
          {file.string(), "the set is not complete; the command that began it goes on with it"});
    } else if (json["clips"] != clips_.size()) {
      problems_.push_back({file.string(), fmt::format("{} clips are there, it says {}", clips_.size(),
                                                      json["clips"].dump())});
    }
  }

  void find_listed() {
    const OpenedList opened = read_list_of({.spec = a_.data, .data_root = a_.data_root});
    ListFinder finder(opened.root);
    std::map<fs::path, int64_t> lines;
    for (const ListEntry& entry : opened.list.entries) {
      const std::string where = fmt::format("{}:{}", opened.list.name, entry.line);
      const fs::path path = finder.find(entry).lexically_normal();
      if (path.empty()) {
        problems_.push_back({where, fmt::format("\"{}\" is not below {}", entry.path, opened.root.string())});
        continue;
      }
      if (is_list_file(path)) {
        problems_.push_back({where, fmt::format("\"{}\" is a list, no video", entry.path)});
        continue;
      }
      if (const auto [same, is_new] = lines.try_emplace(path, entry.line); !is_new) {
        problems_.push_back({where, fmt::format("{} is that of line {} too", path.string(), same->second)});
        continue;
      }
      add_listed(entry, path, where);
    }
    if (opened.list.repeated > 0)
      log_warning(
          fmt::format("[{}] lines repeated: {}; each counts once", opened.list.name, opened.list.repeated));
  }

  void add_listed(const ListEntry& entry, const fs::path& path, const std::string& where) {
    ClipToCheck clip{.item = {.path = path, .name = entry.path, .folder = {}},
                     .listed_frames = entry.frames,
                     .min_frames = a_.min_frames};
    std::error_code error;
    if (fs::is_directory(path, error)) {
      try {
        clip.item.folder = list_frames(path);
      } catch (const Error& broken) {
        return problems_.push_back(problem_of(broken.what()));
      }
      if (!clip.item.folder) return problems_.push_back({where, path.string() + " has no frames"});
    }
    clips_.push_back(std::move(clip));
  }

  void check(size_t k) {
    ClipReport report = check_clip(clips_[k]);
    count_ += static_cast<int64_t>(report.problems.size());
    const std::lock_guard lock(mutex_);
    checked_[k] = true;
    reports_[k] = std::move(report);
  }

  void sum_up() {
    std::vector<int64_t> lengths;
    std::map<std::pair<int64_t, int64_t>, int64_t> sizes;
    std::map<double, int64_t> rates;
    int64_t videos = 0, broken = 0, frames = 0, flows = 0;
    double max_flow = 0;
    for (size_t k = 0; k < clips_.size(); ++k) {
      if (!checked_[k]) continue;
      const ClipReport& report = reports_[k];
      videos += !clips_[k].item.folder;
      broken += !report.problems.empty();
      frames += report.frames;
      flows += report.flows;
      max_flow = std::max(max_flow, report.max_flow);
      lengths.push_back(report.frames);
      if (report.size != Size{}) ++sizes[{report.size.width, report.size.height}];
      if (report.rate > 0) ++rates[report.rate];
      problems_.insert(problems_.end(), report.problems.begin(), report.problems.end());
    }
    std::sort(lengths.begin(), lengths.end());
    summary_ = {{"data", a_.data},        {"complete", lengths.size() == clips_.size()},
                {"clips", clips_.size()}, {"checked", lengths.size()},
                {"videos", videos},       {"folders", static_cast<int64_t>(lengths.size()) - videos},
                {"broken", broken},       {"frames", frames}};
    if (!lengths.empty())
      summary_["length"] = {
          {"min", lengths.front()}, {"median", lengths[lengths.size() / 2]}, {"max", lengths.back()}};
    summary_["sizes"] = ordered_json::array();
    for (const auto& [size, clips] : sizes)
      summary_["sizes"].push_back({{"width", size.first}, {"height", size.second}, {"clips", clips}});
    summary_["rates"] = ordered_json::array();
    for (const auto& [rate, clips] : rates) summary_["rates"].push_back({{"rate", rate}, {"clips", clips}});
    summary_["flows"] = flows;
    if (flows > 0) summary_["max_flow"] = max_flow;
  }

  void print_json() {
    summary_["problems"] = ordered_json::array();
    for (const Problem& p : problems_)
      summary_["problems"].push_back({{"path", p.path}, {"reason", p.reason}});
    std::cout << summary_.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
  }

  void print_table() const {
    for (const Problem& p : problems_) fmt::print("{}: {}\n", p.path, p.reason);
    if (clips_.empty()) return;  // what there is to say was the problem
    if (!problems_.empty()) fmt::print("\n");
    const auto number = [&](const char* key) { return summary_[key].get<int64_t>(); };
    fmt::print("{:<8} {}: {} videos, {} folders of frames\n", "clips", number("checked"), number("videos"),
               number("folders"));
    fmt::print("{:<8} {}\n", "frames", number("frames"));
    if (summary_.contains("length")) {
      const auto& length = summary_["length"];
      fmt::print("{:<8} {} to {} frames, median {}\n", "length", length["min"].dump(), length["max"].dump(),
                 length["median"].dump());
    }
    print_counts("sizes", [](const ordered_json& s) {
      return fmt::format("{}x{}", s["width"].get<int64_t>(), s["height"].get<int64_t>());
    });
    print_counts("rates", [](const ordered_json& r) {
      return fmt::format("{:.4g} a second", r["rate"].get<double>());
    });
    if (number("flows") > 0)
      fmt::print("{:<8} {} files, at most {:.2f} px\n", "flow", number("flows"),
                 summary_["max_flow"].get<double>());
    if (problems_.empty())
      fmt::print("nothing is broken\n");
    else
      fmt::print("{}, {} of {} clips broken\n", counted(static_cast<int64_t>(problems_.size()), "problem"),
                 number("broken"), number("checked"));
  }

  template <class Name> void print_counts(const char* key, const Name& name) const {
    constexpr size_t kMost = 8;
    std::string text;
    const auto& list = summary_[key];
    for (size_t k = 0; k < std::min(kMost, list.size()); ++k)
      text += fmt::format("{}{} ({})", k ? ", " : "", name(list[k]), list[k]["clips"].dump());
    if (list.size() > kMost) text += fmt::format(", and {} more", list.size() - kMost);
    if (!text.empty()) fmt::print("{:<8} {}\n", key, text);
  }

  const CheckArguments& a_;
  std::vector<ClipToCheck> clips_;
  std::vector<ClipReport> reports_;
  std::vector<char> checked_;
  std::vector<Problem> problems_;  // of the set first, then of the clips in their order
  std::atomic<int64_t> count_ = 0;
  std::mutex mutex_;
  ordered_json summary_;
};

}  // namespace

void declare_check(CLI::App& app, CheckArguments& a) {
  app.footer(
      "decodes every frame and reads every flow file; names what is missing, truncated, not numbered in a "
      "row,\n"
      "of another size than its neighbours, too short, or counted wrong in a list\n"
      "examples:\n"
      "  millrace-data check videos/\n"
      "  millrace-data check trainlist01.txt --data-root UCF-101 --json\n"
      "exit codes: 0 all is whole, 2 usage, 3 something is broken, 75 stopped by a signal (after what was "
      "found)");
  app.add_option("data", a.data, "a video, a folder of frames, a folder of these, or a list (.txt)")
      ->required();
  app.add_option("--data-root", a.data_root, "where a list's paths begin (default: the list's folder)");
  app.add_option("--min-frames", a.min_frames, "clips with fewer count as broken (default: 2)");
  app.add_option("--threads", a.threads, "0: all");
  app.add_flag("--json", a.json, "the result as one line of JSON on stdout");
}

int run_check(const CheckArguments& a) {
  if (a.min_frames < 1)
    fail(ErrorKind::usage, {"--min-frames", "1 or more", std::to_string(a.min_frames), ""});
  if (a.data.starts_with("synthetic:"))
    fail(ErrorKind::usage, {"check", "data on disk", a.data, "millrace-data synth writes it there"});
  if (!a.data_root.empty() && !names_list(a.data)) {
    fail(ErrorKind::usage,
         {"--data-root", "a list (.txt), whose paths begin there", "'" + a.data + "', which is none", ""});
  }
  set_threads(a.threads);
  return DataCheck(a).run();
}

}  // namespace millrace
