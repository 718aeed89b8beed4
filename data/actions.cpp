#include "data/actions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace millrace {
namespace {

enum Motion : int64_t { up, down, pulse, shake, twist, bob, still };
constexpr auto kMotions = static_cast<int64_t>(kActionMotions.size());
constexpr auto kFamilies = static_cast<int64_t>(kPatternFamilies.size());
constexpr double kUnit = 128;        // pixels of the shorter side for which the numbers below are meant
constexpr double kSwingSpeed = 1.3;  // fastest, as a multiple of speed: the mean is 0.64 of the fastest
constexpr double kRadius = 36;       // where pulse and twist are as fast as shake, pixels from the middle

// Pairs of n families and n motions.
int64_t side_of(int64_t pairs) {
  return static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(pairs))));
}

// Each class by its name, with its motion and family; -1: any.
struct ActionClass {
  std::string name;
  int64_t motion = -1, family = -1;
};

std::vector<ActionClass> classes_of(const ActionOptions& o) {
  std::vector<ActionClass> classes;
  for (int64_t k = 0; k < o.classes; ++k) {
    if (o.kind == ActionKind::motion) {
      classes.push_back({kActionMotions[static_cast<size_t>(k)], k, -1});
    } else if (o.kind == ActionKind::appearance) {
      classes.push_back({kPatternFamilies[static_cast<size_t>(k)], -1, k});
    } else {
      const int64_t side = side_of(o.classes), family = k / side, motion = k % side;
      classes.push_back({fmt::format("{}_{}", kPatternFamilies[static_cast<size_t>(family)],
                                     kActionMotions[static_cast<size_t>(motion)]),
                         motion, family});
    }
  }
  std::sort(classes.begin(), classes.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return classes;
}

void need(bool holds, const char* where, const std::string& expected, int64_t got) {
  if (!holds) fail(ErrorKind::usage, {where, expected, std::to_string(got), ""});
}

// All numbers are drawn whatever the class, so that the class decides nothing but which of them move the
// pattern.
ActionScene draw_scene(Draws& draws, int64_t motion, int64_t family, Size size) {
  ActionScene scene{.motion = motion, .pattern = ActionPattern(draws, family)};
  const double unit = static_cast<double>(std::min(size.height, size.width)) / kUnit;
  scene.reflected = draws.chance(0.5);
  scene.angle = draws.uniform(0, 2 * std::numbers::pi);
  scene.start_x = draws.uniform(0, ActionPattern::kPeriod);
  scene.start_y = draws.uniform(0, ActionPattern::kPeriod);
  scene.scale = unit * std::exp(draws.uniform(-0.3, 0.3));
  scene.drift_x = unit * draws.uniform(-0.25, 0.25);
  scene.drift_y = unit * draws.uniform(-0.25, 0.25);
  scene.speed = unit * draws.uniform(1.5, 3);
  scene.omega = 2 * std::numbers::pi / draws.uniform(8, 12);
  scene.phase = draws.uniform(0, 2 * std::numbers::pi);
  scene.swing = kSwingSpeed * scene.speed / scene.omega;
  scene.relative_swing = scene.swing / (unit * kRadius);
  scene.rest = draws.uniform(0, 2 * std::numbers::pi);
  return scene;
}

}  // namespace

const char* action_kind_name(ActionKind kind) {
  return kind == ActionKind::motion ? "motion" : kind == ActionKind::appearance ? "appearance" : "pair";
}

ActionKind parse_action_kind(std::string_view text, const std::string& where) {
  for (const ActionKind kind : {ActionKind::motion, ActionKind::appearance, ActionKind::pair})
    if (text == action_kind_name(kind)) return kind;
  fail(ErrorKind::usage, {where, "motion, appearance or pair", fmt::format("'{}'", text), ""});
}

ActionOptions checked(ActionOptions o) {
  if (o.classes == 0) o.classes = o.kind == ActionKind::pair ? 9 : 4;
  if (o.kind == ActionKind::pair) {
    const int64_t side = side_of(std::clamp<int64_t>(o.classes, 0, 1 << 20));
    need(side >= 2 && side <= std::min(kMotions, kFamilies) && side * side == o.classes, "--classes",
         "4, 9, 16, 25 or 36: as many families of patterns as motions", o.classes);
  } else {
    const int64_t most = o.kind == ActionKind::motion ? kMotions : kFamilies;
    need(o.classes >= 2 && o.classes <= most, "--classes",
         fmt::format("2 to {}, so many kinds of {} there are", most, action_kind_name(o.kind)), o.classes);
  }
  for (const int64_t extent : {o.size.height, o.size.width})
    need(extent >= 32 && extent <= 4096, "--size", "32 to 4096 pixels each way", extent);
  need(o.frames >= 2 && o.frames <= 1000, "--frames", "2 to 1000", o.frames);
  need(o.count >= 1 && o.count <= int64_t{1} << 40, "clips", "1 or more", o.count);
  return o;
}

Similarity ActionScene::pose(int64_t frame) const {
  const auto k = static_cast<double>(frame);
  const double wave = std::sin(omega * k + phase);
  double x = drift_x * k, y = drift_y * k, turn = angle,
         size = scale * std::exp(relative_swing * std::sin(rest));
  switch (motion) {
    case up:
      y -= speed * k;
      break;
    case down:
      y += speed * k;
      break;
    case pulse:
      size = scale * std::exp(relative_swing * wave);
      break;
    case shake:
      x += swing * wave;
      break;
    case twist:
      turn += relative_swing * wave;
      break;
    case bob:
      y += swing * wave;
      break;
    default:
      break;
  }
  const Similarity turned{std::cos(turn) / size, -std::sin(turn) / size, 0, 0};
  return turned.after({1, 0, -x, -y});
}

ActionScene ActionScene::mirrored() const {
  ActionScene other = *this;
  other.reflected = !reflected;
  other.angle = -angle;
  other.drift_x = -drift_x;
  if (motion == shake || motion == twist) other.phase = phase + std::numbers::pi;
  return other;
}

void render_action(const ActionScene& scene, int64_t frame, Size size, Image& image) {
  image.reshape(size, 3);
  const Similarity pose = scene.pose(frame);
  const double pixel = std::hypot(pose.a, pose.b), flip = scene.reflected ? -1 : 1;
  const double middle_x = static_cast<double>(size.width - 1) / 2,
               middle_y = static_cast<double>(size.height - 1) / 2;
  uint8_t* out = image.pixels.data();
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      const auto [x, y] = pose(static_cast<double>(j) - middle_x, static_cast<double>(i) - middle_y);
      for (const float value : scene.pattern.at(flip * x + scene.start_x, y + scene.start_y, pixel))
        *out++ = static_cast<uint8_t>(value + 0.5f);
    }
  }
}

void action_flow(const ActionScene& scene, int64_t frame, Size size, Flow& flow) {
  flow.reshape(size);
  const Similarity step = scene.pose(frame + 1).inverse().after(scene.pose(frame));
  const double middle_x = static_cast<double>(size.width - 1) / 2,
               middle_y = static_cast<double>(size.height - 1) / 2;
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      const double x = static_cast<double>(j) - middle_x, y = static_cast<double>(i) - middle_y;
      const auto [next_x, next_y] = step(x, y);
      flow.at(i, j)[0] = static_cast<float>(next_x - x);
      flow.at(i, j)[1] = static_cast<float>(next_y - y);
    }
  }
}

ActionSource::ActionSource(const ActionOptions& options) : options_(checked(options)) {
  for (const ActionClass& c : classes_of(options_)) classes_.push_back(c.name);
}

std::string ActionSource::name(int64_t item) const {
  return fmt::format("{}_{}_{:05}", classes_[static_cast<size_t>(*label(item))], options_.split, item);
}

ActionScene ActionSource::scene(int64_t item) const {
  const std::string stream = fmt::format("actions.{}.{}", action_kind_name(options_.kind), options_.split);
  Draws draws(random_stream(options_.seed, stream), item);
  const ActionClass c = classes_of(options_)[static_cast<size_t>(*label(item))];
  const int64_t any_motion = draws.below(kMotions), any_family = draws.below(kFamilies);
  return draw_scene(draws, c.motion < 0 ? any_motion : c.motion, c.family < 0 ? any_family : c.family,
                    options_.size);
}

void ActionSource::read(const ClipRange& range, Clip& clip) const {
  const ActionScene drawn = scene(range.item);
  const int64_t first = std::min(range.first, options_.frames - 1);
  const int64_t count = std::min(range.count, options_.frames - first);
  clip.frames.resize(static_cast<size_t>(count));
  clip.truth.resize(range.want_truth && count > 0 ? static_cast<size_t>(count - 1) : 0);
  for (size_t k = 0; k < clip.frames.size(); ++k)
    render_action(drawn, first + static_cast<int64_t>(k), options_.size, clip.frames[k]);
  for (size_t k = 0; k < clip.truth.size(); ++k)
    action_flow(drawn, first + static_cast<int64_t>(k), options_.size, clip.truth[k]);
  pad_clip(range, clip);
}

}  // namespace millrace
