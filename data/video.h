// Video files, decoded by FFmpeg's libraries where the build has them. Frames are numbered in the order of
// display by decoding: what a container claims about their number or rate is not used. Rotation marks are
// ignored.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/image.h"

namespace millrace {

// Is FFmpeg built in? All functions below fail (data) without it.
bool have_video();

// Number of compressed frames in the file, read without decoding; the decoder may give a few less. Errors
// (data): not a video, no video stream, no decoder for it.
int64_t count_video_packets(const std::string& path);

struct VideoIndex {
  Size size;
  int64_t frames = 0;
  // Display time of each frame, to find it again without decoding from the start; empty when the file's times
  // are missing or not increasing.
  std::vector<int64_t> times;
  double rate = 0;                    // frames per second as the file has it, for people; 0: it has none
  std::vector<std::string> warnings;  // damage found: a truncated file, undecodable frames
};

// Is called with each frame in order and may take its pixels.
using FrameSink = std::function<void(int64_t frame, Image& image)>;

// Decodes the whole video. Damaged files give the frames that can be decoded, and warnings. Errors (data): as
// above, or no frame can be decoded.
VideoIndex index_video(const std::string& path, const FrameSink& sink);

struct FrameRange {
  int64_t first = 0;
  int64_t count = 0;
};
// Decodes only these frames of an indexed video, which must exist. The same range always gives the same
// frames.
void decode_video(const std::string& path, const VideoIndex& index, FrameRange range, const FrameSink& sink);

}  // namespace millrace
