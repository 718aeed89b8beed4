#include "data/video_writer.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxExtent = 8190;  // of MPEG-4
constexpr int64_t kMaxRate = 1000;
constexpr int kQuantiser = 2;
constexpr const char* kRateFactor = "18";

std::string reason(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

template <auto release> struct Release {
  template <typename T> void operator()(T* pointer) const { release(&pointer); }
};
using Codec = std::unique_ptr<AVCodecContext, Release<avcodec_free_context>>;
using Packet = std::unique_ptr<AVPacket, Release<av_packet_free>>;
using Frame = std::unique_ptr<AVFrame, Release<av_frame_free>>;
struct ReleaseScaler {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
struct ReleaseContainer {
  void operator()(AVFormatContext* container) const { avformat_free_context(container); }
};

// Where libavformat writes: an AtomicFile. What that throws cannot pass through C, so it is kept for check();
// libavformat writes no more after the first failure.
class ContainerFile {
 public:
  explicit ContainerFile(const std::string& path);

  AVIOContext* context() const { return context_.get(); }
  void check() const {
    if (failure_) std::rethrow_exception(failure_);
  }
  void commit() {
    avio_flush(context_.get());
    check();
    file_.commit();
  }

 private:
  struct ReleaseContext {
    void operator()(AVIOContext* context) const {
      av_freep(&context->buffer);
      avio_context_free(&context);
    }
  };
  template <class Change> bool succeeds(const Change& change) {
    if (failure_) return false;
    try {
      change();
    } catch (...) {
      failure_ = std::current_exception();
    }
    return !failure_;
  }
  // Byte is const from libavformat 61 on.
  template <class Byte> static int write(void* self, Byte* bytes, int count);
  static int64_t seek(void* self, int64_t offset, int whence);

  AtomicFile file_;
  int64_t at_ = 0, size_ = 0;
  std::exception_ptr failure_;
  std::unique_ptr<AVIOContext, ReleaseContext> context_;
};

ContainerFile::ContainerFile(const std::string& path) : file_(path) {
  constexpr int kBufferBytes = 1 << 15;
  auto* buffer = static_cast<uint8_t*>(av_malloc(kBufferBytes));
  if (buffer != nullptr)
    context_.reset(avio_alloc_context(buffer, kBufferBytes, 1, this, nullptr, &write, &seek));
  if (context_) return;
  av_free(buffer);
  fail(ErrorKind::runtime, {.where = path, .expected = "memory", .got = "none"});
}

template <class Byte> int ContainerFile::write(void* self, Byte* bytes, int count) {
  auto& to = *static_cast<ContainerFile*>(self);
  const auto size = static_cast<size_t>(count);
  if (!to.succeeds([&] { to.file_.write(std::as_bytes(std::span(bytes, size))); })) return AVERROR(EIO);
  to.at_ += count;
  to.size_ = std::max(to.size_, to.at_);
  return count;
}

int64_t ContainerFile::seek(void* self, int64_t offset, int whence) {
  auto& to = *static_cast<ContainerFile*>(self);
  if (whence == AVSEEK_SIZE) return to.size_;
  if (whence != SEEK_SET || offset < 0) return AVERROR(EINVAL);  // libavformat itself resolves SEEK_CUR
  if (!to.succeeds([&] { to.file_.seek(static_cast<uint64_t>(offset)); })) return AVERROR(EIO);
  return to.at_ = offset;
}

const char* container_of(const std::string& path) {
  const std::string extension = fs::path(path).extension().string();
  if (extension == ".mp4") return "mp4";
  if (extension == ".mov") return "mov";
  if (extension == ".mkv") return "matroska";
  if (extension == ".avi") return "avi";
  fail(ErrorKind::usage, {.where = path, .expected = "a video .mp4, .mkv, .mov or .avi", .got = extension});
}

void check(const VideoWriterOptions& o) {
  if (o.size.height < 1 || o.size.width < 1 || o.size.height > kMaxExtent || o.size.width > kMaxExtent) {
    fail(ErrorKind::usage, {.where = o.path,
                            .expected = fmt::format("pictures of 1x1 to {0}x{0} pixels", kMaxExtent),
                            .got = fmt::format("{}x{}", o.size.width, o.size.height)});
  }
  if (o.rate < 1 || o.rate > kMaxRate) {
    fail(ErrorKind::usage, {.where = o.path,
                            .expected = fmt::format("1 to {} pictures a second", kMaxRate),
                            .got = std::to_string(o.rate)});
  }
}

}  // namespace

class VideoWriter::Encoder {
 public:
  explicit Encoder(const VideoWriterOptions& o);
  void add(const Image& image);
  void finish();

 private:
  void open_codec(const VideoWriterOptions& o);
  void send(const AVFrame* frame);
  void convert(const Image& image);
  void need(int code, const char* what) const {
    if (file_) file_->check();  // says more than the code
    if (code < 0) fail(ErrorKind::runtime, {.where = path_, .expected = what, .got = reason(code)});
  }

  std::string path_;
  Size size_;
  std::unique_ptr<ContainerFile> file_;
  std::unique_ptr<AVFormatContext, ReleaseContainer> container_;
  Codec codec_;
  Packet packet_{av_packet_alloc()};
  Frame frame_{av_frame_alloc()};
  std::unique_ptr<SwsContext, ReleaseScaler> scaler_;
  std::vector<uint8_t> rows_;  // a picture with its last row and column repeated
  AVStream* stream_ = nullptr;
  int64_t count_ = 0;
};

VideoWriter::Encoder::Encoder(const VideoWriterOptions& o) : path_(o.path), size_(o.size) {
  check(o);
  av_log_set_level(AV_LOG_QUIET);
  AVFormatContext* made = nullptr;
  need(avformat_alloc_output_context2(&made, nullptr, container_of(path_), nullptr), "a container");
  container_.reset(made);
  container_->flags |= AVFMT_FLAG_BITEXACT;  // no date: equal pictures give equal files
  open_codec(o);
  stream_ = avformat_new_stream(made, nullptr);
  if (stream_ == nullptr || !packet_ || !frame_)
    fail(ErrorKind::runtime, {.where = path_, .expected = "memory", .got = "none"});
  stream_->time_base = codec_->time_base;
  stream_->avg_frame_rate = codec_->framerate;
  need(avcodec_parameters_from_context(stream_->codecpar, codec_.get()), "a video stream");
  frame_->format = codec_->pix_fmt;
  frame_->width = codec_->width;
  frame_->height = codec_->height;
  need(av_frame_get_buffer(frame_.get(), 0), "memory for a picture");
  scaler_.reset(sws_getContext(codec_->width, codec_->height, AV_PIX_FMT_BGR24, codec_->width, codec_->height,
                               codec_->pix_fmt, SWS_AREA | SWS_ACCURATE_RND, nullptr, nullptr, nullptr));
  if (!scaler_) fail(ErrorKind::runtime, {.where = path_, .expected = "a scaler", .got = "none"});
  file_ = std::make_unique<ContainerFile>(path_);
  container_->pb = file_->context();
  container_->flags |= AVFMT_FLAG_CUSTOM_IO;
  need(avformat_write_header(container_.get(), nullptr), "to write a video");
}

void VideoWriter::Encoder::open_codec(const VideoWriterOptions& o) {
  const bool avi = std::strcmp(container_->oformat->name, "avi") == 0;
  const AVCodec* encoder = avi ? nullptr : avcodec_find_encoder_by_name("libx264");
  const bool x264 = encoder != nullptr;
  if (!x264) encoder = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
  if (encoder == nullptr)
    fail(ErrorKind::runtime, {.where = path_, .expected = "an encoder of H.264 or MPEG-4", .got = "none"});
  codec_.reset(avcodec_alloc_context3(encoder));
  if (!codec_) fail(ErrorKind::runtime, {.where = path_, .expected = "memory", .got = "none"});
  codec_->width = static_cast<int>((o.size.width + 1) / 2 * 2);
  codec_->height = static_cast<int>((o.size.height + 1) / 2 * 2);
  codec_->time_base = {1, static_cast<int>(o.rate)};
  codec_->framerate = {static_cast<int>(o.rate), 1};
  codec_->pix_fmt = AV_PIX_FMT_YUV420P;
  codec_->color_range = AVCOL_RANGE_MPEG;  // swscale's own
  codec_->colorspace = AVCOL_SPC_SMPTE170M;
  codec_->thread_count = 1;
  codec_->flags |= AV_CODEC_FLAG_BITEXACT;
  if (container_->oformat->flags & AVFMT_GLOBALHEADER) codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  if (x264) {
    av_opt_set(codec_->priv_data, "crf", kRateFactor, 0);
  } else {
    codec_->flags |= AV_CODEC_FLAG_QSCALE;
    codec_->global_quality = FF_QP2LAMBDA * kQuantiser;
  }
  need(avcodec_open2(codec_.get(), encoder, nullptr), "an encoder");
}

void VideoWriter::Encoder::convert(const Image& image) {
  const auto width = static_cast<size_t>(codec_->width), height = static_cast<size_t>(codec_->height);
  constexpr size_t kSlack = 64;  // swscale reads whole vectors
  rows_.resize(3 * width * height + kSlack);
  for (size_t i = 0; i < height; ++i) {
    const uint8_t* from = image.at(std::min(static_cast<int64_t>(i), size_.height - 1), 0);
    uint8_t* to = rows_.data() + 3 * width * i;
    std::memcpy(to, from, static_cast<size_t>(3 * size_.width));
    if (static_cast<int64_t>(width) > size_.width)
      std::memcpy(to + 3 * size_.width, to + 3 * (size_.width - 1), 3);
  }
  const uint8_t* planes[4] = {rows_.data(), nullptr, nullptr, nullptr};
  const int pitches[4] = {static_cast<int>(3 * width), 0, 0, 0};
  need(av_frame_make_writable(frame_.get()), "memory for a picture");
  sws_scale(scaler_.get(), planes, pitches, 0, codec_->height, frame_->data, frame_->linesize);
}

void VideoWriter::Encoder::add(const Image& image) {
  if (image.size() != size_ || image.channels != 3) {
    fail(ErrorKind::data,
         {.where = path_,
          .expected = fmt::format("pictures of {}x{} pixels as the first", size_.width, size_.height),
          .got = fmt::format("{}x{}", image.width, image.height)});
  }
  convert(image);
  frame_->pts = count_++;
  frame_->pict_type = AV_PICTURE_TYPE_NONE;
  send(frame_.get());
}

void VideoWriter::Encoder::send(const AVFrame* frame) {
  need(avcodec_send_frame(codec_.get(), frame), "to encode a picture");
  for (;;) {
    const int code = avcodec_receive_packet(codec_.get(), packet_.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    need(code, "to encode a picture");
    packet_->stream_index = stream_->index;
    packet_->duration = 1;
    av_packet_rescale_ts(packet_.get(), codec_->time_base, stream_->time_base);
    need(av_interleaved_write_frame(container_.get(), packet_.get()), "to write a video");
  }
}

void VideoWriter::Encoder::finish() {
  send(nullptr);
  need(av_write_trailer(container_.get()), "to write a video");
  file_->commit();
}

VideoWriter::VideoWriter(const VideoWriterOptions& options) : encoder_(std::make_unique<Encoder>(options)) {}
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(const Image& image) { encoder_->add(image); }
void VideoWriter::finish() { encoder_->finish(); }
void require_video_writer() {}

}  // namespace millrace
