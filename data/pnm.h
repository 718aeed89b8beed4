// Binary PGM (P5) and PPM (P6), from netpbm's pages pgm(5) and ppm(5). A reader of our own: that of
// stb_image 2.27 reads beyond its buffer at 16 bits and overflows on long numbers.
#pragma once

#include <string>
#include <string_view>

#include "data/image.h"

namespace millrace {

// "P5" or "P6", width, height and the largest sample as decimals between white space, with comments from # to
// the end of the line, one white space, then rows of samples: one byte each, two with the larger first where
// the largest is over 255. What follows the last row is not looked at. Always 3 channels, B, G, R. Samples
// are scaled to 255 and rounded, but 16 bits cut to 8 where the largest is 65535. Errors (data): not that,
// over `max_pixels`, fewer bytes than the size needs, a largest sample outside 1 to 65535; samples beyond it
// count as it.
Image decode_pnm(std::string_view bytes, const std::string& name, int64_t max_pixels);

}  // namespace millrace
