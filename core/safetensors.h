// Reader and writer of safetensors files: 8 bytes header length (little endian), a JSON header, then the
// tensors' bytes, C order, little endian. Source: github.com/huggingface/safetensors, README, "Format".
// Neither holds more of a file in memory than its header and one bounded buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"

namespace millrace {

struct TensorEntry {
  std::string name = {};
  std::string dtype = {};  // BOOL U8 I8 U16 I16 F16 BF16 U32 I32 F32 U64 I64 F64
  std::vector<int64_t> shape = {};
  uint64_t begin = 0;  // bytes from the start of the data, set by the reader
  uint64_t end = 0;

  int64_t count() const;  // elements; 1 for a scalar
  uint64_t bytes() const { return end - begin; }
};

// Bytes of an element, 0 for a name that is no known dtype.
int64_t safetensors_dtype_bytes(std::string_view dtype);

// out.size() elements of a known `dtype` as doubles: exact but for 64-bit integers, which are rounded.
void safetensors_to_double(std::string_view dtype, std::span<const std::byte> bytes, std::span<double> out);

// Fills `chunk` with bytes [offset, offset + chunk.size()) of tensor `entry`. Chunks of a tensor come in
// order and are whole elements.
using TensorSource =
    std::function<void(const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk)>;

struct SafetensorsContent {
  std::vector<TensorEntry> tensors = {};             // in the order of the file; begin and end are not read
  std::map<std::string, std::string> metadata = {};  // any strings of UTF-8
};

// Written atomically (core/files.h). ErrorKind::usage for a name twice, an unknown dtype or a bad shape.
void write_safetensors(const std::filesystem::path& path, const SafetensorsContent& content,
                       const TensorSource& source);

// Opens a file that may be hostile: everything in its header is checked against the rules of the format and
// the size of the file before it is used. All errors are ErrorKind::data with file, tensor, expected and got.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(std::filesystem::path path);

  const std::vector<TensorEntry>& tensors() const { return tensors_; }  // in the order of the file
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }
  bool has(std::string_view name) const { return index_.find(name) != index_.end(); }
  const TensorEntry& entry(std::string_view name) const;

  // The whole tensor; `out` has its number of elements. To float from F32, F16, BF16 and F64 (rounded to
  // nearest); to double from those, exactly; to int64 from every integer dtype and BOOL; to uint8 from U8 and
  // BOOL.
  void read(std::string_view name, std::span<float> out) const { read_part(name, 0, out, true); }
  void read(std::string_view name, std::span<double> out) const { read_part(name, 0, out, true); }
  void read(std::string_view name, std::span<int64_t> out) const { read_part(name, 0, out, true); }
  void read(std::string_view name, std::span<uint8_t> out) const { read_part(name, 0, out, true); }

  // Elements [first, first + out.size()).
  template <class T> void read_some(std::string_view name, int64_t first, std::span<T> out) const {
    read_part(name, first, out, false);
  }

  // The bytes as they are, from byte `offset` of the tensor.
  void read_bytes(std::string_view name, uint64_t offset, std::span<std::byte> out) const;

 private:
  template <class T> void read_part(std::string_view name, int64_t first, std::span<T> out, bool whole) const;
  void parse(const std::string& header, uint64_t data_bytes);
  void check_layout(uint64_t data_bytes);

  std::filesystem::path path_;
  FileHandle file_;
  uint64_t data_start_ = 0;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace millrace
