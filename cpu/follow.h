// Layouts that the CPU's kernels go along with, beside what core/follow.h has.
#pragma once

#include <algorithm>

#include "core/follow.h"

namespace millrace::cpu {

// A (N,H,W,C) tensor as planes of pixels: (N, C / block, H W, block) when it is blocked by channels, else one
// plane (1, 1, N H W, C).
struct Planes {
  int64_t images, blocks, pixels, block, channels;

  Planes(const Shape& s, int64_t channel_block)
      : images(channel_block ? s[0] : 1),
        blocks(channel_block ? (s[3] + channel_block - 1) / channel_block : 1),
        pixels(channel_block ? s[1] * s[2] : s[0] * s[1] * s[2]),
        block(channel_block ? channel_block : s[3]),
        channels(s[3]) {}
  int64_t count() const { return images * blocks * pixels * block; }
  // Channels that block k really has.
  int64_t width(int64_t k) const { return std::min(block, channels - k * block); }
};

}  // namespace millrace::cpu
