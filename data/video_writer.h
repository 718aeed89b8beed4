// Pictures as a video file, encoded by FFmpeg's libraries where the build has them.
#pragma once

#include <memory>
#include <string>

#include "data/image.h"

namespace millrace {

struct VideoWriterOptions {
  std::string path;   // .mp4, .mkv, .mov or .avi
  Size size;          // of the pictures, at most 8190 each way
  int64_t rate = 25;  // pictures a second, 1 to 1000
};

// H.264 by libx264 (constant rate factor 18) where libavcodec has it, in .avi and elsewhere MPEG-4 part 2
// (quantiser 2). Colours are halved in resolution (4:2:0) as players want it, so the video is for looking at;
// sizes are made even by repeating the last column and row. The file has another name until finish(), and
// goes when it is never called. Errors: a build without FFmpeg, another extension or rate (usage); the
// encoder, the disk (runtime); a picture of another size than the first (data).
class VideoWriter {
 public:
  explicit VideoWriter(const VideoWriterOptions& options);
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;
  ~VideoWriter();

  void add(const Image& image);  // B G R
  void finish();                 // once, after at least one picture

 private:
  class Encoder;
  std::unique_ptr<Encoder> encoder_;
};

// Errors (usage): FFmpeg is not built in.
void require_video_writer();

}  // namespace millrace
