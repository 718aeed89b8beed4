#include "apps/actions/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/actions/evaluate_report.h"
#include "apps/actions/shared_flow.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/error.h"
#include "core/log.h"
#include "core/precision.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Views of one run of a network, where --batch does not say: as the paper's scripts on a GPU.
constexpr int64_t kCpuBatch = 10, kGpuBatch = 50;

std::string full_path(const std::string& path) {
  if (path.empty() || path.starts_with("synthetic:") || path.starts_with("hmdb51:")) return path;
  std::error_code error;
  const fs::path full = fs::weakly_canonical(path, error);
  return error ? path : full.string();
}

std::string numbered(const std::string& what, int64_t split, int64_t splits) {
  return splits == 1 ? what : fmt::format("{} of split {}", what, split + 1);
}

}  // namespace

Evaluation::Evaluation(const EvalSettings& settings)
    : s_(settings),
      streams_(find_eval_streams(settings.weights, static_cast<int64_t>(settings.data.size()))) {
  classes_ = streams_.front().weights.front().spec.classes;
  results_.protocol = s_.protocol();
  results_.share_flow = s_.share_flow;
  for (const EvalStream& stream : streams_) results_.streams.push_back(stream.name);
  results_.rule = fusion_rule();
  const bool stacked = std::any_of(streams_.begin(), streams_.end(), [](const EvalStream& stream) {
    return stream.weights.front().spec.kind == StreamKind::stacked;
  });
  if (s_.share_flow && !stacked) {
    fail(ErrorKind::usage, {"--share-flow", "weights of a stacked stream, which has a MotionNet",
                            fmt::format("a {} stream", name_of(streams_[0].weights[0].spec.kind)), ""});
  }
}

std::optional<FusionRule> Evaluation::fusion_rule() const {
  const auto count = static_cast<int64_t>(streams_.size());
  if (count < 2) {
    if (!s_.fusion.empty() || !s_.fusion_weights.empty())
      fail(ErrorKind::usage,
           {s_.fusion.empty() ? "--fusion-weights" : "--fusion", "weights of two streams, which can be fused",
            "one " + streams_[0].name + " stream", ""});
    return std::nullopt;
  }
  std::optional<LateFusion> asked;
  if (!s_.fusion.empty()) asked = parse_fusion(s_.fusion);
  return FusionRule{.fusion = choose_fusion(asked, static_cast<int64_t>(classes_.size())),
                    .weights = s_.fusion_weights.empty() ? default_weights(count)
                                                         : parse_weights(s_.fusion_weights, count)};
}

// What decides logits. Not the batch, threads or device, which change them by rounding only.
json Evaluation::made_with() const {
  json j{
      {"clips", s_.clips}, {"crops", s_.crops}, {"share_flow", s_.share_flow}, {"precision", s_.precision}};
  const auto splits = static_cast<int64_t>(s_.data.size());
  for (int64_t split = 0; split < splits; ++split) {
    j[numbered("data", split, splits)] = full_path(s_.data[static_cast<size_t>(split)]);
    for (const EvalStream& stream : streams_)
      j[numbered(stream.name + " weights", split, splits)] = stream.of(split).hash;
  }
  if (!s_.data_root.empty()) j["data_root"] = full_path(s_.data_root);
  if (!s_.flow.empty()) j["flow"] = full_path(s_.flow);
  return j;
}

void Evaluation::open_data() {
  for (size_t split = 0; split < s_.data.size(); ++split) {
    EvalDataOptions options{.spec = s_.data[split],
                            .data_root = s_.data_root,
                            .flow = s_.flow,
                            .classes_file = s_.classes,
                            .label_base = s_.label_base,
                            .skip_missing = s_.skip_missing,
                            .weights_classes = classes_,
                            .weights_name = streams_.front().weights.front().given,
                            .streams = {}};
    for (const EvalStream& stream : streams_)
      options.streams.push_back(stream.of(static_cast<int64_t>(split)).spec);
    data_.push_back(EvalData::open(options));
    const auto& left_out = data_.back().left_out;
    if (!left_out.empty() && !s_.skips_broken())
      fail(ErrorKind::data, {left_out.front().video, "a video that can be read", left_out.front().reason,
                             "--on-error skip leaves it out"});
  }
}

// Those of --train, else of the runs that wrote the weights.
KnownVideos Evaluation::training_videos(int64_t split) const {
  if (!s_.train.empty()) return KnownVideos(s_.train, s_.data_root);
  for (const EvalStream& stream : streams_) {
    const auto data = training_data(stream.of(split).run);
    if (!data) continue;
    try {
      return KnownVideos(data->spec, data->data_root);
    } catch (const Error& e) {
      log_info(fmt::format("whether test videos were seen in training cannot be told: {}", e.what()));
    }
  }
  return {};
}

void Evaluation::use_networks(int64_t split) {
  const bool same =
      networks_split_ >= 0 && std::all_of(streams_.begin(), streams_.end(), [&](const EvalStream& stream) {
        return stream.of(split).hash == stream.of(networks_split_).hash;
      });
  if (same) return;
  networks_.clear();
  if (!device_) device_ = make_device(s_.device);
  if (!kernels_) kernels_ = std::make_unique<KernelSettings>(s_, std::nullopt);
  const int64_t batch = s_.batch > 0 ? s_.batch : device_->name() == "cpu" ? kCpuBatch : kGpuBatch;
  for (const EvalStream& stream : streams_) {
    const StreamWeights& weights = stream.of(split);
    const ViewNetworkOptions options{.crops = s_.crops,
                                     .recognizer = {.batch = batch,
                                                    .plan = kernels_->plan_options(device_->name()),
                                                    .wait_for_nodes = s_.wait_for_nodes,
                                                    .capture = s_.capture}};
    const bool share = s_.share_flow && weights.spec.kind == StreamKind::stacked;
    networks_.push_back(share ? make_shared_flow_network(*weights.file, weights.spec, *device_, options)
                              : make_crop_network(*weights.file, weights.spec, *device_, options));
    log_info(fmt::format("{}: {}, {} classes, {}x{} pixels, {}", stream.name, weights.given, classes_.size(),
                         weights.spec.input.width, weights.spec.input.height, protocol_text(s_.protocol())));
  }
  networks_split_ = split;
}

bool Evaluation::run_split(int64_t split) {
  const EvalData& data = data_[static_cast<size_t>(split)];
  EvalSplitRun videos(data, streams_, *state_,
                      {.number = split,
                       .splits = static_cast<int64_t>(data_.size()),
                       .clips = s_.clips,
                       .classes = static_cast<int64_t>(classes_.size()),
                       .loader_threads = s_.loader_threads,
                       .skip_broken = s_.skips_broken()});
  if (!videos.complete()) {
    use_networks(split);
    if (!videos.run(networks_, results_.speed)) return false;
  }
  results_.splits.push_back(results_of(split, videos));
  return true;
}

EvalSplit Evaluation::results_of(int64_t split, const EvalSplitRun& run) const {
  const EvalData& data = data_[static_cast<size_t>(split)];
  EvalSplit result{.spec = data.spec, .streams = {}, .broken = run.broken()};
  for (const EvalStream& stream : streams_)
    result.streams.push_back({.classes = classes_, .rows = {}, .name = stream.name + " scores"});
  const KnownVideos training = training_videos(split);
  for (size_t k = 0; k < data.videos.size(); ++k) {
    const std::optional<VideoScore>& score = run.scores()[k];
    if (!score) continue;
    const EvalVideo& video = data.videos[k];
    bool is_short = false;
    for (size_t s = 0; s < streams_.size(); ++s) {
      const StreamScore& stream = score->streams[s];
      result.streams[s].rows.push_back({.video = video.name, .label = video.label, .logits = stream.logits});
      result.identical_clips += stream.identical_clips;
      is_short = is_short || stream.is_short;
    }
    result.short_videos += is_short;
    result.seen_in_training += training.has(video.path.empty() ? video.name : video.path);
  }
  if (result.streams.front().rows.empty())
    fail(ErrorKind::data, {data.spec, "a video that can be read",
                           fmt::format("none of {}", run.broken().size()), run.broken().front().reason});
  return result;
}

int Evaluation::run() {
  catch_signals();
  const fs::path out = s_.out.empty() ? default_out(s_) : s_.out;
  if (!s_.overwrite) EvalState::check(out, made_with());
  open_data();
  state_ = std::make_unique<EvalState>(out, made_with(), s_.overwrite);
  for (int64_t split = 0; split < static_cast<int64_t>(data_.size()); ++split) {
    if (run_split(split)) continue;
    log_warning("stopped by a signal; finished videos are kept, the same command goes on");
    return kExitInterrupted;
  }
  if (kernels_) kernels_->finish();
  networks_.clear();
  networks_split_ = -1;
  results_.measure();
  results_.write(out);
  write_report(out / "report.html");
  std::cout << (s_.json ? results_.json().dump() + "\n" : results_.text(out)) << std::flush;
  tell_of_troubles();
  return 0;
}

void Evaluation::tell_of_troubles() const {
  for (const EvalSplit& split : results_.splits) {
    if (!split.broken.empty())
      log_warning(fmt::format("{}: {} could not be read and count in no number", split.spec,
                              counted(static_cast<int64_t>(split.broken.size()), "video")));
    if (split.seen_in_training > 0)
      log_warning(
          fmt::format("{}: {} of {} test videos are training videos too; the accuracy says less than it "
                      "seems",
                      split.spec, split.seen_in_training, split.streams.front().rows.size()));
  }
}

void Evaluation::write_report(const fs::path& file) {
  const auto device = [this]() -> Device& {
    if (!device_) device_ = make_device(s_.device);
    return *device_;
  };
  write_eval_report(file, {.results = results_,
                           .streams = streams_,
                           .data = data_,
                           .device = device,
                           .precision = parse_precision(s_.precision, "--precision"),
                           .command = s_.command});
}

}  // namespace millrace
