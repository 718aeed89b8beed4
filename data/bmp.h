// Windows bitmaps (BITMAPINFOHEADER and its successors in Microsoft's "Bitmap storage"). A reader of our own:
// that of stb_image 2.27 shows memory never written where a colour lies beyond the palette, and takes files
// cut off.
#pragma once

#include <string>
#include <string_view>

#include "data/image.h"

namespace millrace {

// 1, 4 and 8 bits with a palette, 24 and 32 bits in the order B, G, R; rows from the bottom, or from the top
// where the height is negative. Always 3 channels. Errors (data): not that (RLE, 16 bits and OS/2's short
// header are not read), over `max_pixels`, fewer bytes than the size needs, a colour beyond the palette.
Image decode_bmp(std::string_view bytes, const std::string& name, int64_t max_pixels);

}  // namespace millrace
