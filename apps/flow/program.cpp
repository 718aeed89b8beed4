#include "apps/flow/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "apps/flow/item_folder.h"
#include "apps/flow/outputs.h"
#include "apps/flow/pair_source.h"
#include "apps/motionnet/net_file.h"
#include "apps/support/environment.h"
#include "apps/support/opening.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/log.h"
#include "core/run_dir.h"
#include "data/picture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kRadiusWindows = 16;
constexpr float kLeastRadius = .1f;

std::string full_path(const std::string& path) {
  std::error_code error;
  const fs::path full = fs::weakly_canonical(path, error);
  return error ? path : full.string();
}

// What decides the flow of every video, and how it is written.
json common_settings(const FlowSettings& s, const SafetensorsReader& weights) {
  std::vector<std::string> formats = s.formats;
  std::sort(formats.begin(), formats.end());
  json j{{"weights", file_hash(weights.path().string())},
         {"format", formats},
         {"native", s.native},
         {"every", s.every},
         {"height", s.height},
         {"width", s.width}};
  if (s.precision != MachineConfig{}.precision) j["precision"] = s.precision;
  if (!s.truth.empty()) j["truth"] = full_path(s.truth);
  j["epe_border"] = s.border;
  if (s.has_format("png") || video_format(s)) {
    j["max_flow"] = s.max_flow;
    j["side_by_side"] = s.side_by_side;
  }
  if (s.has_format("jpg")) {
    j["bound"] = s.mapping().bound;
    j["rounding"] = rounding_name(s.mapping().rounding);
    j["quality"] = s.quality;
  }
  if (video_format(s)) j["fps"] = s.fps;
  return j;
}

}  // namespace

FlowProgram::FlowProgram(const FlowSettings& settings)
    : s_(settings),
      device_(make_device(settings.device)),
      weights_(resolve_weights(settings.weights)),
      net_(net_of_weights(weights_)),
      kernels_(settings, std::nullopt) {
  if (s_.height) check_network_extent("--height", s_.height, net_.kind);
  if (s_.width) check_network_extent("--width", s_.width, net_.kind);
  open_data();
  if (!s_.truth.empty()) truth_ = std::make_unique<TrueFlow>(s_.truth, s_.given_mapping());
  if (s_.out.empty() && !truth_ && !source_->has_truth()) {
    fail(ErrorKind::usage,
         {"--out", "a folder", "nothing", "without it only the error against --truth is printed"});
  }
  if (truth_ && truth_->is_file() && (source_->size() > 1 || source_->length(0) > 2)) {
    fail(ErrorKind::usage,
         {"--truth", "a folder of flow_%05d.flo for more than one pair of frames", s_.truth, ""});
  }
}

void FlowProgram::open_data() {
  if (s_.data.size() == 2) {
    source_ = std::make_shared<PairSource>(s_.data[0], s_.data[1]);
    return;
  }
  source_ = open_source({.spec = s_.data[0],
                         .data_root = s_.data_root,
                         .skip_missing = s_.skip_missing,
                         .min_frames = 2,
                         .frame_size = {},
                         .warn = [](const std::string& text) { log_warning(text); },
                         .left_out =
                             [this](const std::string& name, const std::string& reason) {
                               report_.bad.push_back({name, reason});
                             },
                         .progress = opening_bar()});
}

json FlowProgram::made_with(int64_t item) const {
  json j = common_;
  const std::string path = source_->path(item);
  j["source"] = path.empty() ? s_.data[0] + " " + source_->name(item) : full_path(path);
  std::error_code error;
  if (fs::is_regular_file(path, error)) j["source_bytes"] = fs::file_size(path, error);
  return j;
}

// Before anything is computed, so that a mismatch shows at once.
void FlowProgram::find_finished() {
  done_.resize(static_cast<size_t>(source_->size()));
  if (s_.out.empty()) return;
  common_ = common_settings(s_, weights_);
  for (int64_t item = 0; item < source_->size(); ++item) done_[static_cast<size_t>(item)] = finished(item);
}

std::optional<ItemResult> FlowProgram::finished(int64_t item) const {
  const fs::path folder = fs::path(s_.out) / source_->name(item);
  const auto result = finished_result(folder, made_with(item), s_.overwrite);
  if (!result) return std::nullopt;
  return ItemResult::from_json(source_->name(item), *result, (folder / kDoneFile).string());
}

int FlowProgram::run() {
  catch_signals();
  find_finished();
  run_all();
  kernels_.finish();
  return finish();
}

void FlowProgram::run_all() {
  for (int64_t item = 0; item < source_->size() && !stop_requested(); ++item) {
    if (auto& done = done_[static_cast<size_t>(item)]) {
      report_.items.push_back(std::move(*done));
      ++report_.found_finished;
      continue;
    }
    ItemResult result{.name = source_->name(item)};
    try {
      const Outcome outcome = run_item(item, result);
      if (outcome == Outcome::stopped) return;
      if (outcome == Outcome::left_to_another) continue;
      report_.found_finished += outcome == Outcome::found;
      report_.items.push_back(std::move(result));
    } catch (const Error& e) {
      // One broken file does not lose the others. Where there is no other, it is the program's own error.
      if (e.kind() != ErrorKind::data || (source_->size() == 1 && report_.bad.empty())) throw;
      log_warning(fmt::format("{}; left out", e.what()));
      report_.bad.push_back({result.name, e.what()});
    }
  }
}

FlowProgram::Outcome FlowProgram::run_item(int64_t item, ItemResult& result) {
  const fs::path target = fs::path(s_.out) / result.name;
  std::unique_ptr<UnfinishedFolder> folder;
  std::vector<std::unique_ptr<FlowOutput>> outputs;
  OutputOptions options{.folder = {}, .source = source_->path(item), .video_radius = 0};
  if (options.source.empty()) options.source = result.name;
  if (!s_.out.empty()) {
    folder = std::make_unique<UnfinishedFolder>(target);
    if (folder->taken()) {
      log_warning(fmt::format("{}: another motionnet-flow is writing it; left to that", target.string()));
      return Outcome::left_to_another;
    }
    if (auto found = finished(item)) {  // by another process, since this one began
      result = std::move(*found);
      return Outcome::found;
    }
    options.folder = folder->path();
    if (video_format(s_)) options.video_radius = video_radius(item);
    outputs = make_outputs(s_, options);
  }
  run_windows(item, [&](const FlowOfPair& pair, const Clip& clip) {
    const Flow full = resize_flow(pair.flow, pair.frame.size());
    compare(full, clip, item, result, pair.number);
    for (const auto& output : outputs)
      output->add({.number = pair.number, .frame = pair.frame, .flow = s_.native ? pair.flow : full});
    ++result.flows;
  });
  if (stop_requested()) return Outcome::stopped;
  if (truth_ && result.pairs.empty())
    fail(ErrorKind::data, {result.name, "true flow: " + truth_->expected(result.name), "none", ""});
  for (const auto& output : outputs) output->finish();
  if (!folder) return Outcome::made;
  json written = result.to_json();
  if (video_format(s_)) written["max_flow"] = options.video_radius;
  folder->commit(DoneFile::make(made_with(item), written));
  return Outcome::made;
}

// Windows of T frames share one frame; the last is filled up by repeating its last frame. Ends early when the
// program is to stop.
void FlowProgram::run_windows(int64_t item, const std::function<void(const FlowOfPair&, const Clip&)>& sink) {
  const int64_t length = source_->length(item), pairs = net_.frames - 1;
  std::string title = source_->name(item);
  if (source_->size() > 1) title += fmt::format(" ({} of {})", item + 1, source_->size());
  ProgressBar bar(log(), {.title = title, .unit = "pair", .total = length - 1});
  Clip clip;
  for (int64_t first = 0; first + 1 < length && !stop_requested(); first += s_.every * pairs) {
    const std::vector<Flow> flows = flows_of(item, first, clip);
    for (int64_t k = 0; k < pairs && first + k + 1 < length; ++k) {
      sink({.number = first + k + 1,
            .frame = clip.frames[static_cast<size_t>(k)],
            .flow = flows[static_cast<size_t>(k)]},
           clip);
      bar.update(first + k + 1, "");
    }
  }
}

std::vector<Flow> FlowProgram::flows_of(int64_t item, int64_t first, Clip& clip) {
  source_->read({item, first, net_.frames, source_->has_truth()}, clip);
  return estimator(clip.frames.front().size()).run(clip.frames);
}

// One scale for the whole video, so that colours do not flicker: flow_radius over all flow of up to 16
// windows that are spread evenly over it.
float FlowProgram::video_radius(int64_t item) {
  if (s_.max_flow > 0) return static_cast<float>(s_.max_flow);
  const int64_t step = s_.every * (net_.frames - 1), windows = (source_->length(item) - 2) / step + 1;
  const int64_t count = std::min(windows, kRadiusWindows);
  Clip clip;
  Flow all;
  for (int64_t k = 0; k < count && !stop_requested(); ++k) {
    for (const Flow& flow : flows_of(item, (2 * k + 1) * windows / (2 * count) * step, clip)) {
      const Size frame = clip.frames.front().size();
      const float x = s_.native ? 1 : static_cast<float>(frame.width) / static_cast<float>(flow.width);
      const float y = s_.native ? 1 : static_cast<float>(frame.height) / static_cast<float>(flow.height);
      for (size_t p = 0; p + 1 < flow.uv.size(); p += 2) {
        all.uv.push_back(flow.uv[p] * x);
        all.uv.push_back(flow.uv[p + 1] * y);
      }
    }
  }
  const float radius = std::max(flow_radius(all), kLeastRadius);
  log_info(
      fmt::format("{}: colours of the video are full from {:.2f} pixels on; --max-flow sets another length",
                  source_->name(item), radius));
  return radius;
}

void FlowProgram::compare(const Flow& flow, const Clip& clip, int64_t item, ItemResult& result,
                          int64_t number) {
  std::optional<Flow> truth;
  if (truth_) {
    truth = truth_->of(result.name, number);
  } else if (!clip.truth.empty()) {
    truth = clip.truth[static_cast<size_t>((number - 1) % (net_.frames - 1))];
  }
  if (!truth) return;
  if (truth->size() != flow.size()) {
    fail(ErrorKind::data, {fmt::format("true flow of {}, pair {}", source_->name(item), number),
                           fmt::format("{}x{} pixels as the frames", flow.width, flow.height),
                           fmt::format("{}x{}", truth->width, truth->height), ""});
  }
  if (s_.border >= (std::min(flow.height, flow.width) + 1) / 2) {
    fail(ErrorKind::usage,
         {"--epe-border", fmt::format("one that leaves pixels of {}x{}", flow.width, flow.height),
          std::to_string(s_.border), ""});
  }
  const FlowError error = flow_error(flow, *truth, s_.border);
  if (truth_ || error.pixels > 0) result.pairs.push_back({number, error});
}

FlowEstimator& FlowProgram::estimator(Size frame) {
  Size network = nearest_network_size(frame, net_.kind);
  if (s_.height) network.height = s_.height;
  if (s_.width) network.width = s_.width;
  if (!estimator_ || estimator_->network() != network) {
    estimator_.reset();
    estimator_ =
        std::make_unique<FlowEstimator>(weights_, *device_,
                                        FlowEstimatorOptions{.network = network,
                                                             .plan = kernels_.plan_options(device_->name()),
                                                             .wait_for_nodes = s_.wait_for_nodes,
                                                             .capture = s_.capture});
  }
  return *estimator_;
}

int FlowProgram::finish() const {
  if (s_.json)
    std::cout << report_.json() << "\n" << std::flush;
  else
    std::cout << report_.text(s_.out) << std::flush;
  if (!report_.bad.empty()) {
    log_error(fmt::format("{} of {} could not be used:", report_.bad.size(),
                          counted(static_cast<int64_t>(report_.bad.size() + report_.items.size()), "video")));
    for (const auto& bad : report_.bad) log_error(fmt::format("  {}: {}", bad.name, bad.reason));
  }
  if (stop_requested()) {
    log_warning(s_.out.empty() ? "stopped by a signal"
                               : "stopped by a signal; finished videos are whole, the same command goes on");
    return kExitInterrupted;
  }
  return report_.bad.empty() ? 0 : static_cast<int>(ErrorKind::data);
}

}  // namespace millrace
