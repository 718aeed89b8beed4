// TensorBoard event files: scalars and pictures by step.
//
// Framing (tensorflow/core/lib/io/record_writer.h): uint64 length, uint32 masked CRC32C of these 8 bytes, the
// data, uint32 masked CRC32C of the data; little endian. The data is a protobuf Event
// (tensorflow/core/util/event.proto), encoded here by hand: wall_time = 1 (double), step = 2 (int64),
// file_version = 3 (string), summary = 5; in Summary value = 1; in Value tag = 1, simple_value = 2 (float),
// image = 4; in Image height = 1, width = 2, colorspace = 3, encoded_image_string = 4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files.h"

namespace millrace {

struct EventImage {
  std::string tag = {};
  int64_t height = 0;  // pixels
  int64_t width = 0;
  int64_t channels = 3;  // 1 grey, 3 RGB, 4 RGBA
  std::string png = {};  // the bytes of a PNG file
};

struct Event {
  int64_t step = 0;
  double wall_time = 0;           // seconds since 1970; 0 for now, when written
  std::string file_version = {};  // of the first event of a file only
  std::vector<std::pair<std::string, float>> scalars = {};
  std::vector<EventImage> images = {};
};

// CRC-32C (Castagnoli), and TensorFlow's mask of it.
uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);

// One framed record.
std::string encode_event(const Event& event);

// Appends to the file; a new one begins with file version "brain.Event:2". What a kill has torn off must have
// been trimmed before. Errors are ErrorKind::runtime with the path.
class EventWriter {
 public:
  explicit EventWriter(std::filesystem::path path);
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;
  ~EventWriter();  // flushes; a failure there is lost

  void write(const Event& event);
  void flush();

 private:
  std::filesystem::path path_;
  FileHandle file_;
  std::string buffer_;
};

// Reads the events in order, up to the end or the first broken record.
class EventReader {
 public:
  explicit EventReader(std::filesystem::path path);
  std::optional<Event> next();
  // The framed bytes of the event that next() returned.
  std::string_view record() const { return record_; }
  // After the last event: the file goes on with something that is no whole record.
  bool torn() const { return torn_; }

 private:
  std::filesystem::path path_;
  FileHandle file_;
  uint64_t size_ = 0;
  uint64_t at_ = 0;
  bool torn_ = false;
  std::string record_;
};

// Rewrites the file atomically with the events of step <= last_step and the file version; drops a torn end.
// Nothing happens when there is no file. Returns the number of events dropped, with the torn end as one.
int64_t trim_events(const std::filesystem::path& path, int64_t last_step);

}  // namespace millrace
