#include "apps/motionnet/validation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/log.h"
#include "data/geometry.h"
#include "data/picture.h"

namespace millrace {
namespace {

// `most` of `count`, spread evenly; 0: all.
std::vector<int64_t> spread(int64_t count, int64_t most) {
  const int64_t chosen = most == 0 ? count : std::min(count, most);
  std::vector<int64_t> numbers;
  for (int64_t k = 0; k < chosen; ++k) numbers.push_back(k * count / chosen);
  return numbers;
}

std::vector<ClipRange> choose_clips(const ClipSource& source, int64_t frames,
                                    const ValidatorOptions& options) {
  std::vector<ClipRange> chosen;
  if (options.clips == ValidationClips::centre) {
    // A video's length can take its decoding, so only that of a chosen one is asked for.
    const std::vector<int64_t> items = spread(source.size(), options.most);
    ProgressBar bar(log(),
                    {.title = "opening", .unit = "video", .total = static_cast<int64_t>(items.size())});
    for (const int64_t item : items) {
      chosen.push_back({item, centre_start(source.length(item), frames), frames, source.has_truth()});
      bar.update(static_cast<int64_t>(chosen.size()), "");
    }
    return chosen;
  }
  std::vector<ClipRange> all;
  for (int64_t item = 0; item < source.size(); ++item) {
    for (int64_t first = 0; first == 0 || first + frames <= source.length(item); first += frames - 1)
      all.push_back({item, first, frames, source.has_truth()});
  }
  for (const int64_t k : spread(static_cast<int64_t>(all.size()), options.most))
    chosen.push_back(all[static_cast<size_t>(k)]);
  return chosen;
}

}  // namespace

void interleave_frames(const std::vector<Image>& frames, std::vector<uint8_t>& out) {
  const Image& first = frames.front();
  const auto pixels = static_cast<size_t>(first.height * first.width);
  const size_t stride = 3 * frames.size();
  out.resize(pixels * stride);
  for (size_t t = 0; t < frames.size(); ++t) {
    for (size_t p = 0; p < pixels; ++p)
      std::copy_n(frames[t].pixels.data() + 3 * p, 3, out.data() + p * stride + 3 * t);
  }
}

std::vector<Flow> split_flows(const std::vector<double>& values, const Shape& shape) {
  const int64_t pixels = shape[1] * shape[2], count = shape[3] / 2;
  std::vector<Flow> flows(static_cast<size_t>(count));
  for (int64_t k = 0; k < count; ++k) {
    Flow& flow = flows[static_cast<size_t>(k)];
    flow.reshape({shape[1], shape[2]});
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t c = 0; c < 2; ++c) {
        flow.uv[static_cast<size_t>(2 * p + c)] =
            static_cast<float>(values[static_cast<size_t>(p * shape[3] + 2 * k + c)]);
      }
    }
  }
  return flows;
}

std::string to_json(const ValidationResult& v) {
  nlohmann::json result(v.terms), zero(v.zero);
  result["clips"] = v.clips;
  if (v.epe) {
    result["epe"] = *v.epe;
    zero["epe"] = *v.zero_epe;
  }
  result["zero_flow"] = zero;
  return result.dump();
}

Validator::Validator(const TrainConfig& config, ParamStore& params, State& state,
                     const ValidatorOptions& options)
    : config_(config),
      source_(options.source),
      ranges_(choose_clips(*options.source, config.frames, options)),
      net_(plan_validation(config, params, options.plan), state,
           {.arena = options.arena, .wait_for_nodes = config.wait_for_nodes, .capture = config.capture}),
      zero_(plan_zero_flow(config, options.plan), state,
            {.arena = options.arena, .wait_for_nodes = config.wait_for_nodes, .capture = config.capture}) {
  for (const auto& [name, value] : zero_.plan().outputs) names_.push_back(name);
}

std::vector<Plan> Validator::plans(const TrainConfig& config, ParamStore& params,
                                   const PlanOptions& options) {
  return {plan_validation(config, params, options), plan_zero_flow(config, options)};
}

Clip Validator::load(const ClipRange& range) const {
  Clip clip = source_->read(range);
  GeometryOptions geometry = geometry_options(config_);
  geometry.crop = Crop::centre;
  geometry.mirror = 0;
  Image scratch;
  const ClipGeometry drawn = draw_geometry(geometry, clip.frames.front().size(), RandomStream{}, 0);
  apply_geometry(drawn, clip, scratch);
  return clip;
}

void Validator::bind(Session& session, const Clip& clip) {
  interleave_frames(clip.frames, input_);
  session.set("clip", input_);
}

std::vector<Flow> Validator::flows_of(Session& session) const {
  std::vector<Flow> flows = split_flows(session.get("flow2"), session.output("flow2").shape);
  // The net's flow is in pixels of its input but on a grid of half the size; resizing would scale it, so it
  // is brought to its grid's pixels first.
  for (Flow& flow : flows) {
    for (float& v : flow.uv) v *= .5f;
    flow = resize_flow(flow, {config_.height, config_.width});
  }
  return flows;
}

double Validator::error_of(const std::vector<Flow>& flows, const std::vector<Flow>& truth) const {
  double sum = 0;
  int64_t pixels = 0;
  for (size_t k = 0; k < truth.size(); ++k) {
    const EndPointError e = end_point_error(flows[k], truth[k], config_.epe_border);
    sum += e.mean * static_cast<double>(e.pixels);
    pixels += e.pixels;
  }
  return pixels ? sum / static_cast<double>(pixels) : 0;
}

ValidationResult Validator::run() {
  ValidationResult result;
  const bool first_time = !zero_terms_;
  if (first_time) zero_terms_.emplace();
  double epe = 0, zero_epe = 0;
  int64_t with_truth = 0, done = 0;
  ProgressBar bar(log(), {.title = "validation", .unit = "clip", .total = clips()});
  for (const ClipRange& range : ranges_) {
    const Clip clip = load(range);
    bind(net_, clip);
    net_.run();
    for (const std::string& name : names_) result.terms[name] += net_.get_scalar(name);
    if (!clip.truth.empty()) {
      ++with_truth;
      epe += error_of(flows_of(net_), clip.truth);
      Flow none = clip.truth.front();
      std::fill(none.uv.begin(), none.uv.end(), 0.f);
      zero_epe += error_of(std::vector<Flow>(clip.truth.size(), none), clip.truth);
    }
    if (first_time) {
      bind(zero_, clip);
      zero_.run();
      for (const std::string& name : names_) (*zero_terms_)[name] += zero_.get_scalar(name);
    }
    bar.update(++done, "");
  }
  result.clips = clips();
  const auto n = static_cast<double>(clips());
  for (auto& [name, value] : result.terms) value /= n;
  if (first_time) {
    for (auto& [name, value] : *zero_terms_) value /= n;
  }
  result.zero = *zero_terms_;
  if (with_truth) {
    result.epe = epe / static_cast<double>(with_truth);
    result.zero_epe = zero_epe / static_cast<double>(with_truth);
  }
  return result;
}

Image Validator::picture(int64_t number) {
  const Clip clip = load(ranges_[static_cast<size_t>(number % clips())]);
  bind(net_, clip);
  net_.run();
  const std::vector<Flow> flows = flows_of(net_);
  std::vector<Image> parts{clip.frames.front()};
  const bool truth = !clip.truth.empty();
  const float radius = std::max(flow_radius(truth ? clip.truth.front() : flows.front()), 1.f);
  parts.push_back(flow_picture(flows.front(), radius));
  if (truth) parts.push_back(flow_picture(clip.truth.front(), radius));
  return side_by_side(parts);
}

}  // namespace millrace
