// Labelled synthetic clips: what a two-stream recogniser must be able to learn, and what one stream alone
// cannot.
//
// A clip shows a pattern (data/actions_pattern.h) that moves as a whole. With p a pixel's place from the
// image's middle, frame k shows the pattern at
//
//   F R(-angle_k) (p - t_k) / s_k + start,    F the identity or a reflection, R a rotation,
//
// so flow is the map between two such poses, and exact. One of these changes with k, as the class of motion
// says; beside it all clips drift by up to a quarter of a pixel a frame:
//
//   up, down    t_y = -+ speed k
//   pulse       s_k oscillates: nearer and farther
//   shake       t_x oscillates: to and fro sideways
//   twist       angle_k oscillates
//   bob         t_y oscillates
//   still       none
//
// Classes are closed under mirroring: the mirrored clip is the clip of other draws of its own class, equally
// likely (mirrored()); so there is no motion to the left and no steady rotation.
//
// No single frame tells the motion. All frames of all classes show a pattern seen at a start, an angle and a
// scale that are drawn from the same distributions: start and angle are uniform over a whole period, which
// what moves leaves so; the scale is base * exp(amplitude sin(phase)) with a uniform phase, which runs on in
// pulse and stands still in the other classes. That is why nothing steadily grows or shrinks here: a late
// frame would be seen nearer than an early one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/actions_pattern.h"
#include "data/similarity.h"
#include "data/source.h"

namespace millrace {

enum class ActionKind {
  motion,      // a class is a motion; the family of patterns is any
  appearance,  // a class is a family of patterns; the motion is any
  pair,  // a class is one of n families with one of n motions: each alone leaves n classes to guess from
};
const char* action_kind_name(ActionKind kind);
// Errors (usage): another word; begin with [where].
ActionKind parse_action_kind(std::string_view text, const std::string& where);

// In the order in which classes take them.
inline constexpr std::array kActionMotions = {"up", "down", "pulse", "shake", "twist", "bob", "still"};

struct ActionOptions {
  ActionKind kind = ActionKind::motion;
  Size size = {128, 128};  // at least 32 each; patterns and motions grow with the shorter
  int64_t frames = 16;     // at least 2
  int64_t classes = 0;     // 0: 4 of motion or appearance, 9 pairs
  int64_t count = 360;     // clips; item k is of class k mod classes
  uint64_t seed = 1;
  std::string split = "train";  // clips of another split are other clips, patterns included
};
// `options` with its number of classes filled in. Errors (usage), beginning with the flag: more classes than
// there are (7 motions, 6 families, 36 pairs), fewer than 2, pairs that are no square; sizes, frames, counts.
ActionOptions checked(ActionOptions options);

// Everything that tells one clip from another.
struct ActionScene {
  int64_t motion = 0;  // of kActionMotions
  ActionPattern pattern;
  bool reflected = false;
  double angle = 0;                 // radians
  double start_x = 0, start_y = 0;  // units of the pattern
  double scale = 1;                 // pixels a unit
  double drift_x = 0, drift_y = 0;  // pixels a frame
  double speed = 0;                 // of up and down, pixels a frame
  double omega = 0, phase = 0;      // of what oscillates: sin(omega k + phase), radians
  double swing = 0;                 // its amplitude in pixels
  double relative_swing = 0;        // the same of the logarithm of the scale, and of the angle in radians
  double rest = 0;                  // phase of the scale where it does not oscillate

  // From pixels, counted from the image's middle, to the pattern before its reflection.
  Similarity pose(int64_t frame) const;
  // The scene whose frames are the mirrored frames of this one.
  ActionScene mirrored() const;
};

void render_action(const ActionScene& scene, int64_t frame, Size size, Image& image);
// From frame to frame + 1, exact.
void action_flow(const ActionScene& scene, int64_t frame, Size size, Flow& flow);

class ActionSource final : public ClipSource {
 public:
  explicit ActionSource(const ActionOptions& options);

  int64_t size() const override { return options_.count; }
  bool has_truth() const override { return true; }
  std::string name(int64_t item) const override;  // up_train_00012
  int64_t length(int64_t) const override { return options_.frames; }
  void read(const ClipRange& range, Clip& clip) const override;
  using ClipSource::read;

  // By the alphabet, so that whoever numbers the folders of classes comes to the same labels. A pair is
  // dots_up.
  const std::vector<std::string>& classes() const override { return classes_; }
  std::optional<int64_t> label(int64_t item) const override { return item % options_.classes; }
  ActionScene scene(int64_t item) const;
  const ActionOptions& options() const { return options_; }

 private:
  ActionOptions options_;
  std::vector<std::string> classes_;
};

}  // namespace millrace
