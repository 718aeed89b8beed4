#include "apps/actions/train_validation.h"

#include <algorithm>
#include <cmath>

#include "apps/motionnet/validation.h"
#include "core/log.h"
#include "data/picture.h"
#include "layers/scale.h"

namespace millrace {
namespace {

// `most` of the items, spread evenly; 0: all.
SourcePtr spread(const SourcePtr& source, int64_t most) {
  if (most == 0 || source->size() <= most) return source;
  std::vector<int64_t> items;
  for (int64_t k = 0; k < most; ++k) items.push_back(k * source->size() / most);
  return take_items(source, items);
}

}  // namespace

double cross_entropy(const Scores& scores) {
  double sum = 0;
  for (const Scores::Row& row : scores.rows) {
    const auto label =
        std::find(scores.classes.begin(), scores.classes.end(), row.label) - scores.classes.begin();
    const double largest = *std::max_element(row.logits.begin(), row.logits.end());
    double total = 0;
    for (const float x : row.logits) total += std::exp(x - largest);
    sum += std::log(total) + largest - row.logits[static_cast<size_t>(label)];
  }
  return scores.rows.empty() ? 0 : sum / static_cast<double>(scores.rows.size());
}

Plan StreamValidator::plan(const StreamTrainConfig& c, const StreamSpec& spec, ParamStore& params,
                           const PlanOptions& options) {
  Graph g;
  const StreamValues values = stream(g, params, g.input("clip", clip_spec(spec, c.batch)), spec);
  g.output("logits", values.logits);
  if (values.flows) g.output("flow2", scale(g, values.flows->at(kFinestLevel), kFlowScale));
  return make_plan(g, options);
}

StreamValidator::StreamValidator(const StreamTrainConfig& config, const StreamSpec& spec,
                                 const TaskPlace& place, SourcePtr source)
    : config_(config),
      spec_(spec),
      source_(spread(source, config.validation_clips)),
      session_(plan(config, spec, place.params, place.plans), place.state,
               {.arena = &place.arena, .wait_for_nodes = config.wait_for_nodes, .capture = config.capture}) {}

std::unique_ptr<Loader> StreamValidator::loader_from(int64_t first) const {
  LoaderOptions options{.batch = config_.batch,
                        .frames = clip_frames(spec_),
                        .geometry = geometry_options(config_),
                        .threads = config_.loader_threads,
                        .want_labels = true,
                        .shuffle = false,
                        .random_start = false,
                        .end = source_->size()};
  options.geometry.crop = Crop::centre;
  options.geometry.mirror = 0;
  auto loader = std::make_unique<Loader>(source_, options);
  loader->seek(first);
  return loader;
}

StreamValidation StreamValidator::run() {
  Scores scores{.classes = spec_.classes, .rows = {}};
  const auto classes = std::ssize(spec_.classes);
  const std::unique_ptr<Loader> loader = loader_from(0);
  ProgressBar bar(log(), {.title = "validation", .unit = "video", .total = clips()});
  while (true) {
    const Batch batch = loader->next();
    if (batch.count == 0) break;
    session_.set("clip", batch.frames, session_.input("clip").count());
    session_.run();
    const std::vector<double> logits = session_.get("logits");
    for (int64_t k = 0; k < batch.count; ++k) {
      const auto first = logits.begin() + k * classes;
      scores.rows.push_back({.video = std::to_string(batch.first_sample + k),
                             .label = spec_.classes.at(static_cast<size_t>(batch.labels[k])),
                             .logits = std::vector<float>(first, first + classes)});
    }
    bar.update(batch.first_sample + batch.count, "");
  }
  return {.loss = cross_entropy(scores), .accuracy = accuracy(scores)};
}

std::optional<Image> StreamValidator::picture(int64_t clip) {
  if (spec_.kind != StreamKind::stacked) return std::nullopt;
  const std::unique_ptr<Loader> loader = loader_from(clip % clips());
  const Batch batch = loader->next();
  session_.set("clip", batch.frames, session_.input("clip").count());
  session_.run();
  std::vector<double> flows = session_.get("flow2");
  const Shape all = session_.output("flow2").shape, shape{1, all[1], all[2], all[3]};
  flows.resize(static_cast<size_t>(shape.count()));
  Flow flow = split_flows(flows, shape).front();
  for (float& v : flow.uv) v *= .5f;  // to pixels of its own grid, which resizing scales
  flow = resize_flow(flow, spec_.input);

  Image frame;
  frame.reshape(spec_.input, 3);
  const int64_t channels = 3 * clip_frames(spec_);
  for (int64_t p = 0; p < frame.height * frame.width; ++p)
    std::copy_n(batch.frames + p * channels, 3, frame.pixels.data() + 3 * p);
  return side_by_side({frame, flow_picture(flow, std::max(flow_radius(flow), 1.f))});
}

}  // namespace millrace
