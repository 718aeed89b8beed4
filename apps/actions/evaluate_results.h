// What an evaluation found, and how it is written:
//   scores.csv     averaged logits; of two streams spatial/scores.csv and temporal/scores.csv
//   fused.csv      of two streams: what came of fusing them
//   metrics.json   what --json prints
//   report.html    apps/actions/report.h
// Of several splits the files lie in split1/, split2/, ..., metrics.json and report.html beside these.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/actions/accuracy.h"
#include "apps/actions/fusion.h"
#include "apps/actions/report.h"

namespace millrace {

struct EvalSplit {
  std::string spec;             // of the data
  std::vector<Scores> streams;  // rows in the same order
  std::vector<ReportData::Broken> broken;
  int64_t short_videos = 0, identical_clips = 0, seen_in_training = 0;
};

// What this run itself computed.
struct EvalSpeed {
  double seconds = 0, network_seconds = 0;
  int64_t views = 0, videos = 0;
  int64_t motionnet_runs = 0;  // clips through MotionNet

  double views_per_second() const { return static_cast<double>(views) / seconds; }
  double videos_per_second() const { return static_cast<double>(videos) / seconds; }
  double outside_network() const { return (seconds - network_seconds) / seconds; }
};

struct EvalResults {
  Protocol protocol;
  bool share_flow = false;
  std::vector<std::string> streams;  // names
  std::vector<EvalSplit> splits;
  std::optional<FusionRule> rule;  // of two streams
  EvalSpeed speed;

  // Filled by measure().
  std::vector<Fused> fused;           // by split
  std::vector<ReportResult> results;  // the fused one first, then each stream

  // The scores that the headline is of.
  const Scores& headline(size_t split) const {
    return rule ? fused[split].scores : splits[split].streams.front();
  }
  void measure();

  nlohmann::json json() const;
  std::string text(const std::filesystem::path& out) const;
  // Each file whole or not at all; not the report.
  void write(const std::filesystem::path& out) const;
  // What --share-flow changed, for the report and the log; empty without it.
  std::string share_flow_note() const;

 private:
  int64_t sum(int64_t EvalSplit::*member) const;
};

}  // namespace millrace
