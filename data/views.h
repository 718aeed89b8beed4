// Views of a video at test time: which clips of it, and which crops of each, the network sees. Reference: the
// hidden two-stream paper's demo_hidden.py and HiddenTemporalPrediction.py (25 clips by 10 crops).
#pragma once

#include <cstdint>
#include <vector>

#include "data/geometry.h"

namespace millrace {

// First frames, from 0, of `clips` clips of `frames` frames in a video of `length`: clip i begins at i *
// step, step = floor((length - frames + 1) / clips), 0 where the video is shorter. So the video's end is not
// seen, and below frames + clips - 1 frames all clips are one. One clip alone is the one in the middle
// (centre_start), as in validation. Errors (usage): length, frames or clips below 1.
std::vector<int64_t> clip_starts(int64_t length, int64_t frames, int64_t clips);

struct ViewOptions {
  Size resize = {256, 340};  // as GeometryOptions::resize
  Size network = {224, 224};
};
// How the crops of a clip are made of its frames, in this order:
//   1   the centre
//   2   the centre, and the centre of the mirrored frames
//   5   upper left, upper right, centre, lower left, lower right
//   10  these, and then the same five of the mirrored frames
// The centre lies in the middle. Only with 5 or 10 crops of 224x224 from 340x256 (width x height) it begins
// at column 60 instead of 58, as the paper's scores were measured; of the mirrored frames too, so it is not
// the mirror image of the other's. Frames that have the network's size already are left untouched, as
// draw_geometry does: all five are one then. Crops that are equal are equal as values. Errors (usage):
// another number.
std::vector<ClipGeometry> view_crops(int64_t crops, Size frame, const ViewOptions& options);

}  // namespace millrace
