#include "data/weights/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/safetensors.h"
#include "data/weights/text.h"
#include "data/weights/torch_tensors.h"
#include "data/weights/zip.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Kind = PickleItem::Kind;

// The pickles before that of the object: a number that no other file begins with, the format's version, and
// the machine that wrote it. 0x1950a86a20f9469cfc6c, little endian.
constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kStreamVersion = 1001;

std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i > 1; --i) strides[i - 2] = strides[i - 1] * shape[i - 1];
  return strides;
}

class TorchFile : public WeightFile {
 public:
  TorchFile(const fs::path& path, std::string format)
      : WeightFile(path), format_(std::move(format)), file_(open_for_reading(path)) {}

  std::string format() const override { return format_; }
  const FileHandle& file() const { return file_; }

  struct Place {
    ZipEntry data = {};
    std::string name = {};  // of the zip entry; a stream has none
  };
  // `places`: of each storage, by its key.
  void take(const Pickle& pickle, std::map<std::string, Place> places) {
    places_ = std::move(places);
    sources_ = find_torch_tensors(pickle, path().string());
    for (const TorchTensor& tensor : sources_) {
      tensors_.push_back({tensor.name, tensor.storage.dtype, tensor.shape});
      const uint64_t bytes = place_of(tensor.storage).data.bytes;
      const auto wanted = static_cast<unsigned __int128>(tensor.storage.count) *
                          static_cast<unsigned>(safetensors_dtype_bytes(tensor.storage.dtype));
      if (bytes == wanted) continue;
      fail(ErrorKind::data,
           {path().string() + ", tensor " + in_quotes(tensor.name),
            fmt::format("a storage of {} {} values", tensor.storage.count, tensor.storage.dtype),
            fmt::format("{} bytes", bytes), "The file is broken"});
    }
  }

  void read(size_t index, int64_t first, std::span<double> out) const override {
    const TorchTensor& tensor = sources_.at(index);
    check(tensor.storage);
    const auto size = static_cast<size_t>(safetensors_dtype_bytes(tensor.storage.dtype));
    if (tensor.contiguous()) {
      std::vector<std::byte> bytes(out.size() * size);
      read_storage(tensor, first, bytes);
      return safetensors_to_double(tensor.storage.dtype, bytes, out);
    }
    if (held_ != index) {
      held_.reset();
      held_bytes_.resize(static_cast<size_t>(tensor.reach()) * size);
      read_storage(tensor, 0, held_bytes_);
      held_ = index;
    }
    const std::vector<int64_t> dense = dense_strides(tensor.shape);
    for (size_t i = 0; i < out.size(); ++i) {
      int64_t rest = first + static_cast<int64_t>(i), at = 0;
      for (size_t axis = 0; axis < dense.size(); ++axis) {
        at += rest / dense[axis] * tensor.stride[axis];
        rest %= dense[axis];
      }
      const auto element = std::span(held_bytes_).subspan(static_cast<size_t>(at) * size, size);
      safetensors_to_double(tensor.storage.dtype, element, out.subspan(i, 1));
    }
  }

 private:
  const Place& place_of(const TorchStorage& storage) const {
    const auto found = places_.find(storage.key);
    if (found != places_.end()) return found->second;
    fail(ErrorKind::data,
         {path().string(), "the data of storage " + in_quotes(storage.key), "none", "The file is broken"});
  }

  // Once for each storage, when it is first read.
  void check(const TorchStorage& storage) const {
    const Place& place = place_of(storage);
    if (place.name.empty() || checked_.count(storage.key) > 0) return;
    check_data(file_, path(), place.name, place.data);
    checked_[storage.key] = true;
  }

  // From element `first` of the tensor on.
  void read_storage(const TorchTensor& tensor, int64_t first, std::span<std::byte> out) const {
    const Place& place = place_of(tensor.storage);
    const auto size = static_cast<uint64_t>(safetensors_dtype_bytes(tensor.storage.dtype));
    const uint64_t at = static_cast<uint64_t>(tensor.storage.view + tensor.offset + first) * size;
    ByteRange range(file_, path(), place.data.begin, place.data.begin + place.data.bytes);
    if (out.empty()) return;
    range.skip(at, "a tensor's data");
    range.read(out, "a tensor's data");
  }

  std::string format_;
  FileHandle file_;
  std::map<std::string, Place> places_;
  std::vector<TorchTensor> sources_;  // of each tensor
  mutable std::map<std::string, bool> checked_;
  mutable std::optional<size_t> held_;  // the strided tensor whose part of the storage is in held_bytes_
  mutable std::vector<std::byte> held_bytes_;
};

// "archive/data.pkl": the folder's name differs.
std::string pickle_entry(const fs::path& path, const std::map<std::string, ZipEntry>& entries) {
  for (const auto& [name, entry] : entries) {
    const size_t slash = name.find('/');
    if (slash == std::string::npos || name.substr(slash) != "/data.pkl") continue;
    if (entries.count(name.substr(0, slash) + "/constants.pkl") > 0) {
      fail(ErrorKind::data, {path.string(), "weights that torch.save wrote", "a TorchScript program",
                             "Load it by torch.jit.load and save model.state_dict()"});
    }
    return name;
  }
  fail(ErrorKind::data, {path.string(), "a zip archive of torch.save, with data.pkl in its folder",
                         fmt::format("{} other entries", entries.size()), ""});
}

[[noreturn]] void fail_big_endian(const fs::path& path) {
  fail(ErrorKind::data, {path.string(), "little-endian numbers", "big-endian ones",
                         "Load and save it again on a machine of today"});
}

void require_pickle_item(const fs::path& path, bool good, const char* expected) {
  if (!good) fail(ErrorKind::data, {path.string(), expected, "something else", "The file is broken"});
}

bool is_little_endian(const Pickle& machine) {
  const auto& parts = machine.at(machine.root).parts;
  for (size_t i = 0; i + 1 < parts.size(); i += 2)
    if (machine.at(parts[i]).text == "little_endian") return machine.at(parts[i + 1]).integer != 0;
  return true;
}

}  // namespace

WeightFilePtr open_torch_zip(const fs::path& path) {
  auto result = std::make_unique<TorchFile>(path, "pytorch");
  const std::map<std::string, ZipEntry> entries = read_zip(result->file(), path);
  const std::string pickle_name = pickle_entry(path, entries);
  const std::string folder = pickle_name.substr(0, pickle_name.find('/') + 1);
  const auto range_of = [&](const ZipEntry& e) {
    return ByteRange(result->file(), path, e.begin, e.begin + e.bytes);
  };
  if (const auto order = entries.find(folder + "byteorder"); order != entries.end()) {
    ByteRange range = range_of(order->second);
    if (range.read_text(std::min<uint64_t>(range.left(), 6), "a byte order") != "little")
      fail_big_endian(path);
  }
  const ZipEntry& entry = entries.at(pickle_name);
  check_data(result->file(), path, pickle_name, entry);
  ByteRange range = range_of(entry);
  const Pickle pickle = read_pickle(range, allowed_in_torch_file);
  std::map<std::string, TorchFile::Place> places;
  for (const auto& [name, e] : entries)
    if (name.starts_with(folder + "data/")) places[name.substr(folder.size() + 5)] = {e, name};
  result->take(pickle, std::move(places));
  return result;
}

WeightFilePtr open_torch_stream(const fs::path& path) {
  auto result = std::make_unique<TorchFile>(path, "pytorch-stream");
  ByteRange in(result->file(), path, 0, file_size_of(path));
  const auto next = [&] { return read_pickle(in, allowed_in_torch_file); };
  const Pickle magic = next(), version = next(), machine = next();
  require_pickle_item(path, magic.at(magic.root).text == kMagic, "PyTorch's magic number");
  require_pickle_item(path, version.at(version.root).integer == kStreamVersion,
                      "version 1001 of PyTorch's stream");
  require_pickle_item(path, machine.at(machine.root).kind == Kind::dict, "what machine wrote the file");
  if (!is_little_endian(machine)) fail_big_endian(path);
  const Pickle pickle = next(), keys = next();
  require_pickle_item(path, keys.at(keys.root).kind == Kind::list, "a list of storages");
  std::map<std::string, std::string> dtypes;
  for (const TorchStorage& storage : find_torch_storages(pickle, path.string()))
    dtypes[storage.key] = storage.dtype;
  std::map<std::string, TorchFile::Place> places;
  for (const PickleIndex i : keys.at(keys.root).parts) {
    const std::string& key = keys.at(i).text;
    require_pickle_item(path, dtypes.count(key) > 0, "storages that the pickle names");
    const auto count = in.read_number<uint64_t>("a storage's size");
    const auto size = static_cast<uint64_t>(safetensors_dtype_bytes(dtypes.at(key)));
    if (count > in.left() / size)
      fail(ErrorKind::data, {in.where(), fmt::format("a storage of {} {} values", count, dtypes.at(key)),
                             fmt::format("{} bytes to its end", in.left()), "The file is cut off or broken"});
    places[key] = {{.begin = in.at(), .bytes = count * size}};
    in.skip(count * size, "a storage");
  }
  result->take(pickle, std::move(places));
  return result;
}

bool begins_like_torch_stream(std::string_view front) {
  // The number comes first, behind a few bytes that differ between protocols.
  return front.starts_with('\x80') && front.substr(0, 32).find(kMagic) != front.npos;
}

}  // namespace millrace
