#include "apps/actions/evaluate_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/support/program.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/flow_jpeg.h"
#include "data/picture.h"
#include "data/views.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMistakes = 12;
constexpr float kLeastRadius = .1f;

struct SplitMistake {
  ReportMistake mistake;
  size_t split = 0;
};

std::vector<SplitMistake> worst_mistakes(const EvalResults& results) {
  std::vector<SplitMistake> all;
  const LateFusion kind = results.rule ? results.rule->fusion : LateFusion::logits;
  for (size_t split = 0; split < results.splits.size(); ++split) {
    for (ReportMistake& mistake : confident_mistakes(results.headline(split), kind, kMistakes))
      all.push_back({.mistake = std::move(mistake), .split = split});
  }
  std::stable_sort(all.begin(), all.end(), [](const SplitMistake& a, const SplitMistake& b) {
    return a.mistake.best.front().share > b.mistake.best.front().share;
  });
  if (all.size() > kMistakes) all.resize(kMistakes);
  return all;
}

// Stored flow as it is, of 8 bits.
Flow flow_of_bytes(const Image& bytes, double bound) {
  Flow flow;
  flow.reshape(bytes.size());
  for (size_t k = 0; k < flow.uv.size(); ++k)
    flow.uv[k] = byte_to_flow(bytes.pixels[k], {.bound = bound, .rounding = FlowRounding::round});
  return flow;
}

ReportPicture picture_of_flow(const Flow& flow, const std::string& caption) {
  return report_picture(flow_picture(flow, std::max(flow_radius(flow), kLeastRadius)), caption);
}

// Pictures of videos, from what the streams see.
class PictureMaker {
 public:
  explicit PictureMaker(const EvalReportInputs& inputs) : in_(inputs) {}

  std::vector<ReportPicture> of(const SplitMistake& mistake) {
    const EvalData& data = in_.data[mistake.split];
    const auto video = std::find_if(data.videos.begin(), data.videos.end(),
                                    [&](const EvalVideo& v) { return v.name == mistake.mistake.video; });
    std::vector<ReportPicture> pictures;
    bool has_frame = false;
    for (size_t k = 0; video != data.videos.end() && k < in_.streams.size(); ++k) {
      const StreamWeights& weights = in_.streams[k].of(static_cast<int64_t>(mistake.split));
      const ClipSource& source = *data.sources[k];
      const int64_t item = video->items[k], middle = source.length(item) / 2;
      if (weights.spec.kind != StreamKind::temporal && !has_frame) {
        pictures.push_back(report_picture(source.read({.item = item, .first = middle, .count = 1}).frames[0],
                                          fmt::format("frame {}", middle + 1)));
        has_frame = true;
      }
      if (weights.spec.kind == StreamKind::temporal) {
        const Clip clip = source.read({.item = item, .first = middle, .count = 1});
        pictures.push_back(picture_of_flow(flow_of_bytes(clip.frames[0], weights.spec.flow_bound),
                                           fmt::format("flow {}", middle + 1)));
      }
      if (weights.spec.kind == StreamKind::stacked) pictures.push_back(predicted(weights, source, item));
    }
    return pictures;
  }

 private:
  // Of the clip in the video's middle, in the middle of the frame.
  ReportPicture predicted(const StreamWeights& weights, const ClipSource& source, int64_t item) {
    if (!recognizer_ || of_hash_ != weights.hash) {
      recognizer_.reset();
      Device& device = in_.device();
      recognizer_ = std::make_unique<Recognizer>(
          *weights.file, weights.spec, device,
          RecognizerOptions{
              .batch = 1, .plan = {.device = device.name(), .precision = in_.precision}, .want_flow = true});
      of_hash_ = weights.hash;
    }
    const int64_t frames = clip_frames(weights.spec);
    const ClipRange range{.item = item, .first = centre_start(source.length(item), frames), .count = frames};
    const std::vector<FramePtr> clip = source.borrow(range);
    const ClipGeometry centre =
        view_crops(1, clip.front()->size(), {.resize = weights.spec.resize, .network = weights.spec.input})
            .front();
    std::vector<uint8_t> bytes(static_cast<size_t>(recognizer_->clip_bytes()));
    std::vector<Image> scratch;
    write_clip(centre, clip, scratch, bytes.data());
    recognizer_->run(bytes.data(), 1);
    const std::vector<Flow> flows = recognizer_->flows(0);
    return picture_of_flow(flows[flows.size() / 2], "MotionNet's flow there, centre crop");
  }

  const EvalReportInputs& in_;
  std::unique_ptr<Recognizer> recognizer_;
  std::string of_hash_;
};

std::vector<ReportMistake> illustrated_mistakes(const EvalReportInputs& in) {
  PictureMaker pictures(in);
  std::vector<ReportMistake> result;
  for (SplitMistake& mistake : worst_mistakes(in.results)) {
    try {
      mistake.mistake.pictures = pictures.of(mistake);
    } catch (const std::exception& e) {  // the numbers are what counts
      log_warning(fmt::format("no picture of {} in the report: {}", mistake.mistake.video, e.what()));
    }
    result.push_back(std::move(mistake.mistake));
  }
  return result;
}

std::vector<ReportRate> rates_of(const EvalSpeed& speed, const EvalReportInputs& in) {
  if (speed.views == 0 || speed.seconds <= 0) return {};
  const StreamSpec& spec = in.streams.front().weights.front().spec;
  const std::string size = fmt::format("{} x {}", spec.input.width, spec.input.height);
  std::string names;
  for (const EvalStream& stream : in.streams) names += (names.empty() ? "" : ", ") + stream.name;
  return {{.value = speed.views_per_second(),
           .unit = "views/s",
           .counts = fmt::format("crops of {} through a network ({}), decoding included: {} in {:.1f} s",
                                 size, names, speed.views, speed.seconds)},
          {.value = speed.videos_per_second(), .unit = "videos/s", .counts = "whole videos, all their views"},
          {.value = 100 * speed.outside_network(),
           .unit = "% outside the network",
           .counts = "of the time, in which no network computed: waiting for decoding, averaging, writing"}};
}

std::vector<std::pair<std::string, std::string>> provenance_of(const EvalReportInputs& in) {
  std::vector<std::pair<std::string, std::string>> lines;
  const auto splits = static_cast<int64_t>(in.data.size());
  for (int64_t split = 0; split < splits; ++split) {
    const std::string of = splits == 1 ? "" : fmt::format(" of split {}", split + 1);
    lines.emplace_back("data" + of, in.data[static_cast<size_t>(split)].spec);
    for (const EvalStream& stream : in.streams) {
      const StreamWeights& w = stream.of(split);
      lines.emplace_back(stream.name + " weights" + of,
                         fmt::format("{} ({}, file {})", w.given, name_of(w.spec.kind), w.hash));
      if (!w.spec.provenance.empty()) lines.emplace_back(stream.name + " provenance" + of, w.spec.provenance);
    }
  }
  return lines;
}

std::vector<ReportCurve> curves_of(const EvalReportInputs& in) {
  std::vector<ReportCurve> curves;
  for (const EvalStream& stream : in.streams) {
    for (size_t k = 0; k < stream.weights.size(); ++k) {
      const fs::path file = stream.weights[k].run / "metrics.jsonl";
      std::error_code error;
      if (stream.weights[k].run.empty() || !fs::exists(file, error)) continue;
      const std::string run =
          stream.weights.size() == 1 ? stream.name : fmt::format("{}, split {}", stream.name, k + 1);
      for (ReportCurve& curve : read_curves(file, run)) curves.push_back(std::move(curve));
    }
  }
  return curves;
}

std::string title_of(const EvalReportInputs& in) {
  std::string title;
  for (const EvalData& data : in.data) {
    const fs::path path = fs::path(data.spec).lexically_normal();
    const std::string name = (path.has_filename() ? path : path.parent_path()).stem().string();
    title += (title.empty() ? "" : ", ") + name;
  }
  return title;
}

}  // namespace

void write_eval_report(const fs::path& file, const EvalReportInputs& in) {
  const EvalResults& r = in.results;
  ReportData report{.title = title_of(in), .protocol = r.protocol, .headline = r.results.front()};
  report.others.assign(r.results.begin() + 1, r.results.end());
  report.mistakes = illustrated_mistakes(in);
  report.curves = curves_of(in);
  report.rates = rates_of(r.speed, in);
  for (const EvalSplit& split : r.splits) {
    report.identical_clips += split.identical_clips;
    report.short_videos += split.short_videos;
    report.seen_in_training += split.seen_in_training;
    report.broken.insert(report.broken.end(), split.broken.begin(), split.broken.end());
  }
  if (r.share_flow) report.notes.push_back(r.share_flow_note());
  report.provenance = provenance_of(in);
  report.command = in.command;
  report.version = version();
  write_file_atomically(file, report_html(report));
}

}  // namespace millrace
