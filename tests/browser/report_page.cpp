// Writes a report that has everything in it, for tests/browser/run: names that would break a careless page,
// pictures, curves, splits, broken videos. report_page FILE
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <string>

#include "apps/actions/report.h"
#include "core/files.h"
#include "data/flow.h"
#include "data/picture.h"

using namespace millrace;

namespace {

const std::string kScript = "<script>document.title = 'taken over'</script>";

std::vector<std::string> class_names() {
  std::vector<std::string> names = {kScript,
                                    "Clean, and \"Jerk\"",
                                    "a & b < c > d",
                                    "\xC3\xA9"
                                    "clair",
                                    "a rather long name of an action, with which no label fits its margin",
                                    "no\xFFt UTF-8"};
  while (names.size() < 51) names.push_back(fmt::format("Action{}", names.size()));
  return names;
}

// Right for three of four videos; the last class has none.
Scores scores(int64_t videos, int64_t shift) {
  Scores s{.classes = class_names(), .rows = {}};
  const auto classes = std::ssize(s.classes);
  for (int64_t v = 0; v < videos; ++v) {
    const int64_t label = v * 7 % (classes - 1),
                  answer = v % 4 == shift % 4 ? (label * 3 + v) % classes : label;
    Scores::Row row{.video = fmt::format("{}/clip & {}.avi", s.classes[label], v),
                    .label = s.classes[label],
                    .logits = {}};
    row.logits.assign(static_cast<size_t>(classes), 0.F);
    row.logits[answer] += 2 + static_cast<float>(v % 9);
    row.logits[label] += 1;
    s.rows.push_back(row);
  }
  return s;
}

Image frame() {
  Image image;
  image.reshape({240, 320}, 3);
  for (int64_t i = 0; i < 240; ++i) {
    for (int64_t j = 0; j < 320; ++j) {
      for (int64_t c = 0; c < 3; ++c) image.at(i, j)[c] = static_cast<uint8_t>((i * (c + 1) + j) / 4);
    }
  }
  return image;
}

Image flow() {
  Flow flow;
  flow.reshape({240, 320});
  for (int64_t i = 0; i < 240; ++i) {
    for (int64_t j = 0; j < 320; ++j) {
      flow.at(i, j)[0] = static_cast<float>(i - 120) / 20;
      flow.at(i, j)[1] = static_cast<float>(160 - j) / 20;
    }
  }
  return flow_picture(flow, 8);
}

std::vector<ReportCurve> curves() {
  std::vector<ReportCurve> list;
  for (const std::string run : {"spatial", "temporal"}) {
    const double pace = run == "spatial" ? 1 : 1.6;
    ReportCurve loss{.run = run, .name = "loss", .points = {}},
        accuracy{.run = run, .name = "top1/clip@1x1", .points = {}};
    for (int64_t step = 1; step <= 300; ++step) {
      loss.points.emplace_back(step, 4.6 * std::exp(-static_cast<double>(step) / (90 * pace)) +
                                         .1 * std::sin(static_cast<double>(step)));
      if (step % 30 == 0)
        accuracy.points.emplace_back(step, 80 - 70 * std::exp(-static_cast<double>(step) / (80 * pace)));
    }
    list.push_back(loss);
    list.push_back(accuracy);
  }
  return list;
}

ReportData page() {
  const Scores first = scores(900, 0), second = scores(700, 1);
  ReportData data{.title = "Everything, " + kScript,
                  .protocol = {.level = Level::video, .clips = 25, .crops = 10},
                  .headline = {"fused by relu-l1, weights 1:1.5", {accuracy(first), accuracy(second)}},
                  .others = {{"spatial", {accuracy(second), accuracy(first)}},
                             {"temporal " + kScript, {accuracy(first), accuracy(first)}}},
                  .mistakes = confident_mistakes(first, LateFusion::logits, 6),
                  .curves = curves(),
                  .rates = {{.value = 123.4,
                             .unit = "views/s",
                             .counts = "crops of 224 x 224 through both networks, decoding included"}},
                  .identical_clips = 72,
                  .short_videos = 3,
                  .seen_in_training = 2,
                  .broken = {{"x/" + kScript + ".avi", "no frame could be decoded"}},
                  .notes = {"MotionNet ran once a clip and flip (--share-flow)."},
                  .provenance = {{"weights", "runs/temporal/checkpoints/step_016000"}, {"data", kScript}},
                  .command = "twostream-eval --weights 'runs/temporal' --data " + kScript,
                  .version = "0.1.0"};
  for (ReportMistake& m : data.mistakes) {
    m.pictures = {report_picture(frame(), "frame 61"), report_picture(flow(), "flow there")};
  }
  return data;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fputs("usage: report_page FILE\n", stderr);
    return 2;
  }
  write_file_atomically(argv[1], report_html(page()));
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "report_page: %s\n", e.what());
  return 1;
}
