// How a clip's frames become the network's input: resize, crop, mirror; one draw for all frames of a clip.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "data/source.h"

namespace millrace {

enum class Crop {
  none,         // the whole frame is resized to the network's size, aspect ratio or not
  centre,       // nothing is drawn: validation
  random,       // the network's size, anywhere
  multi_scale,  // of GeometryOptions::scales, in the corners or the centre, resized to the network's: the
                // paper's
};
// "none", "centre", "random", "multi_scale". Errors (usage).
Crop parse_crop(const std::string& name);

struct GeometryOptions {
  Size network = {};
  Crop crop = Crop::centre;
  // To what a frame is resized before the crop (aspect ratio not kept), 340 wide and 256 high as in the
  // hidden two-stream paper's code; 0x0 keeps the source's size. Where this is smaller than the network, it
  // is enlarged, with its own aspect ratio, until it covers the network.
  Size resize = {256, 340};
  double mirror = 0;  // probability
  // Crops of multi_scale as shares of the largest, 8/7 of the network's size, which is 256 of 224, the height
  // of the resized frame. Height and width are drawn so that they are equal or neighbours here. These are
  // MotionNet's and the temporal stream's; the spatial stream's end in .66 (168 of 224).
  std::vector<double> scales = {1, .875, .75};
};
// Errors (usage): no scales; one outside of (0, 1].
void check_scales(const std::vector<double>& scales);

// To what a frame of size `source` is resized before the crop.
Size resized_size(const GeometryOptions& options, Size source);
// The window of this size in the middle of a frame, half a pixel up and left where it must be.
Window centre_window(Size frame, Size size);

// In this order.
struct ClipGeometry {
  Size resized = {};   // first resize to this; equal to the source's size: nothing to do
  Window window = {};  // then cut this out
  Size output = {};    // then resize to the network's size, which multi_scale crops need
  bool mirror = false;
  bool operator==(const ClipGeometry&) const = default;
};

// A pure function of its arguments; `sample` is the step of the stream. Frames that have the network's size
// already are left untouched, whatever the crop (mirroring apart).
ClipGeometry draw_geometry(const GeometryOptions& options, Size source, RandomStream stream, int64_t sample);

// The frames as the network takes them: out (H,W,CT) with channels B0 G0 R0 B1 ..., or of flow x0 y0 x1 ...
// To the bit what apply_geometry makes of each frame, without making it. `scratch` is memory to reuse.
//
// Frames of two channels are flow as bytes, whose values are not scaled when they are resized, as those who
// wrote and trained on such pairs did. Mirrored, they have x exchanged for 255 - x.
void write_clip(const ClipGeometry& geometry, const std::vector<FramePtr>& frames,
                std::vector<Image>& scratch, uint8_t* out);

// Applies `geometry` to all frames, as write_clip does, and to the truth (whose vectors are scaled and
// mirrored along), in place. `scratch` is memory to reuse.
void apply_geometry(const ClipGeometry& geometry, Clip& clip, Image& scratch);

}  // namespace millrace
