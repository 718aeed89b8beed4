// Pictures of results, for people.
#pragma once

#include <vector>

#include "data/flow.h"

namespace millrace {

// Images of one height next to each other, with a gap of 4 white pixels.
Image side_by_side(const std::vector<Image>& parts);

// Flow in colours for people: full colour from `radius` pixels on (flow_to_color darkens what is longer; here
// it stays), with the wheel of directions in the lower right corner when the picture is at least 64 pixels
// high and wide.
Image flow_picture(const Flow& flow, float radius);

// A radius for flow_picture that few pixels exceed: the 99th percentile of the known lengths, in pixels; 0
// when none is known. The longest vector alone would let one outlier fade the rest.
float flow_radius(const Flow& flow);

}  // namespace millrace
