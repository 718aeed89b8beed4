#include "data/video.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
}

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>

#include "core/error.h"

namespace millrace {
namespace {

constexpr int64_t kMaxFramePixels = int64_t{1} << 26;

[[noreturn]] void fail_video(const std::string& path, const std::string& expected, const std::string& got) {
  fail(ErrorKind::data, {.where = path, .expected = expected, .got = got});
}

std::string reason(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

template <auto release> struct Release {
  template <typename T> void operator()(T* pointer) const { release(&pointer); }
};
using Container = std::unique_ptr<AVFormatContext, Release<avformat_close_input>>;
using Codec = std::unique_ptr<AVCodecContext, Release<avcodec_free_context>>;
using Packet = std::unique_ptr<AVPacket, Release<av_packet_free>>;
using Frame = std::unique_ptr<AVFrame, Release<av_frame_free>>;
struct ReleaseScaler {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
using Scaler = std::unique_ptr<SwsContext, ReleaseScaler>;

// One open video file, read from the front or from a key frame on.
class Reader {
 public:
  explicit Reader(const std::string& path);

  // The next compressed frame of the video stream; false at the end.
  bool next_packet();
  // The next frame in order of display; false at the end.
  bool next_frame(Image& image);
  // To the last key frame at or before this time.
  bool seek(int64_t time);

  int64_t time() const { return frame_->best_effort_timestamp; }  // of the frame that next_frame gave
  // Damage met so far.
  int64_t bad_packets() const { return bad_packets_; }
  bool size_changed() const { return size_changed_; }
  int read_error() const { return read_error_; }
  double rate() const {
    const AVRational rate = container_->streams[stream_]->avg_frame_rate;
    return rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
  }
  int64_t claimed_frames() const { return container_->streams[stream_]->nb_frames; }

 private:
  bool receive();
  void convert(Image& image);

  std::string path_;
  Container container_;
  Codec codec_;
  Packet packet_{av_packet_alloc()};
  Frame frame_{av_frame_alloc()};
  Scaler scaler_;
  int stream_ = -1;
  AVPixelFormat scaler_format_ = AV_PIX_FMT_NONE;
  std::vector<uint8_t> rows_;  // of convert()
  Size size_;
  bool draining_ = false;
  bool size_changed_ = false;
  int64_t bad_packets_ = 0;
  int read_error_ = 0;
};

Reader::Reader(const std::string& path) : path_(path) {
  static std::once_flag quiet;
  std::call_once(quiet,
                 [] { av_log_set_level(AV_LOG_QUIET); });  // what matters is told by errors and warnings
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) fail_video(path, "a video file", "no regular file");
  if (std::filesystem::file_size(path, error) == 0) fail_video(path, "a video file", "an empty file");
  // Only this file: a playlist must not make the reader open others, or the network.
  AVDictionary* settings = nullptr;
  av_dict_set(&settings, "protocol_whitelist", "file", 0);
  AVFormatContext* opened = nullptr;
  const int open_code = avformat_open_input(&opened, ("file:" + path).c_str(), nullptr, &settings);
  av_dict_free(&settings);
  if (open_code < 0) fail_video(path, "a video file", reason(open_code));
  container_.reset(opened);
  if (const int code = avformat_find_stream_info(opened, nullptr); code < 0) {
    fail_video(path, "a video file", reason(code));
  }
  const AVCodec* decoder = nullptr;
  stream_ = av_find_best_stream(opened, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
  if (stream_ < 0 || decoder == nullptr)
    fail_video(path, "a video stream with a known codec", reason(stream_));
  const AVCodecParameters* parameters = opened->streams[stream_]->codecpar;
  // Checked before the decoder makes its buffers.
  if (int64_t{parameters->width} * parameters->height > kMaxFramePixels) {
    fail_video(path, fmt::format("frames of at most {} pixels", kMaxFramePixels),
               fmt::format("{}x{}", parameters->width, parameters->height));
  }
  for (unsigned k = 0; k < opened->nb_streams; ++k) {
    if (static_cast<int>(k) != stream_) opened->streams[k]->discard = AVDISCARD_ALL;
  }
  codec_.reset(avcodec_alloc_context3(decoder));
  if (!codec_ || !packet_ || !frame_)
    fail(ErrorKind::runtime, {.where = path, .expected = "memory", .got = "none"});
  codec_->thread_count = 1;  // the loader has its own threads
  codec_->max_pixels = kMaxFramePixels;
  int code = avcodec_parameters_to_context(codec_.get(), parameters);
  if (code >= 0) code = avcodec_open2(codec_.get(), decoder, nullptr);
  if (code < 0) fail_video(path, "a video that can be decoded", reason(code));
}

bool Reader::next_packet() {
  for (;;) {
    av_packet_unref(packet_.get());
    const int code = av_read_frame(container_.get(), packet_.get());
    if (code < 0) {
      if (code != AVERROR_EOF) read_error_ = code;
      return false;
    }
    if (packet_->stream_index == stream_) return true;
  }
}

bool Reader::receive() {
  for (;;) {
    const int code = avcodec_receive_frame(codec_.get(), frame_.get());
    if (code == 0) return true;
    if (code == AVERROR_EOF) return false;
    if (code != AVERROR(EAGAIN)) {
      ++bad_packets_;
      if (draining_) return false;
      continue;
    }
    draining_ = !next_packet();
    if (avcodec_send_packet(codec_.get(), draining_ ? nullptr : packet_.get()) < 0) {
      if (draining_) return false;
      ++bad_packets_;
    }
  }
}

bool Reader::next_frame(Image& image) {
  if (size_changed_ || !receive()) return false;
  const Size size = {frame_->height, frame_->width};
  if (size_ == Size{}) size_ = size;
  if (size != size_ || size.height < 1 || size.width < 1) {
    size_changed_ = true;
    return false;
  }
  convert(image);
  return true;
}

// As OpenCV's VideoCapture does it: swscale with its default coefficients.
void Reader::convert(Image& image) {
  const int width = frame_->width, height = frame_->height;
  const auto format = static_cast<AVPixelFormat>(frame_->format);
  if (!scaler_ || format != scaler_format_) {
    scaler_.reset(sws_getContext(width, height, format, width, height, AV_PIX_FMT_BGR24, SWS_BICUBIC, nullptr,
                                 nullptr, nullptr));
    if (!scaler_)
      fail_video(path_, "a pixel format that can be converted", fmt::format("format {}", frame_->format));
    scaler_format_ = format;
  }
  // swscale writes whole vectors, up to some bytes past a row: into rows of its own, padded, then copied.
  image.reshape(size_, 3);
  constexpr int kAlignment = 64;
  const int pitch = (3 * width + kAlignment - 1) / kAlignment * kAlignment;
  rows_.resize(static_cast<size_t>(pitch) * static_cast<size_t>(height) + kAlignment);
  uint8_t* planes[4] = {rows_.data(), nullptr, nullptr, nullptr};
  const int pitches[4] = {pitch, 0, 0, 0};
  sws_scale(scaler_.get(), frame_->data, frame_->linesize, 0, height, planes, pitches);
  for (int64_t i = 0; i < height; ++i) {
    const uint8_t* row = rows_.data() + i * pitch;
    std::copy(row, row + 3 * width, image.at(i, 0));
  }
}

bool Reader::seek(int64_t time) {
  if (av_seek_frame(container_.get(), stream_, time, AVSEEK_FLAG_BACKWARD) < 0) return false;
  avcodec_flush_buffers(codec_.get());
  draining_ = false;
  return true;
}

void add_warnings(const Reader& reader, VideoIndex& index) {
  const int64_t claimed = reader.claimed_frames();
  if (reader.size_changed())
    index.warnings.push_back("the frame size changes; the frames before that are used");
  if (reader.bad_packets() > 0)
    index.warnings.push_back(fmt::format("{} damaged parts", reader.bad_packets()));
  if (reader.read_error() != 0)
    index.warnings.push_back("reading stops early: " + reason(reader.read_error()));
  // Some encoders count a last, empty frame.
  if (!reader.size_changed() && index.frames + 1 < claimed) {
    index.warnings.push_back(fmt::format("truncated: {} of {} frames are there", index.frames, claimed));
  }
}

}  // namespace

bool have_video() { return true; }

int64_t count_video_packets(const std::string& path) {
  Reader reader(path);
  int64_t count = 0;
  while (reader.next_packet()) ++count;
  return count;
}

VideoIndex index_video(const std::string& path, const FrameSink& sink) {
  Reader reader(path);
  VideoIndex index;
  index.rate = reader.rate();
  bool increasing = true;
  Image image;
  while (reader.next_frame(image)) {
    index.size = image.size();
    increasing = increasing && reader.time() != AV_NOPTS_VALUE &&
                 (index.times.empty() || reader.time() > index.times.back());
    if (increasing) index.times.push_back(reader.time());
    sink(index.frames++, image);
  }
  if (!increasing) index.times.clear();
  add_warnings(reader, index);
  if (index.frames == 0) fail_video(path, "a video with at least one frame", "none that can be decoded");
  return index;
}

void decode_video(const std::string& path, const VideoIndex& index, FrameRange range, const FrameSink& sink) {
  if (range.first < 0 || range.count < 0 || range.first + range.count > index.frames) {
    fail_video(path, fmt::format("frames from 0 to {}", index.frames),
               fmt::format("{} to {}", range.first, range.first + range.count));
  }
  if (range.count == 0) return;
  Image image;
  int64_t frame = 0;
  auto reader = std::make_unique<Reader>(path);
  bool found = false;
  if (!index.times.empty() && range.first > 0 &&
      reader->seek(index.times[static_cast<size_t>(range.first)])) {
    // Decode from the key frame up to the wanted time; a file whose times do not meet again is read from the
    // front.
    const int64_t wanted = index.times[static_cast<size_t>(range.first)];
    do {
      found = reader->next_frame(image);
    } while (found && reader->time() < wanted);
    found = found && reader->time() == wanted;
    frame = range.first;
  }
  if (!found) {
    reader = std::make_unique<Reader>(path);
    for (frame = 0, found = true; found && frame <= range.first; ++frame) found = reader->next_frame(image);
    frame = range.first;
  }
  for (; found; found = reader->next_frame(image)) {
    sink(frame++, image);
    if (frame == range.first + range.count) return;
  }
  fail_video(path, fmt::format("{} frames as at first", index.frames),
             fmt::format("{}: the file has changed", frame));
}

}  // namespace millrace
