#include "apps/actions/evaluate_split.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "apps/support/program.h"
#include "core/error.h"
#include "core/log.h"

namespace millrace {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool fits(const VideoScore& score, size_t streams, int64_t classes) {
  if (score.streams.size() != streams) return false;
  for (const StreamScore& s : score.streams) {
    if (static_cast<int64_t>(s.logits.size()) != classes) return false;
  }
  return true;
}

// The mean over all views, each as often as the protocol has it, summed in their order.
std::vector<float> average(const VideoPlan& plan, const std::vector<float>& logits,
                           const std::vector<size_t>& labels) {
  const size_t classes = labels.size(), inputs = plan.inputs.size();
  std::vector<double> sums(classes, 0);
  double weights = 0;
  for (size_t view = 0; view < plan.starts.size() * inputs; ++view) {
    const auto weight =
        static_cast<double>(plan.clip_weights[view / inputs] * plan.inputs[view % inputs].weight);
    weights += weight;
    for (size_t k = 0; k < classes; ++k) sums[k] += weight * double{logits[view * classes + labels[k]]};
  }
  std::vector<float> mean;
  for (const double sum : sums) mean.push_back(static_cast<float>(sum / weights));
  return mean;
}

}  // namespace

// A video that is being computed.
struct EvalSplitRun::Pending {
  struct Stream {
    std::vector<float> logits;  // view by view
    int64_t done = 0;           // views
    bool complete = false;
  };
  std::vector<Stream> streams;
  bool broken = false;
};

EvalSplitRun::EvalSplitRun(const EvalData& data, const std::vector<EvalStream>& streams, EvalState& state,
                           const SplitOptions& options)
    : data_(data),
      streams_(streams),
      state_(state),
      options_(options),
      scores_(data.videos.size()),
      broken_(data.left_out) {
  broken_.insert(broken_.end(), data.missing.begin(), data.missing.end());
  for (size_t k = 0; k < data.videos.size(); ++k) {
    const EvalVideo& video = data.videos[k];
    const VideoScore* found = state.finished(options.number, video.name, video.bytes);
    if (found && fits(*found, streams.size(), options.classes))
      scores_[k] = *found;
    else
      missing_.push_back(static_cast<int64_t>(k));
  }
}

bool EvalSplitRun::run(const std::vector<std::shared_ptr<ViewNetwork>>& networks, EvalSpeed& speed) {
  networks_ = networks;
  std::vector<StreamOfViews> streams;
  for (size_t k = 0; k < networks.size(); ++k)
    streams.push_back({.source = data_.sources[k], .format = networks[k], .clips = options_.clips});
  std::vector<VideoItems> videos;
  for (const int64_t video : missing_)
    videos.push_back({.items = data_.videos[static_cast<size_t>(video)].items});
  std::vector<Pending> pending(missing_.size());

  const auto start = Clock::now();
  std::string title = "evaluate";
  if (options_.splits > 1) title += fmt::format(" split {}", options_.number + 1);
  ProgressBar bar(log(), {.title = title,
                          .unit = "video",
                          .total = static_cast<int64_t>(data_.videos.size()),
                          .start = static_cast<int64_t>(data_.videos.size() - missing_.size())});
  const int64_t found = static_cast<int64_t>(data_.videos.size() - missing_.size());
  int64_t gone = 0;
  ViewBatches batches(std::move(streams), std::move(videos), {.threads = options_.loader_threads});
  const int64_t views_before = speed.views;
  for (;;) {
    if (stop_requested()) break;
    const ViewBatches::Event event = batches.next();
    if (event.end()) break;
    if (event.broken) {
      take_broken(*event.broken, pending);
      ++gone;
    } else {
      take_batch(*event.batch, batches, pending, speed);
      batches.give_back(*event.batch);
    }
    const double rate = static_cast<double>(speed.views - views_before) / seconds_since(start);
    bar.update(found + speed.videos + gone, fmt::format("{:.3g} views/s", rate));
  }
  speed.seconds += seconds_since(start);
  state_.sync();
  return !stop_requested();
}

void EvalSplitRun::take_batch(const ViewBatch& batch, const ViewBatches& batches,
                              std::vector<Pending>& pending, EvalSpeed& speed) {
  ViewNetwork& network = *networks_[static_cast<size_t>(batch.stream)];
  const auto start = Clock::now();
  const std::vector<float> logits = network.run(batch.bytes, batch.count);
  speed.network_seconds += seconds_since(start);
  speed.views += batch.count * network.computed_views();
  if (network.spec().kind == StreamKind::stacked) speed.motionnet_runs += batch.count;
  const auto classes = static_cast<size_t>(options_.classes);
  for (size_t k = 0; k < batch.views.size(); ++k) {
    const auto [video, view] = batch.views[k];
    Pending& of = pending[static_cast<size_t>(video)];
    if (of.broken) continue;
    if (of.streams.empty()) of.streams.resize(networks_.size());
    Pending::Stream& stream = of.streams[static_cast<size_t>(batch.stream)];
    const int64_t views = batches.plan(video, batch.stream).views();
    if (stream.done == 0) stream.logits.resize(static_cast<size_t>(views) * classes);
    std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(k * classes), classes,
                stream.logits.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(view) * classes));
    stream.complete = ++stream.done == views;
    const bool all = std::all_of(of.streams.begin(), of.streams.end(),
                                 [](const Pending::Stream& s) { return s.complete; });
    if (!all) continue;
    finish_video(of, video, batches);
    ++speed.videos;
  }
}

void EvalSplitRun::finish_video(Pending& pending, int64_t k, const ViewBatches& batches) {
  const int64_t index = missing_[static_cast<size_t>(k)];
  const EvalVideo& video = data_.videos[static_cast<size_t>(index)];
  VideoScore score{.split = options_.number, .video = video.name, .bytes = video.bytes, .streams = {}};
  for (size_t s = 0; s < networks_.size(); ++s) {
    const VideoPlan& plan = batches.plan(k, static_cast<int64_t>(s));
    const StreamWeights& weights = streams_[s].of(options_.number);
    StreamScore stream{.logits = average(plan, pending.streams[s].logits, weights.labels),
                       .identical_clips = options_.clips - static_cast<int64_t>(plan.starts.size()),
                       .is_short = plan.length < networks_[s]->frames()};
    for (const float logit : stream.logits) {
      if (std::isfinite(logit)) continue;
      fail(ErrorKind::diverged,
           {video.name, fmt::format("finite logits of the {} stream", streams_[s].name),
            fmt::format("{}", logit), "The weights of " + weights.given + " are not usable"});
    }
    score.streams.push_back(std::move(stream));
  }
  state_.append(score);
  scores_[static_cast<size_t>(index)] = std::move(score);
  pending.streams = {};
}

void EvalSplitRun::take_broken(const BrokenVideo& broken, std::vector<Pending>& pending) {
  Pending& of = pending[static_cast<size_t>(broken.video)];
  of.broken = true;
  of.streams = {};
  const EvalVideo& video = data_.videos[static_cast<size_t>(missing_[static_cast<size_t>(broken.video)])];
  if (!options_.skip_broken) std::rethrow_exception(broken.error);
  try {
    std::rethrow_exception(broken.error);
  } catch (const std::exception& e) {
    log_warning(fmt::format("{}: {}; left out", video.name, e.what()));
    broken_.push_back({.video = video.name, .reason = printable(e.what())});
  }
}

}  // namespace millrace
