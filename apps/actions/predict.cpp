#include "apps/actions/predict.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "apps/actions/strip.h"
#include "apps/support/opening.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStripCells = 6;
// Decoded frames that are kept: of a video that is longer, parts of it at a time.
constexpr int64_t kCacheBytes = int64_t{256} << 20;

bool is_utf8_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string text = value;
    return text.find("UTF-8") != std::string::npos || text.find("utf8") != std::string::npos ||
           text.find("utf-8") != std::string::npos;
  }
  return false;
}

Screen screen_of_stdout() {
  Screen screen{.columns = 80, .unicode = is_utf8_locale(), .colour = false};
  if (::isatty(STDOUT_FILENO) == 0) return screen;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) screen.columns = size.ws_col;
  const char *no_colour = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  screen.colour =
      (no_colour == nullptr || *no_colour == '\0') && terminal != nullptr && std::string(terminal) != "dumb";
  return screen;
}

// Names of files may be no UTF-8.
std::string json_text(const nlohmann::json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Where windows of pictures lie: of `windows` at most `most`, spread evenly.
bool has_picture(int64_t window, int64_t windows, int64_t most) {
  return window == 0 || window * most / windows != (window - 1) * most / windows;
}

// Removes the folder of a video that came to nothing, unless it holds what was there before.
struct EmptyFolder {
  fs::path path = {};  // empty: nothing is written
  EmptyFolder() = default;
  EmptyFolder(const EmptyFolder&) = delete;
  EmptyFolder& operator=(const EmptyFolder&) = delete;
  ~EmptyFolder() {
    std::error_code ignored;
    if (!path.empty() && fs::is_empty(path, ignored)) fs::remove(path, ignored);
  }
};

}  // namespace

struct PredictProgram::Outputs {
  EmptyFolder folder;                     // goes after the files in it
  std::vector<std::vector<double>> sums;  // of the windows' logits, by stream
  Segments segments;
  std::unique_ptr<TimelineCsv> csv;
  std::unique_ptr<TimelinePicture> picture;
  std::vector<SeenFrame> seen;
};

PredictProgram::PredictProgram(const PredictSettings& settings)
    : s_(settings),
      device_(make_device(settings.device)),
      kernels_(settings, std::nullopt),
      streams_(find_streams(settings.weights)),
      screen_(screen_of_stdout()) {
  find_rules();
  open_flow();
  open_inputs();
}

void PredictProgram::find_rules() {
  rules_.classes = streams_[0].spec.classes;
  rules_.views = s_.views();
  rules_.top = s_.top;
  for (const StreamFile& stream : streams_) rules_.streams.push_back(name_of(stream.spec.kind));
  const auto count = static_cast<int64_t>(streams_.size());
  if (count == 1) {
    if (!s_.fusion.empty() || !s_.fusion_weights.empty()) {
      fail(ErrorKind::usage, {s_.fusion.empty() ? "--fusion-weights" : "--fusion", "two streams in --weights",
                              "the " + rules_.streams[0] + " one alone", "There is nothing to fuse"});
    }
    return;
  }
  const std::optional<LateFusion> asked =
      s_.fusion.empty() ? std::nullopt : std::optional(parse_fusion(s_.fusion));
  rules_.fusion.fusion = choose_fusion(asked, static_cast<int64_t>(rules_.classes.size()));
  rules_.fusion.weights =
      s_.fusion_weights.empty() ? default_weights(count) : parse_weights(s_.fusion_weights, count);
}

void PredictProgram::open_flow() {
  const auto stored = std::find_if(streams_.begin(), streams_.end(), [](const StreamFile& stream) {
    return stream.spec.kind == StreamKind::temporal;
  });
  if (stored == streams_.end()) {
    if (s_.flow.empty()) return;
    fail(ErrorKind::usage, {"--flow", "weights of a stream that reads stored flow",
                            fmt::format("{}", fmt::join(rules_.streams, " and ")), "Leave --flow away"});
  }
  if (s_.flow.empty()) {
    fail(ErrorKind::usage,
         {"--flow", "the stored flow that the temporal stream reads", "nothing",
          "motionnet-flow --weights MOTIONNET --data VIDEO --format jpg --out FLOW makes it; then --flow "
          "FLOW"});
  }
  flow_ = open_source({.spec = s_.flow,
                       .flow = true,
                       .flow_bound = stored->spec.flow_bound,
                       .cache_bytes = kCacheBytes,
                       .frame_size = {},
                       .warn = [](const std::string& text) { log_warning(text); }});
}

// One input that is broken is an error of its own; of several the others go on.
void PredictProgram::open_inputs() {
  for (const std::string& input : s_.inputs) {
    try {
      add_items(open_source({.spec = input,
                             .data_root = is_list_spec(input) ? s_.data_root : "",
                             .min_frames = 1,
                             .cache_bytes = kCacheBytes,
                             .frame_size = {},
                             .warn = [](const std::string& text) { log_warning(text); },
                             .left_out = [this](const std::string& path,
                                                const std::string& reason) { fail_item(path, reason); },
                             .progress = opening_bar()}));
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::data || s_.inputs.size() == 1) throw;
      log_warning(fmt::format("{}; left out", e.what()));
      fail_item(input, e.what());
    }
  }
}

void PredictProgram::add_items(const SourcePtr& source) {
  for (int64_t item = 0; item < source->size(); ++item) {
    std::string name = source->name(item);
    const int64_t before = names_[name]++;
    if (before > 0) name += fmt::format("_{}", before + 1);
    items_.push_back({.source = source, .item = item, .name = name});
  }
}

void PredictProgram::make_recognizers() {
  for (const StreamFile& stream : streams_) {
    recognizers_.push_back(
        std::make_unique<Recognizer>(*stream.file, stream.spec, *device_,
                                     RecognizerOptions{.batch = batch_of(s_, *device_),
                                                       .plan = kernels_.plan_options(device_->name()),
                                                       .wait_for_nodes = s_.wait_for_nodes,
                                                       .capture = s_.capture,
                                                       .want_flow = !s_.out.empty()}));
  }
  runner_ = std::make_unique<ViewRunner>(streams_, recognizers_,
                                         ViewRunner::Options{.clips = s_.clips, .crops = s_.crops});
}

int PredictProgram::run() {
  catch_signals();
  if (!items_.empty()) make_recognizers();
  for (const Item& item : items_) {
    if (stop_requested()) break;
    try {
      predict(item);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::data || (items_.size() == 1 && bad_.empty())) throw;
      runner_->clear();
      log_warning(fmt::format("{}; left out", e.what()));
      fail_item(item.name, e.what());
    }
  }
  kernels_.finish();
  return finish();
}

Footage PredictProgram::footage_of(const Item& item) const {
  Footage footage{.frames = item.source, .item = item.item};
  if (!flow_) return footage;
  footage.flow = flow_;
  const std::string name = item.source->name(item.item);
  const auto has_name = [&](int64_t k) { return flow_->name(k) == name; };
  while (footage.flow_item < flow_->size() && !has_name(footage.flow_item)) ++footage.flow_item;
  if (footage.flow_item == flow_->size()) {
    fail(ErrorKind::data, {s_.flow, "flow of " + name + " in a folder of that name", "none",
                           "motionnet-flow names its folders so"});
  }
  const int64_t frames = item.source->length(item.item), flows = flow_->length(footage.flow_item);
  if (flows != std::max<int64_t>(1, frames - 1)) {
    fail(ErrorKind::data, {flow_->path(footage.flow_item),
                           fmt::format("{} flows between the {} frames of {}", frames - 1, frames, name),
                           std::to_string(flows), "Is it the flow of another video?"});
  }
  return footage;
}

WindowSteps PredictProgram::steps_of(const Item& item, Prediction& prediction) const {
  int64_t least = 1;
  for (const StreamFile& stream : streams_) least = std::max(least, frames_spanned(stream.spec));
  if (prediction.frames < least) {
    prediction.notes.push_back(
        fmt::format("shorter than a clip of {} frames: its last frame is repeated", least));
    log_warning(fmt::format("{}: {}", item.name, prediction.notes.back()));
  }
  if (s_.window.empty()) return {.frames = prediction.frames, .stride = prediction.frames};
  WindowSteps steps;
  steps.frames = frames_of_span("--window", s_.window, prediction.rate);
  if (steps.frames < least) {
    prediction.notes.push_back(fmt::format("--window {} is {}, the network's clip has {}: windows of these",
                                           s_.window, counted(steps.frames, "frame"), least));
    log_warning(fmt::format("{}: {}", item.name, prediction.notes.back()));
    steps.frames = least;
  }
  steps.stride = s_.stride.empty() ? std::max<int64_t>(1, steps.frames / 2)
                                   : frames_of_span("--stride", s_.stride, prediction.rate);
  return steps;
}

void PredictProgram::predict(const Item& item) {
  Prediction prediction;
  prediction.name = item.name;
  prediction.path = item.source->path(item.item);
  prediction.frames = item.source->length(item.item);
  prediction.rate = s_.fps > 0 ? s_.fps : item.source->rate(item.item);
  const Footage footage = footage_of(item);
  prediction.steps = steps_of(item, prediction);
  if (!s_.window.empty()) prediction.windows = window_count(prediction.frames, prediction.steps);
  Outputs outputs;
  outputs.sums.assign(streams_.size(), std::vector<double>(rules_.classes.size(), 0));
  if (!s_.out.empty()) {
    outputs.folder.path = fs::path(s_.out) / item.name;
    make_folders(outputs.folder.path);
  }
  if (!outputs.folder.path.empty() && prediction.windows > 0) {
    outputs.csv = std::make_unique<TimelineCsv>(outputs.folder.path / "timeline.csv", rules_.classes,
                                                TimelineCsv::Video{.rate = prediction.rate});
    outputs.picture = std::make_unique<TimelinePicture>(
        TimelinePicture::Video{.name = prediction.name, .length = prediction.frames, .rate = prediction.rate},
        rules_.classes);
  }
  if (!run_windows(footage, prediction, outputs)) return;
  std::vector<std::vector<float>> rows;
  const auto windows = static_cast<double>(std::max<int64_t>(1, prediction.windows));
  for (std::vector<double>& sum : outputs.sums) {
    for (double& v : sum) v /= windows;
    rows.emplace_back(sum.begin(), sum.end());
  }
  prediction.verdict = verdict_of(rows, rules_.fusion);
  prediction.segments = outputs.segments.all();
  if (std::all_of(prediction.verdict.shares.begin(), prediction.verdict.shares.end(),
                  [](double share) { return share == 0; })) {
    prediction.notes.push_back(
        "no stream has a positive logit, of which relu-l1 makes nothing; --fusion "
        "softmax ranks them all the same");
  }
  if (!outputs.folder.path.empty()) write_files(prediction, outputs);
  tell(prediction);
}

// False where the program is to stop.
bool PredictProgram::run_windows(const Footage& footage, const Prediction& prediction, Outputs& outputs) {
  const int64_t windows = std::max<int64_t>(1, prediction.windows);
  const ViewRunner::Sink sink = [&](WindowLogits&& window) { take(std::move(window), outputs); };
  std::string title = prediction.name;
  if (items_.size() > 1) title += fmt::format(" ({} of {})", told_ + 1, items_.size());
  ProgressBar bar(log(), {.title = title, .unit = "window", .total = windows});
  const int64_t cells = s_.out.empty() ? 0 : kStripCells;
  for (int64_t k = 0; k < windows; ++k) {
    if (stop_requested()) return false;
    const int64_t pictures = windows == 1 ? cells : cells > 0 && has_picture(k, windows, cells) ? 1 : 0;
    runner_->add(footage, window_at(k, prediction.frames, prediction.steps), pictures, sink);
    bar.update(k + 1, "");
  }
  runner_->finish();
  return !stop_requested();
}

void PredictProgram::take(WindowLogits&& window, Outputs& outputs) const {
  for (size_t s = 0; s < outputs.sums.size(); ++s) {
    for (size_t c = 0; c < rules_.classes.size(); ++c) outputs.sums[s][c] += double{window.logits[s][c]};
  }
  for (SeenFrame& seen : window.seen) outputs.seen.push_back(std::move(seen));
  const Verdict verdict = verdict_of(window.logits, rules_.fusion);
  const size_t first = ranked(verdict.scores).front();
  outputs.segments.add(window.window, first, verdict.shares[first]);
  if (!outputs.csv) return;
  outputs.csv->add(window.window, verdict.shares);
  outputs.picture->add(window.window, verdict.shares);
}

void PredictProgram::write_files(Prediction& p, Outputs& outputs) const {
  const auto add = [&](const char* what, const char* file) {
    p.files.emplace_back(what, (outputs.folder.path / file).string());
    return p.files.back().second;
  };
  Strip strip{.title = p.name, .cells = {}, .classes = top_classes(p.verdict, rules_.classes, rules_.top)};
  for (SeenFrame& seen : outputs.seen) {
    strip.cells.push_back({.when = time_text(seen.number, p.rate),
                           .frame = std::move(seen.frame),
                           .flow = std::move(seen.flow)});
  }
  write_png(add("strip", "strip.png"), strip_picture(strip));
  if (outputs.csv) {
    add("timeline_csv", "timeline.csv");
    outputs.csv->commit();
    write_png(add("timeline_picture", "timeline.png"), outputs.picture->draw());
  }
  const std::string file = add("prediction", "prediction.json");
  write_file_atomically(file, json_text(prediction_json(p, rules_), 2) + "\n");
}

void PredictProgram::tell(const Prediction& prediction) {
  ++told_;
  if (s_.json) {
    std::cout << json_text(prediction_json(prediction, rules_)) << "\n" << std::flush;
    return;
  }
  std::cout << (told_ > 1 ? "\n" : "") << prediction_text(prediction, rules_, screen_) << std::flush;
}

void PredictProgram::fail_item(const std::string& name, const std::string& reason) {
  bad_.push_back({.name = name, .reason = reason});
  if (s_.json) std::cout << json_text({{"video", name}, {"error", reason}}) << "\n" << std::flush;
}

int PredictProgram::finish() const {
  if (!bad_.empty()) {
    log_error(fmt::format("{} of {} could not be used:", bad_.size(),
                          counted(static_cast<int64_t>(bad_.size()) + told_, "video")));
    for (const Bad& bad : bad_) log_error(fmt::format("  {}: {}", bad.name, bad.reason));
  }
  if (stop_requested()) {
    log_warning("stopped by a signal; what is printed and written is whole");
    return kExitInterrupted;
  }
  return bad_.empty() ? 0 : static_cast<int>(ErrorKind::data);
}

}  // namespace millrace
