// Flow as files of other formats than .flo, and reading whichever of them a file is.
#pragma once

#include <string>
#include <string_view>

#include "data/flow.h"

namespace millrace {

// KITTI's flow PNG (Geiger et al., "Are we ready for autonomous driving? The KITTI vision benchmark suite",
// CVPR 2012; the development kit's readme): 16-bit RGB,
//   R = 64 u + 2^15, G = 64 v + 2^15, B = 1 where the flow is known, else 0
// so multiples of 1/64 pixel in [-512, 511.984375] are exact. Reading takes every B but 0 as known, and gives
// kUnknownFlow in both components where it is 0.
//
// Errors (data), each before anything of the claimed size is allocated: no PNG, no size of 1 to 2^28 pixels,
// more pixels than the bytes can hold, other than 16 bits or 3 channels, truncated or damaged.
Flow decode_kitti_png(std::string_view bytes, const std::string& name);
Flow read_kitti_png(const std::string& path);

// Values are rounded to the nearest 1/64 pixel, halves up; what lies outside of the range is set to its ends,
// so a written value is at most 1/128 from the flow inside [-512, 511.984375]. Unknown pixels become 0, 0, 0.
std::string encode_kitti_png(const Flow& flow);
// Complete or not at all. Errors (runtime): the disk.
void write_kitti_png(const std::string& path, const Flow& flow);

// .flo or KITTI's PNG, told apart by their first bytes, never by the name. Errors (data): as above, and
// neither of them.
Flow decode_flow(std::string_view bytes, const std::string& name);
Flow read_flow(const std::string& path);

}  // namespace millrace
