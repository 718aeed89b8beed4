// What stands in for video.cpp in a build without FFmpeg.
#ifndef MILLRACE_HAVE_VIDEO
#include "core/error.h"
#include "data/video.h"
#include "data/video_writer.h"

namespace millrace {
namespace {

[[noreturn]] void fail_without_video(const std::string& path) {
  fail(ErrorKind::data,
       {.where = path,
        .expected = "a build with FFmpeg to read a video",
        .got = "one without",
        .hint = "Install libavformat-dev, libavcodec-dev, libavutil-dev and libswscale-dev and build "
                "again, or give a folder of frames"});
}

}  // namespace

class VideoWriter::Encoder {};

bool have_video() { return false; }
int64_t count_video_packets(const std::string& path) { fail_without_video(path); }
VideoIndex index_video(const std::string& path, const FrameSink&) { fail_without_video(path); }
void decode_video(const std::string& path, const VideoIndex&, FrameRange, const FrameSink&) {
  fail_without_video(path);
}

void require_video_writer() {
  fail(ErrorKind::usage,
       {.where = "video",
        .expected = "a build with FFmpeg to write one",
        .got = "one without",
        .hint = "Install libavformat-dev, libavcodec-dev, libavutil-dev and libswscale-dev and build "
                "again, or write pictures"});
}
VideoWriter::VideoWriter(const VideoWriterOptions&) { require_video_writer(); }
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(const Image&) {}
void VideoWriter::finish() {}

}  // namespace millrace
#endif
