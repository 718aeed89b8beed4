// Optical flow fields: Middlebury .flo files, resizing, end-point error, and the colour picture.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace millrace {

// Displacement from a frame to the next in pixels of this field's own resolution, interleaved: uv[(i * width
// + j) * 2] is u, to the right, the next is v, down.
struct Flow {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<float> uv;

  Size size() const { return {height, width}; }
  void reshape(Size size) {
    height = size.height;
    width = size.width;
    uv.resize(static_cast<size_t>(height * width * 2));
  }
  const float* at(int64_t i, int64_t j) const { return uv.data() + (i * width + j) * 2; }
  float* at(int64_t i, int64_t j) { return uv.data() + (i * width + j) * 2; }
};

// Middlebury's mark for "no truth here": a component over this bound; NaN counts as unknown too.
constexpr float kUnknownFlowBound = 1e9f;
constexpr float kUnknownFlow = 1.666666752e9f;
inline bool is_known(const float* uv) {
  return std::fabs(uv[0]) <= kUnknownFlowBound && std::fabs(uv[1]) <= kUnknownFlowBound;
}

// .flo (Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011; the format of its
// code): "PIEH", width and height as int32, then u, v as float32 row by row, all little-endian. Errors
// (data): missing, no such mark, a size below 1 or over 2^28 pixels, a length that is not exactly the size's.
Flow read_flo(const std::string& path);
// The same from memory; `name` is what errors call it.
Flow decode_flo(std::string_view bytes, const std::string& name);
// Complete or not at all. Errors (runtime): the disk.
void write_flo(const std::string& path, const Flow& flow);

// Bilinear with half-pixel centres and repeated edges; u is scaled by the ratio of widths and v by that of
// heights, so the result is in its own pixels. A result that touches an unknown value is unknown.
Flow resize_flow(const Flow& flow, Size size);
void crop(const Flow& flow, const Window& window, Flow& result);
// The flow of the mirrored frames: columns exchanged, u negated.
void mirror(Flow& flow);

struct EndPointError {
  double mean = 0;     // pixels; 0 when there is none to compare
  int64_t pixels = 0;  // that were compared
};
// Mean of sqrt((u - u')^2 + (v - v')^2) over the pixels whose truth is known and that lie at least `border`
// pixels from every edge. Errors (data): different sizes.
EndPointError end_point_error(const Flow& flow, const Flow& truth, int64_t border = 0);

// Colours of Baker et al.: hue is the direction, saturation the length as a share of `max_radius` (pixels);
// longer vectors are darkened. max_radius 0 takes the longest known vector of the field. Unknown pixels are
// black.
Image flow_to_color(const Flow& flow, float max_radius = 0);
// The legend: a disc of the colours for all directions, white at its centre, `size` pixels wide.
Image flow_color_wheel(int64_t size);

}  // namespace millrace
