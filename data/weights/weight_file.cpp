#include "data/weights/weight_file.h"

#include <array>
#include <string_view>

#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "data/weights/caffemodel.h"
#include "data/weights/text.h"
#include "data/weights/torch_file.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class Safetensors : public WeightFile {
 public:
  explicit Safetensors(const fs::path& path) : WeightFile(path), reader_(path) {
    for (const TensorEntry& entry : reader_.tensors())
      tensors_.push_back({entry.name, entry.dtype, entry.shape});
    metadata_ = reader_.metadata();
  }
  std::string format() const override { return "safetensors"; }
  void read(size_t tensor, int64_t first, std::span<double> out) const override {
    const WeightTensor& t = tensors_.at(tensor);
    const auto size = static_cast<uint64_t>(safetensors_dtype_bytes(t.dtype));
    std::vector<std::byte> bytes(out.size() * size);
    reader_.read_bytes(t.name, static_cast<uint64_t>(first) * size, bytes);
    safetensors_to_double(t.dtype, bytes, out);
  }

 private:
  SafetensorsReader reader_;
};

constexpr std::string_view kZip = "PK\x03\x04";

std::string front_of(const fs::path& path) {
  std::string front(64, char{0});
  const FileHandle file = open_for_reading(path);
  front.resize(read_at(file, path, 0, std::as_writable_bytes(std::span(front))));
  return front;
}

// The length of a header, and the header, which is JSON.
bool begins_like_safetensors(std::string_view front) { return front.size() > 8 && front[8] == '{'; }

// Files that people take for weights.
std::string seems_to_be(std::string_view front) {
  constexpr std::array<std::pair<std::string_view, const char*>, 6> kKnown = {{
      {"version https://git-lfs", "a pointer of Git LFS, not the file (git lfs pull fetches it)"},
      {"<", "a web page: the download did not give the file"},
      {"\x89HDF\r\n", "HDF5, as Keras writes it"},
      {"\x1f\x8b", "a gzip archive: unpack it first"},
      {"name:", "a .prototxt, which describes a net; its weights are in a .caffemodel"},
      {"\x80", "a pickle of Python that torch.save did not write"},
  }};
  if (front.empty()) return "an empty file";
  for (const auto& [start, what] : kKnown)
    if (front.starts_with(start)) return what;
  return "a file that begins with " + in_quotes(front.substr(0, 12));
}

}  // namespace

int64_t WeightTensor::count() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

uint64_t WeightTensor::bytes() const {
  return static_cast<uint64_t>(count() * safetensors_dtype_bytes(dtype));
}

WeightFilePtr open_weights(const fs::path& path) {
  const std::string front = front_of(path);
  if (begins_like_safetensors(front) || path.extension() == ".safetensors")
    return std::make_unique<Safetensors>(path);
  if (front.starts_with(kZip)) return open_torch_zip(path);
  if (begins_like_torch_stream(front)) return open_torch_stream(path);
  if (begins_like_caffemodel(front)) return open_caffemodel(path);
  fail(ErrorKind::data,
       {path.string(), "weights: a .caffemodel, .pth, .pt or .safetensors", seems_to_be(front), ""});
}

bool seems_weights(const fs::path& path) {
  const std::string name = path.filename().string();
  for (const char* end : {".caffemodel", ".pth", ".pt", ".pth.tar", ".safetensors"})
    if (name.ends_with(end)) return true;
  const std::string front = front_of(path);
  return front.starts_with(kZip) || begins_like_torch_stream(front);
}

}  // namespace millrace
