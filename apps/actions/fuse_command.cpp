#include "apps/actions/fuse_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/actions/accuracy.h"
#include "apps/actions/fusion.h"
#include "apps/actions/report.h"
#include "apps/actions/scores.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/csv.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr uint64_t kMaxMetricsBytes = uint64_t{64} << 20;

constexpr const char* kFooter =
    "reads scores.csv of twostream-eval, or others' of the same form: video,label,<class names>\n"
    "The files of one --fuse are streams of the same videos, joined by names. Given again, --fuse adds a "
    "split:\n"
    "then the metrics are those of each split and their mean. One file alone is measured as it is.\n"
    "examples:\n"
    "  twostream-eval --fuse spatial/scores.csv temporal/scores.csv\n"
    "  twostream-eval --fuse spatial.csv temporal.csv --weights 1:2 --fusion softmax --json\n"
    "  twostream-eval --fuse s1.csv t1.csv --fuse s2.csv t2.csv --fuse s3.csv t3.csv --out fused\n"
    "exit codes: 0 done, 1 failure, 2 usage, 3 bad data";

struct FuseSettings {
  std::vector<std::vector<std::string>> files;  // by split, then by stream
  std::string weights, fusion, out, title;
  int64_t clips = 0, crops = 0;
  bool json = false;
  std::string command;
};

void declare(CLI::App& app, FuseSettings& s) {
  app.footer(kFooter);
  app.add_option("--fuse", s.files, "score files of one split, a stream each")->required();
  app.add_option("--weights", s.weights, "of the streams (default: 1:1.5 for two, else all 1)");
  app.add_option("--fusion", s.fusion,
                 "relu-l1, logits or softmax (default: relu-l1, the authors'; with two classes softmax)");
  app.add_option("--clips", s.clips,
                 "a video, for the metrics' names (default: from metrics.json beside the files)");
  app.add_option("--crops", s.crops, "a clip, for the metrics' names");
  app.add_option("--out", s.out, "folder for the fused scores.csv, metrics.json and report.html");
  app.add_option("--title", s.title, "of the report");
  app.add_flag("--json", s.json, "results as one line of JSON on stdout");
}

// What metrics.json beside a score file says of the views; nothing where there is none.
std::optional<Protocol> protocol_beside(const fs::path& scores) {
  const fs::path metrics = scores.parent_path() / "metrics.json";
  std::error_code ignored;
  if (!fs::is_regular_file(metrics, ignored)) return {};
  const Json json = Json::parse(read_file(metrics, kMaxMetricsBytes), nullptr, false);
  if (!json.is_object() || !json.contains("protocol") || !json["protocol"].is_string()) return {};
  return parse_protocol(json["protocol"].get<std::string>());
}

Protocol protocol_of(const FuseSettings& s) {
  if (s.clips < 0 || s.crops < 0 || (s.clips == 0) != (s.crops == 0)) {
    fail(ErrorKind::usage, {"--clips and --crops", "both, at least 1, or neither",
                            fmt::format("{} and {}", s.clips, s.crops), ""});
  }
  Protocol unknown{.level = Level::video, .clips = 0, .crops = 0};
  if (s.clips > 0) return {.level = Level::video, .clips = s.clips, .crops = s.crops};
  std::optional<Protocol> common;
  for (const auto& split : s.files) {
    for (const std::string& file : split) {
      const auto here = protocol_beside(file);
      if (here && common && protocol_text(*here) != protocol_text(*common)) {
        log_warning(fmt::format("{} was made as {} and others as {}: the metrics' names do not say the views",
                                file, protocol_text(*here), protocol_text(*common)));
        return unknown;
      }
      if (!here) return unknown;
      common = here;
    }
  }
  return common.value_or(unknown);
}

class FuseProgram {
 public:
  explicit FuseProgram(const FuseSettings& settings) : s_(settings) {}

  int run() {
    check_files();
    protocol_ = protocol_of(s_);
    read();
    const auto streams = std::ssize(s_.files[0]);
    const std::vector<double> weights =
        s_.weights.empty() ? default_weights(streams) : parse_weights(s_.weights, streams);
    std::optional<LateFusion> asked;
    if (!s_.fusion.empty()) asked = parse_fusion(s_.fusion);
    rule_ = {
        .fusion = streams == 1 ? LateFusion::logits : choose_fusion(asked, std::ssize(splits_[0][0].classes)),
        .weights = streams == 1 ? std::vector<double>{1} : weights};
    fuse_splits();
    if (!s_.out.empty()) write();
    if (s_.json) {
      fmt::print("{}\n", metrics().dump(-1, ' ', false, Json::error_handler_t::replace));
    } else {
      print();
    }
    return 0;
  }

 private:
  int64_t streams() const { return std::ssize(s_.files[0]); }
  fs::path out_file(const std::string& name) const { return fs::path(s_.out) / name; }
  std::string scores_name(size_t split) const {
    return splits_.size() == 1 ? "scores.csv" : fmt::format("scores_split{}.csv", split + 1);
  }

  void check_files() const {
    for (const auto& split : s_.files) {
      if (split[0].starts_with("--")) {  // which CLI11 takes for the value that --fuse needs
        fail(ErrorKind::usage, {"--fuse", "score files", "none before " + shown(split[0]), ""});
      }
      if (split.size() == s_.files[0].size()) continue;
      fail(ErrorKind::usage, {"--fuse", fmt::format("{} in each split", counted(streams(), "file")),
                              std::to_string(split.size()), "Each --fuse takes the files of one split"});
    }
  }

  void read() {
    for (const auto& split : s_.files) {
      std::vector<Scores>& files = splits_.emplace_back();
      for (const std::string& file : split) {
        files.push_back(read_scores(file));
        // Splits have the same classes, streams the same videos too, which fuse() sees to.
        if (splits_.size() > 1) files.back() = with_classes_of(files.back(), splits_[0][0]);
      }
    }
  }

  void fuse_splits() {
    without_positive_.assign(static_cast<size_t>(streams()), 0);
    alone_.resize(static_cast<size_t>(streams()));
    for (const auto& files : splits_) {
      Fused fused = fuse(files, rule_);
      for (size_t k = 0; k < files.size(); ++k) {
        without_positive_[k] += fused.without_positive[k];
        alone_[k].push_back(accuracy(aligned_to(files[k], files[0])));
      }
      fused_.push_back(std::move(fused.scores));
      accuracies_.push_back(accuracy(fused_.back()));
    }
  }

  std::string how() const {
    if (streams() == 1) return "one stream";
    return fmt::format("fused by {}, weights {}", fusion_name(rule_.fusion), weights_text(rule_.weights));
  }

  std::string stream_name(size_t k) const { return s_.files[0][k] + (s_.files.size() > 1 ? ", ..." : ""); }

  Json metrics() const {
    Json json = accuracy_json(accuracies_, protocol_);
    if (streams() == 1) return json;
    json["fusion"] = {{"rule", fusion_name(rule_.fusion)}, {"weights", weights_text(rule_.weights)}};
    json["alone"] = Json::array();
    for (size_t k = 0; k < alone_.size(); ++k) {
      Json stream = accuracy_json(alone_[k], protocol_);
      stream["files"] = Json::array();
      for (const auto& split : s_.files) stream["files"].push_back(split[k]);
      stream["without_positive"] = without_positive_[k];
      json["alone"].push_back(stream);
    }
    return json;
  }

  std::vector<std::string> notes() const {
    std::vector<std::string> notes;
    for (size_t k = 0; k < alone_.size(); ++k) {
      if (without_positive_[k] == 0) continue;
      notes.push_back(fmt::format("{}: {} without a positive score, to which this stream contributes nothing",
                                  stream_name(k), counted(without_positive_[k], "video")));
    }
    if (rule_.fusion == LateFusion::relu_l1 && splits_[0][0].classes.size() == 2) {
      notes.push_back(
          "relu-l1 of two classes: where logits are of opposite signs, the heavier stream decides alone");
    }
    if (protocol_.clips == 0)
      notes.push_back("how many views were averaged is not known; --clips and --crops name it");
    return notes;
  }

  void print() const {
    std::string text;
    for (size_t k = 0; streams() > 1 && k < alone_.size(); ++k) {
      text += fmt::format("{}\n{}\n", stream_name(k), accuracy_text(alone_[k], protocol_));
    }
    text += fmt::format("{}\n{}", how(), accuracy_text(accuracies_, protocol_));
    for (const std::string& note : notes()) text += fmt::format("note: {}\n", note);
    fmt::print("{}", text);
  }

  std::vector<ReportMistake> mistakes() const {
    Scores all = fused_[0];
    for (size_t k = 1; k < fused_.size(); ++k) {
      all.rows.insert(all.rows.end(), fused_[k].rows.begin(), fused_[k].rows.end());
    }
    return confident_mistakes(all, rule_.fusion);
  }

  std::string report() const {
    ReportData data{
        .title = s_.title.empty() ? "Scores of " + fs::path(s_.files[0][0]).filename().string() : s_.title,
        .protocol = protocol_,
        .headline = {how(), accuracies_},
        .mistakes = mistakes(),
        .notes = notes(),
        .command = s_.command,
        .version = version()};
    for (size_t k = 0; streams() > 1 && k < alone_.size(); ++k)
      data.others.push_back({stream_name(k), alone_[k]});
    for (size_t split = 0; split < s_.files.size(); ++split) {
      for (const std::string& file : s_.files[split]) {
        data.provenance.emplace_back(s_.files.size() > 1 ? fmt::format("split {}", split + 1) : "scores",
                                     file);
      }
    }
    return report_html(data);
  }

  // Scores that were read are not replaced by what came of them.
  void check_out() const {
    for (size_t split = 0; split < fused_.size(); ++split) {
      const fs::path target = out_file(scores_name(split));
      for (const auto& files : s_.files) {
        for (const std::string& file : files) {
          std::error_code none;
          if (!fs::equivalent(file, target, none)) continue;
          fail(ErrorKind::usage,
               {"--out", "a folder of its own", shown(s_.out),
                fmt::format("{} there is one of the files to fuse", target.filename().string())});
        }
      }
    }
  }

  void write() const {
    check_out();
    make_folders(s_.out);
    for (size_t k = 0; k < fused_.size(); ++k)
      write_file_atomically(out_file(scores_name(k)), scores_csv(fused_[k]));
    write_file_atomically(out_file("report.html"), report());
    write_file_atomically(out_file("metrics.json"),
                          metrics().dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  const FuseSettings& s_;
  Protocol protocol_;
  FusionRule rule_;
  std::vector<std::vector<Scores>> splits_;   // as read
  std::vector<Scores> fused_;                 // by split
  std::vector<Accuracy> accuracies_;          // of fused_
  std::vector<std::vector<Accuracy>> alone_;  // by stream, then by split
  std::vector<int64_t> without_positive_;     // by stream
};

// As a shell would take it again.
std::string command_text(int argc, char** argv) {
  std::string text = "twostream-eval";
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_-+=:,./@%") == std::string::npos;
    text += ' ';
    if (plain) {
      text += word;
      continue;
    }
    text += '\'';
    for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    text += '\'';
  }
  return text;
}

}  // namespace

bool asks_to_fuse(int argc, char** argv) {
  return std::any_of(argv + std::min(argc, 1), argv + argc,
                     [](const std::string& word) { return word == "--fuse" || word.starts_with("--fuse="); });
}

int fuse_program(int argc, char** argv) {
  // `--fuse --help` would be a file of that name to CLI11.
  for (int k = 1; k < argc; ++k) {
    const std::string_view word = argv[k];
    if (word != "--help" && word != "-h") continue;
    std::swap(argv[1], argv[k]);
    argc = 2;
  }
  FuseSettings settings;
  settings.command = command_text(argc, argv);
  return run_program({.name = "twostream-eval",
                      .about = "Fuses and measures scores of action recognition.",
                      .setup = [&](CLI::App& app) { declare(app, settings); },
                      .run = [&](CLI::App&) { return FuseProgram(settings).run(); }},
                     argc, argv);
}

}  // namespace millrace
