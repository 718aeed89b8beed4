// Moving textures with exact optical flow: training and measuring without a download.
//
// An item is a background texture and some objects (ellipses and polygons with textures of their own) in
// front of it. Each layer l moves with a constant similarity M_l a frame: M(x) = c + s R(a) (x - c) + t about
// the image's centre c, with |t_x|, |t_y| <= max_shift, |s - 1| <= max_zoom and |a| <= max_rotation, uniform.
// Frame k shows layer l at pixel x as its texture at M_l^-k(x), so the flow from any frame to the next is
// M_l(x) - x exactly, where l is the layer seen at x. Textures hold nothing finer than about four pixels, and
// objects have edges softened over one pixel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "data/source.h"

namespace millrace {

struct SyntheticOptions {
  Size size = {128, 128};      // size=128x192 is height x width
  int64_t frames = 2;          // frames of an item
  int64_t count = 64;          // items in an epoch; there are as many as you ask for
  double max_shift = 4;        // pixels a frame along each axis
  double max_zoom = 0.02;      // share a frame
  double max_rotation = 0.02;  // radians a frame
  int64_t layers = 1;          // objects in front of the background, 0 to 16
  uint64_t seed = 1;
  std::string split = "train";  // items of another split ("val") are other items over the same textures
};

// "synthetic:" and then any of the fields above as key=value, separated by commas. Errors (usage): another
// key, a value that is no number or out of range.
SyntheticOptions parse_synthetic(const std::string& spec);
// All fields, so that parse_synthetic gives the same options again.
std::string to_spec(const SyntheticOptions& options);
// "128x192", height and width, each from `least` to 4096. Errors (usage) begin with [where].
Size parse_size(std::string_view text, const std::string& where, int64_t least);

class SyntheticSource final : public ClipSource {
 public:
  explicit SyntheticSource(const SyntheticOptions& options);
  ~SyntheticSource() override;

  int64_t size() const override { return options_.count; }
  bool endless() const override { return true; }
  bool has_truth() const override { return true; }
  std::string name(int64_t item) const override;
  int64_t length(int64_t) const override { return options_.frames; }
  void read(const ClipRange& range, Clip& clip) const override;
  using ClipSource::read;

  // 1 where a pixel of frame `frame` of `item` is hidden, or outside the image, in the next frame; else 0.
  // One channel.
  Image occluded(int64_t item, int64_t frame) const;

  const SyntheticOptions& options() const { return options_; }

 private:
  struct Textures;
  static std::shared_ptr<const Textures> textures_of(uint64_t seed);
  struct Scene;
  Scene make_scene(int64_t item) const;

  SyntheticOptions options_;
  std::shared_ptr<const Textures> textures_;
};

}  // namespace millrace
