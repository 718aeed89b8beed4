// What the reader of safetensors files takes lies within the file, and comes back when it is written.
#include "core/safetensors.h"

#include <cstdint>
#include <optional>

#include "tests/fuzz/support.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using fuzz::accepts;
using fuzz::require;

namespace {

std::vector<std::byte> bytes_of(const SafetensorsReader& reader, const TensorEntry& entry) {
  std::vector<std::byte> bytes(entry.bytes());
  reader.read_bytes(entry.name, 0, bytes);
  return bytes;
}

// Refused where the type cannot hold the file's.
template <class T> void read_as(const SafetensorsReader& reader, const TensorEntry& entry) {
  std::vector<T> values(static_cast<size_t>(entry.count()));
  accepts([&] { reader.read(entry.name, std::span(values)); });
}

void require_equal(const SafetensorsReader& a, const SafetensorsReader& b) {
  require(a.metadata() == b.metadata(), "metadata comes back");
  require(a.tensors().size() == b.tensors().size(), "all tensors come back");
  for (const TensorEntry& entry : a.tensors()) {
    const TensorEntry& other = b.entry(entry.name);
    require(entry.dtype == other.dtype && entry.shape == other.shape, "dtype and shape come back");
    require(bytes_of(a, entry) == bytes_of(b, other), "data comes back");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  std::optional<SafetensorsReader> reader;
  if (!accepts([&] { reader.emplace(file.path()); })) return 0;
  for (const TensorEntry& entry : reader->tensors()) {
    require(entry.bytes() <= size, "a tensor lies within the file");
    read_as<float>(*reader, entry);
    read_as<double>(*reader, entry);
    read_as<int64_t>(*reader, entry);
    read_as<uint8_t>(*reader, entry);
  }
  static const test::TemporaryFolder folder;
  write_safetensors(folder / "copy", {.tensors = reader->tensors(), .metadata = reader->metadata()},
                    [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
                      reader->read_bytes(entry.name, offset, chunk);
                    });
  require_equal(*reader, SafetensorsReader(folder / "copy"));
  return 0;
}
