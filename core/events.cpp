#include "core/events.h"

#include <array>
#include <chrono>
#include <cstring>
#include <system_error>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFileVersion = "brain.Event:2";
constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 30;
constexpr size_t kBufferBytes = 1 << 16;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

template <class T> std::string raw(T value) { return {reinterpret_cast<const char*>(&value), sizeof(T)}; }

template <class T> T raw_at(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// --- protobuf: a field is a varint (number << 3 | wire type), then its value ---
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  return out + static_cast<char>(value);
}

std::string key(uint64_t number, WireType type) { return varint(number << 3 | type); }
std::string field(uint64_t number, int64_t value) {
  return key(number, kVarint) + varint(static_cast<uint64_t>(value));
}
std::string field(uint64_t number, double value) { return key(number, kFixed64) + raw(value); }
std::string field(uint64_t number, float value) { return key(number, kFixed32) + raw(value); }
std::string field(uint64_t number, std::string_view value) {
  return key(number, kBytes) + varint(value.size()) + std::string(value);
}

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // varint, fixed64 or fixed32
  std::string_view bytes;  // of wire type kBytes
};

// Takes fields off the front of a message; ok() is false once something did not fit.
class Fields {
 public:
  explicit Fields(std::string_view rest) : rest_(rest) {}
  bool ok() const { return ok_; }

  std::optional<Field> next() {
    if (rest_.empty() || !ok_) return std::nullopt;
    const uint64_t tag = take_varint();
    Field out{.number = tag >> 3, .value = 0, .bytes = {}};
    switch (tag & 7) {
      case kVarint:
        out.value = take_varint();
        break;
      case kFixed64:
        out.value = take_fixed<uint64_t>();
        break;
      case kFixed32:
        out.value = take_fixed<uint32_t>();
        break;
      case kBytes:
        out.bytes = take(take_varint());
        break;
      default:
        ok_ = false;
    }
    return ok_ ? std::optional(out) : std::nullopt;
  }

 private:
  std::string_view take(uint64_t n) {
    ok_ = ok_ && n <= rest_.size();
    if (!ok_) return {};
    const auto out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }
  template <class T> T take_fixed() {
    const auto bytes = take(sizeof(T));
    return ok_ ? raw_at<T>(bytes, 0) : T{};
  }
  uint64_t take_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = take_fixed<uint8_t>();
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    ok_ = false;
    return 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

float float_of(uint64_t bits) { return raw_at<float>(raw(static_cast<uint32_t>(bits)), 0); }

bool parse_image(std::string_view message, EventImage* image) {
  Fields fields(message);
  while (const auto f = fields.next()) {
    if (f->number == 1) image->height = static_cast<int64_t>(f->value);
    if (f->number == 2) image->width = static_cast<int64_t>(f->value);
    if (f->number == 3) image->channels = static_cast<int64_t>(f->value);
    if (f->number == 4) image->png = f->bytes;
  }
  return fields.ok();
}

bool parse_value(std::string_view message, Event* event) {
  Fields fields(message);
  std::string tag;
  std::optional<float> scalar;
  std::optional<EventImage> image;
  while (const auto f = fields.next()) {
    if (f->number == 1) tag = f->bytes;
    if (f->number == 2) scalar = float_of(f->value);
    if (f->number == 4 && !parse_image(f->bytes, &image.emplace())) return false;
  }
  if (scalar) event->scalars.emplace_back(tag, *scalar);
  if (image) {
    image->tag = tag;
    event->images.push_back(*std::move(image));
  }
  return fields.ok();
}

bool parse_event(std::string_view message, Event* event) {
  Fields fields(message);
  while (const auto f = fields.next()) {
    if (f->number == 1) event->wall_time = raw_at<double>(raw(f->value), 0);
    if (f->number == 2) event->step = static_cast<int64_t>(f->value);
    if (f->number == 3) event->file_version = f->bytes;
    if (f->number != 5) continue;
    Fields values(f->bytes);
    while (const auto value = values.next()) {
      if (value->number == 1 && !parse_value(value->bytes, event)) return false;
    }
    if (!values.ok()) return false;
  }
  return fields.ok();
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 255] ^ (crc >> 8);
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

std::string encode_event(const Event& event) {
  std::string summary;
  for (const auto& [tag, value] : event.scalars) {
    summary += field(1, std::string_view(field(1, std::string_view(tag)) + field(2, value)));
  }
  for (const EventImage& image : event.images) {
    const std::string inner = field(1, image.height) + field(2, image.width) + field(3, image.channels) +
                              field(4, std::string_view(image.png));
    summary +=
        field(1, std::string_view(field(1, std::string_view(image.tag)) + field(4, std::string_view(inner))));
  }
  std::string data = field(1, event.wall_time) + field(2, event.step);
  if (!event.file_version.empty()) data += field(3, std::string_view(event.file_version));
  if (!summary.empty()) data += field(5, std::string_view(summary));
  const std::string length = raw(static_cast<uint64_t>(data.size()));
  return length + raw(masked_crc32c(length)) + data + raw(masked_crc32c(data));
}

EventWriter::EventWriter(fs::path path) : path_(std::move(path)) {
  file_ = open_for_appending(path_);
  if (file_size_of(path_) > 0) return;
  write({.file_version = std::string(kFileVersion)});
  flush();
}

EventWriter::~EventWriter() {
  try {
    flush();
  } catch (const Error&) {
  }
}

void EventWriter::write(const Event& event) {
  if (event.wall_time != 0) {
    buffer_ += encode_event(event);
  } else {
    Event dated = event;
    dated.wall_time = now();
    buffer_ += encode_event(dated);
  }
  if (buffer_.size() > kBufferBytes) flush();
}

void EventWriter::flush() {
  // Cleared first: a part may be written, and writing it again would follow a torn record.
  const std::string bytes = std::exchange(buffer_, {});
  write_all(file_, path_, std::as_bytes(std::span(bytes)));
}

EventReader::EventReader(fs::path path) : path_(std::move(path)) {
  file_ = open_for_reading(path_);
  size_ = file_size_of(path_);
}

std::optional<Event> EventReader::next() {
  if (at_ == size_ || torn_) return std::nullopt;
  torn_ = true;
  const auto read = [&](uint64_t bytes) {
    const size_t before = record_.size();
    record_.resize(before + bytes);
    return read_at(file_, path_, at_ + before, std::as_writable_bytes(std::span(record_)).subspan(before)) ==
           bytes;
  };
  record_.clear();
  if (!read(12) || raw_at<uint32_t>(record_, 8) != masked_crc32c(record_.substr(0, 8))) return std::nullopt;
  const auto length = raw_at<uint64_t>(record_, 0);
  if (length > kMaxRecordBytes || length > size_ - at_ || !read(length + 4)) return std::nullopt;
  const std::string_view data = std::string_view(record_).substr(12, length);
  Event event;
  if (raw_at<uint32_t>(record_, 12 + length) != masked_crc32c(data) || !parse_event(data, &event))
    return std::nullopt;
  at_ += record_.size();
  torn_ = false;
  return event;
}

int64_t trim_events(const fs::path& path, int64_t last_step) {
  std::error_code code;
  if (!fs::exists(path, code)) return 0;
  EventReader reader(path);
  AtomicFile kept(path);
  int64_t dropped = 0;
  while (const auto event = reader.next()) {
    if (event->step <= last_step || !event->file_version.empty()) {
      kept.write(reader.record());
    } else {
      ++dropped;
    }
  }
  kept.commit();
  return dropped + (reader.torn() ? 1 : 0);
}

}  // namespace millrace
