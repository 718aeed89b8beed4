#include "data/weights/zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "core/error.h"
#include "data/weights/byte_range.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kLocator64 = 0x07064b50;
constexpr uint64_t kEndBytes = 22, kLocatorBytes = 20, kLongestComment = 65535;
constexpr uint16_t kIn64 = 0xffff;   // a count that stands in the zip64 record
constexpr uint32_t kIn64Long = ~0u;  // a size or offset that does
constexpr uint16_t kEncrypted = 1, kStored = 0, kExtra64 = 1;
const char* const kHint = "Is the file whole?";

struct Directory {
  uint64_t begin = 0, bytes = 0, entries = 0;
};

// The end record stands last, but for a comment.
uint64_t find_end(const FileHandle& file, const fs::path& path, uint64_t size) {
  const uint64_t tail = std::min(size, kEndBytes + kLongestComment);
  std::vector<std::byte> bytes(tail);
  bytes.resize(read_at(file, path, size - tail, bytes));
  for (size_t back = kEndBytes; back <= bytes.size(); ++back) {
    uint32_t signature = 0;
    std::memcpy(&signature, bytes.data() + (bytes.size() - back), sizeof signature);
    if (signature == kEnd) return size - back;
  }
  fail(ErrorKind::data, {path.string(), "a zip archive with its directory at the end", "no such end",
                         "The file is cut off or broken"});
}

Directory read_end(const FileHandle& file, const fs::path& path) {
  const uint64_t size = file_size_of(path), end = find_end(file, path, size);
  ByteRange in(file, path, end + 8, size);
  const char* what = "the end of the zip directory";
  in.skip(2, what);
  Directory directory;
  directory.entries = in.read_number<uint16_t>(what);
  directory.bytes = in.read_number<uint32_t>(what);
  directory.begin = in.read_number<uint32_t>(what);
  const bool in64 =
      directory.entries == kIn64 || directory.bytes == kIn64Long || directory.begin == kIn64Long;
  if (in64 && end >= kLocatorBytes) {
    ByteRange locator(file, path, end - kLocatorBytes, end);
    if (locator.read_number<uint32_t>(what) == kLocator64) {
      locator.skip(4, what);
      const auto at = locator.read_number<uint64_t>(what);
      if (at > end)
        fail(ErrorKind::data, {path.string(), "a zip64 directory before its end", "one behind", kHint});
      ByteRange end64(file, path, at, end);
      if (end64.read_number<uint32_t>(what) != kEnd64)
        fail(ErrorKind::data, {path.string(), "a zip64 directory's end", "other bytes", kHint});
      end64.skip(28, what);
      directory.entries = end64.read_number<uint64_t>(what);
      directory.bytes = end64.read_number<uint64_t>(what);
      directory.begin = end64.read_number<uint64_t>(what);
    }
  }
  if (directory.begin > end || directory.bytes > end - directory.begin)
    fail(ErrorKind::data, {path.string(), "a zip directory inside of the file",
                           fmt::format("{} bytes at {}", directory.bytes, directory.begin), kHint});
  return directory;
}

// Sizes and place that did not fit their 32 bits, from the extra field of zip64.
struct Sizes {
  uint64_t bytes = 0, packed = 0, local = 0;
};

void read_extra(ByteRange& in, uint64_t length, Sizes* sizes) {
  const char* what = "an extra field of the zip directory";
  if (length > in.left()) fail(ErrorKind::data, {in.where(), what, "its end", kHint});
  const uint64_t end = in.at() + length;
  while (in.at() + 4 <= end) {
    const auto id = in.read_number<uint16_t>(what);
    uint64_t left = in.read_number<uint16_t>(what);
    if (left > end - in.at()) fail(ErrorKind::data, {in.where(), what, "a longer one", kHint});
    if (id == kExtra64) {
      for (uint64_t* value : {&sizes->bytes, &sizes->packed, &sizes->local}) {
        if (*value != kIn64Long || left < 8) continue;
        *value = in.read_number<uint64_t>(what);
        left -= 8;
      }
    }
    in.skip(left, what);
  }
  in.skip(end - in.at(), what);
}

// Where the data begins: behind the entry's own header, whose name and extra field may have other lengths.
uint64_t data_of(const FileHandle& file, const fs::path& path, const std::string& name, uint64_t local,
                 uint64_t end) {
  const char* what = "the header of a zip entry";
  if (local > end)
    fail(ErrorKind::data, {path.string() + ": " + in_quotes(name), "a place inside of the file",
                           fmt::format("byte {}", local), kHint});
  ByteRange in(file, path, local, end);
  if (in.read_number<uint32_t>(what) != kLocal)
    fail(ErrorKind::data,
         {in.where(), fmt::format("the header of zip entry {}", in_quotes(name)), "other bytes", kHint});
  in.skip(22, what);
  const auto name_bytes = in.read_number<uint16_t>(what), extra_bytes = in.read_number<uint16_t>(what);
  in.skip(uint64_t{name_bytes} + extra_bytes, what);
  return in.at();
}

}  // namespace

std::map<std::string, ZipEntry> read_zip(const FileHandle& file, const fs::path& path) {
  const Directory directory = read_end(file, path);
  ByteRange in(file, path, directory.begin, directory.begin + directory.bytes);
  std::map<std::string, ZipEntry> entries;
  const char* what = "an entry of the zip directory";
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (in.read_number<uint32_t>(what) != kCentral)
      fail(ErrorKind::data, {in.where(), what, "other bytes", kHint});
    in.skip(4, what);
    const auto flags = in.read_number<uint16_t>(what), method = in.read_number<uint16_t>(what);
    in.skip(4, what);
    ZipEntry entry{.crc = in.read_number<uint32_t>(what)};
    Sizes sizes;
    sizes.packed = in.read_number<uint32_t>(what);
    sizes.bytes = in.read_number<uint32_t>(what);
    const auto name_bytes = in.read_number<uint16_t>(what), extra_bytes = in.read_number<uint16_t>(what),
               comment_bytes = in.read_number<uint16_t>(what);
    in.skip(8, what);
    sizes.local = in.read_number<uint32_t>(what);
    const std::string name = in.read_text(name_bytes, what);
    read_extra(in, extra_bytes, &sizes);
    in.skip(comment_bytes, what);
    entry.stored = (flags & kEncrypted) == 0 && method == kStored && sizes.packed == sizes.bytes;
    entry.begin = data_of(file, path, name, sizes.local, directory.begin);
    entry.bytes = sizes.packed;
    if (entry.bytes > directory.begin - entry.begin)
      fail(ErrorKind::data,
           {path.string() + ": " + in_quotes(name), fmt::format("{} bytes of data", entry.bytes),
            fmt::format("{} until the directory", directory.begin - entry.begin), kHint});
    if (!entries.emplace(name, entry).second)
      fail(ErrorKind::data, {path.string(), "each zip entry once", in_quotes(name) + " twice", ""});
  }
  return entries;
}

void check_data(const FileHandle& file, const fs::path& path, const std::string& name,
                const ZipEntry& entry) {
  if (!entry.stored) {
    fail(ErrorKind::data, {path.string() + ": " + in_quotes(name), "zip entries that are stored as they are",
                           "a compressed or encrypted one",
                           "PyTorch does not compress: unpack the archive and zip it with -0"});
  }
  if (entry.crc == 0) return;  // torch.serialization.set_crc32_options(False)
  ByteRange in(file, path, entry.begin, entry.begin + entry.bytes);
  std::vector<std::byte> buffer(std::min<uint64_t>(entry.bytes, 1 << 20));
  uLong crc = ::crc32(0, nullptr, 0);
  while (in.left() > 0) {
    const auto chunk = std::span(buffer).first(std::min<uint64_t>(buffer.size(), in.left()));
    in.read(chunk, "a zip entry");
    crc = ::crc32(crc, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<uInt>(chunk.size()));
  }
  if (crc == entry.crc) return;
  fail(ErrorKind::data, {path.string() + ": " + in_quotes(name), fmt::format("CRC-32 {:08x}", entry.crc),
                         fmt::format("{:08x}", crc), "The file was damaged on its way; fetch it again"});
}

}  // namespace millrace
