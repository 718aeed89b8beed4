// report.html: what an evaluation found, in one file that opens anywhere: no network, no other files, light
// and dark, on paper, without JavaScript (which only adds hovering, sorting and filtering).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps/actions/accuracy.h"
#include "apps/actions/fusion.h"
#include "data/image.h"

namespace millrace {

// A result: one or several splits of the same classes.
struct ReportResult {
  std::string name;  // "temporal", "fused: relu-l1, 1:1.5"
  std::vector<Accuracy> splits;
};

// A picture inside the page.
struct ReportPicture {
  std::string caption;  // "frame 61", "flow there"
  std::string type;     // "image/jpeg" or "image/png"
  std::string bytes;    // of the file
  Size size = {};
};
// As a JPEG, at most `width` pixels wide.
ReportPicture report_picture(const Image& image, const std::string& caption, int64_t width = 320);

// A class's part of what a row says in all, 0 to 1: the softmax of logits; of fused scores, which are none
// below 0, the part of their sum.
std::vector<double> score_shares(std::span<const float> scores, LateFusion kind);

// A wrong answer, and how sure it was.
struct ReportMistake {
  std::string video, label, answer;
  struct Guess {
    std::string name;
    double share = 0;  // 0 to 1
  };
  std::vector<Guess> best = {};              // the first is the answer
  double label_share = 0;                    // of the right class
  std::vector<ReportPicture> pictures = {};  // frames and flow
};
// Those with the largest share of the answer first. `kind`: logits for a stream's own scores, else what they
// were fused by. The pictures are the caller's to fill in.
std::vector<ReportMistake> confident_mistakes(const Scores& scores, LateFusion kind, int64_t most = 12);

// One curve of a run.
struct ReportCurve {
  std::string run;   // "spatial"
  std::string name;  // as in metrics.jsonl: "loss", "validation_loss", "top1/clip@1x1"
  std::vector<std::pair<double, double>> points;  // step, value
};
// Of a run's metrics.jsonl, thinned out to some hundred points each (means of neighbours). Lines that are
// torn or no JSON are left out. Errors (data): no such file.
std::vector<ReportCurve> read_curves(const std::filesystem::path& metrics, const std::string& run);

// A speed, and what it counts.
struct ReportRate {
  double value = 0;
  std::string unit;    // "views/s"
  std::string counts;  // "crops of 224 x 224 through both networks, decoding included"
};

struct ReportData {
  std::string title;  // "HMDB51 split 1"
  Protocol protocol;
  ReportResult headline;                  // its matrix, classes and mistakes are shown
  std::vector<ReportResult> others = {};  // in a table beside it: each stream alone
  std::vector<ReportMistake> mistakes = {};
  std::vector<ReportCurve> curves = {};
  std::vector<ReportRate> rates = {};

  // What the numbers leave out or were made of.
  int64_t identical_clips = 0;  // not computed again
  int64_t short_videos = 0;     // their last frame was repeated
  int64_t seen_in_training = 0;
  struct Broken {
    std::string video, reason;
  };
  std::vector<Broken> broken = {};      // videos that could not be read: in no number
  std::vector<std::string> notes = {};  // sentences, for instance of --share-flow

  std::vector<std::pair<std::string, std::string>> provenance = {};  // "weights": "runs/temporal, step 16000"
  std::string command = {};
  std::string version = {};  // of millrace
};

// The page. All text may hold anything: it is escaped. Errors (usage): splits of different classes, no split.
std::string report_html(const ReportData& data);

}  // namespace millrace
