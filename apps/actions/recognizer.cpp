#include "apps/actions/recognizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/motionnet/validation.h"
#include "core/error.h"
#include "layers/scale.h"

namespace millrace {
namespace {

constexpr const char* kLogits = "logits";
constexpr const char* kFlow = "flow2";

Plan plan_stream(ParamStore& params, const StreamSpec& spec, const RecognizerOptions& options) {
  Graph g;
  const Value clip = g.input("clip", clip_spec(spec, options.batch));
  const StreamValues values = stream(g, params, clip, spec);
  g.output(kLogits, values.logits);
  if (options.want_flow && values.flows)
    g.output(kFlow, scale(g, values.flows->at(kFinestLevel), kFlowScale));
  return make_plan(g, options.plan);
}

// The two layers whose shape depends on more than the kind of net, where a wrong file is most often met:
// ParamStore::load would name the tensor, this says what it means.
void check_file(const SafetensorsReader& file, const StreamSpec& spec) {
  const auto refuse = [&](const std::string& name, const std::string& expected, int64_t got,
                          const std::string& hint) {
    fail(ErrorKind::data, {file.path().string() + ": " + name, expected, std::to_string(got), hint});
  };
  const std::string scope = scope_of(spec);
  const auto shape_of = [&](const std::string& name) {
    return file.has(name) ? file.entry(name).shape : std::vector<int64_t>();
  };
  const std::string fc8 = scope + ".fc8.weight", fc6 = scope + ".fc6.weight";
  const auto classes = static_cast<int64_t>(spec.classes.size());
  if (const auto shape = shape_of(fc8); shape.size() == 2 && shape[0] != classes) {
    refuse(fc8, fmt::format("{} rows, one for each class that the file names", classes), shape[0],
           "The weights are of another list of classes");
  }
  const auto last = shape_of(scope + ".conv5_3.weight"), shape = shape_of(fc6);
  if (last.size() != 4 || shape.size() != 2) return;
  const int64_t inputs = last[0] * (spec.input.height / 32) * (spec.input.width / 32);
  if (shape[1] != inputs) {
    refuse(fc6,
           fmt::format("{} columns: {} channels at 1/32 of {}x{} pixels", inputs, last[0], spec.input.width,
                       spec.input.height),
           shape[1], "The weights are of another input size");
  }
}

}  // namespace

Recognizer::Recognizer(const SafetensorsReader& file, const StreamSpec& spec, Device& device,
                       const RecognizerOptions& options)
    : spec_(spec), options_(options), state_(device), params_(device.name(), options.plan.precision) {
  check_file(file, spec);
  clip_bytes_ = clip_spec(spec, 1).shape.count();
  Plan plan = plan_stream(params_, spec, options);
  require_memory(device, memory_need({&plan}, state_));
  params_.create(state_, Dtype::f32);
  params_.load(file, state_, {{kParams, ""}});
  session_ = std::make_unique<Session>(
      std::move(plan), state_,
      SessionOptions{.wait_for_nodes = options.wait_for_nodes, .capture = options.capture});
}

std::vector<float> Recognizer::run(const uint8_t* clips, int64_t count) {
  if (count < 1 || count > batch()) {
    fail(ErrorKind::runtime,
         {"recognizer", fmt::format("1 to {} clips", batch()), std::to_string(count), ""});
  }
  const uint8_t* input = clips;
  if (count < batch()) {  // the rest is computed as well: by what was there before, which nobody reads
    input_.resize(static_cast<size_t>(batch() * clip_bytes_));
    std::copy_n(clips, count * clip_bytes_, input_.begin());
    input = input_.data();
  }
  session_->set("clip", input, batch() * clip_bytes_);
  session_->run();
  const std::vector<double> logits = session_->get(kLogits);
  return {logits.begin(), logits.begin() + count * classes()};
}

std::vector<Flow> Recognizer::flows(int64_t clip) const {
  if (session_->plan().outputs.count(kFlow) == 0) return {};
  const Shape shape = session_->output(kFlow).shape;
  const std::vector<double> values = session_->get(kFlow);
  const int64_t one = shape.count() / shape[0];
  return split_flows({values.begin() + clip * one, values.begin() + (clip + 1) * one},
                     Shape{1, shape[1], shape[2], shape[3]});
}

}  // namespace millrace
