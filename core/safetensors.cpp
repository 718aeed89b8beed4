#include "core/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/safetensors_elements.h"

namespace millrace {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is read and written as it lies in memory");

using Json = nlohmann::json;
using elements::conversion, elements::Convert, elements::convert, elements::kAccepts;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr uint64_t kChunkBytes = uint64_t{1} << 20;

struct DtypeName {
  std::string_view name;
  int64_t bytes;
};
constexpr DtypeName kDtypes[] = {{"BOOL", 1}, {"U8", 1},   {"I8", 1},  {"U16", 2}, {"I16", 2},
                                 {"F16", 2},  {"BF16", 2}, {"U32", 4}, {"I32", 4}, {"F32", 4},
                                 {"U64", 8},  {"I64", 8},  {"F64", 8}};

std::string all_dtypes() {
  std::string text = "one of";
  for (const DtypeName& d : kDtypes) text += " " + std::string(d.name);
  return text;
}

// A name from a file, short and without control characters.
std::string in_quotes(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, 100)) text += static_cast<unsigned char>(c) < 32 ? '?' : c;
  return text + (name.size() > 100 ? "...'" : "'");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

std::string where_of(const std::filesystem::path& path, std::string_view name) {
  return path.string() + ", tensor " + in_quotes(name);
}

// False when the product leaves int64.
bool bytes_of_shape(const TensorEntry& entry, int64_t* bytes) {
  *bytes = safetensors_dtype_bytes(entry.dtype);
  for (const int64_t extent : entry.shape) {
    if (extent < 0 || __builtin_mul_overflow(*bytes, extent, bytes)) return false;
  }
  return true;
}

// nlohmann keeps the last of two equal keys and says nothing, and dumps nested values by recursion; this
// stops at the second of two keys and at a depth that no header has.
class HeaderRules {
 public:
  explicit HeaderRules(const std::filesystem::path& path) : path_(path) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > 8) fail(ErrorKind::data, {path_.string(), "a JSON header nested 3 deep", "deeper", {}});
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      fail(ErrorKind::data,
           {path_.string(), "each name once", in_quotes(parsed.get<std::string>()) + " twice", {}});
    }
    return true;
  }

 private:
  const std::filesystem::path& path_;
  std::vector<std::set<std::string>> keys_;
};

// A list of integers that fit int64 and are not negative.
bool read_extents(const Json& list, std::vector<int64_t>* out) {
  if (!list.is_array()) return false;
  for (const Json& value : list) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) return false;
    out->push_back(value.get<int64_t>());
  }
  return true;
}

std::string short_dump(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 100 ? text.substr(0, 100) + "..." : text;
}

TensorEntry parse_entry(const std::filesystem::path& path, const std::string& name, const Json& value) {
  const std::string where = where_of(path, name);
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    fail(ErrorKind::data, {where, "an object with dtype, shape and data_offsets", short_dump(value), {}});
  }
  const Json& dtype = value["dtype"];
  if (!dtype.is_string() || safetensors_dtype_bytes(dtype.get<std::string>()) == 0) {
    fail(ErrorKind::data, {where, "dtype " + all_dtypes(), short_dump(dtype), {}});
  }
  TensorEntry entry{.name = name, .dtype = dtype.get<std::string>(), .shape = {}};
  int64_t bytes = 0;
  if (!read_extents(value["shape"], &entry.shape) || !bytes_of_shape(entry, &bytes)) {
    fail(ErrorKind::data,
         {where, "a shape of extents >= 0 with fewer than 2^63 bytes", short_dump(value["shape"]), {}});
  }
  std::vector<int64_t> offsets;
  const Json& range = value["data_offsets"];
  if (!read_extents(range, &offsets) || offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail(ErrorKind::data, {where, "data_offsets [begin,end] with 0 <= begin <= end", short_dump(range), {}});
  }
  entry.begin = static_cast<uint64_t>(offsets[0]);
  entry.end = static_cast<uint64_t>(offsets[1]);
  if (entry.bytes() != static_cast<uint64_t>(bytes)) {
    fail(ErrorKind::data,
         {where,
          fmt::format("{} bytes for {} of shape {}", bytes, entry.dtype, shape_text(entry.shape)),
          fmt::format("{} bytes at offsets {}", entry.bytes(), short_dump(range)),
          {}});
  }
  return entry;
}

std::string make_header(const std::filesystem::path& path, const SafetensorsContent& content,
                        uint64_t* data_bytes) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  std::set<std::string> names = {"__metadata__"};
  uint64_t at = 0;
  for (const TensorEntry& entry : content.tensors) {
    const std::string where = where_of(path, entry.name);
    if (!names.insert(entry.name).second) {
      fail(ErrorKind::usage,
           {where, "names that differ from each other and from __metadata__", "this name", {}});
    }
    int64_t bytes = 0;
    if (safetensors_dtype_bytes(entry.dtype) == 0) {
      fail(ErrorKind::usage, {where, "dtype " + all_dtypes(), in_quotes(entry.dtype), {}});
    }
    if (!bytes_of_shape(entry, &bytes) || static_cast<uint64_t>(bytes) > uint64_t{INT64_MAX} - at) {
      fail(ErrorKind::usage, {where, "extents >= 0 and fewer than 2^63 bytes", shape_text(entry.shape), {}});
    }
    header.push_back({entry.name,
                      {{"dtype", entry.dtype},
                       {"shape", entry.shape},
                       {"data_offsets", {at, at + static_cast<uint64_t>(bytes)}}}});
    at += static_cast<uint64_t>(bytes);
  }
  *data_bytes = at;
  try {
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    return text;
  } catch (const Json::exception& e) {
    fail(ErrorKind::usage, {path.string(), "names and metadata in UTF-8", e.what(), {}});
  }
}

}  // namespace

int64_t TensorEntry::count() const {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return n;
}

int64_t safetensors_dtype_bytes(std::string_view dtype) {
  for (const DtypeName& d : kDtypes) {
    if (d.name == dtype) return d.bytes;
  }
  return 0;
}

void safetensors_to_double(std::string_view dtype, std::span<const std::byte> bytes, std::span<double> out) {
  const auto size = static_cast<size_t>(safetensors_dtype_bytes(dtype));
  if (const auto to = conversion<double>(dtype)) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = to(bytes.data() + i * size);
  } else if (dtype == "U64") {
    for (size_t i = 0; i < out.size(); ++i) out[i] = convert<uint64_t, double>(bytes.data() + i * size);
  } else {
    const auto integer = conversion<int64_t>(dtype);
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(integer(bytes.data() + i * size));
  }
}

void write_safetensors(const std::filesystem::path& path, const SafetensorsContent& content,
                       const TensorSource& source) {
  uint64_t data_bytes = 0;
  const std::string header = make_header(path, content, &data_bytes);
  if (header.size() > kMaxHeaderBytes) {
    fail(ErrorKind::usage, {path.string(), "a header of at most " + bytes_text(kMaxHeaderBytes),
                            bytes_text(header.size()), "Fewer tensors or less metadata"});
  }
  AtomicFile file(path, 8 + header.size() + data_bytes);
  const auto length = static_cast<uint64_t>(header.size());
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  std::vector<std::byte> buffer(std::min(kChunkBytes, data_bytes));
  for (const TensorEntry& entry : content.tensors) {
    const auto bytes = static_cast<uint64_t>(entry.count() * safetensors_dtype_bytes(entry.dtype));
    for (uint64_t at = 0; at < bytes; at += kChunkBytes) {
      const auto chunk = std::span(buffer).first(std::min(kChunkBytes, bytes - at));
      source(entry, at, chunk);
      file.write(chunk);
    }
  }
  file.commit();
}

SafetensorsReader::SafetensorsReader(std::filesystem::path path) : path_(std::move(path)) {
  file_ = open_for_reading(path_);
  const uint64_t size = file_size_of(path_);
  const char* hint = "Is it a safetensors file, and whole?";
  uint64_t length = 0;
  if (read_at(file_, path_, 0, std::as_writable_bytes(std::span(&length, 1))) != 8) {
    fail(ErrorKind::data,
         {path_.string(), "8 bytes of header length", fmt::format("a file of {} bytes", size), hint});
  }
  if (length > kMaxHeaderBytes || length > size - 8) {
    fail(ErrorKind::data,
         {path_.string(), fmt::format("a header of at most {} bytes", std::min(kMaxHeaderBytes, size - 8)),
          fmt::format("header length {}", length), hint});
  }
  data_start_ = 8 + length;
  std::string header(length, '\0');
  if (read_at(file_, path_, 8, std::as_writable_bytes(std::span(header))) != length) {
    fail(ErrorKind::data, {path_.string(), fmt::format("a header of {} bytes", length), "fewer", hint});
  }
  parse(header, size - data_start_);
}

void SafetensorsReader::parse(const std::string& header, uint64_t data_bytes) {
  Json json;
  HeaderRules rules(path_);
  if (header.empty() || header[0] != '{') {
    fail(ErrorKind::data,
         {path_.string(), "a header that begins with {", in_quotes(header.substr(0, 16)), {}});
  }
  try {
    json = Json::parse(header, std::ref(rules));
  } catch (const Json::exception& e) {
    fail(ErrorKind::data, {path_.string(), "a JSON header", e.what(), {}});
  }
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      tensors_.push_back(parse_entry(path_, name, value));
      continue;
    }
    const auto is_string = [](const Json& item) { return item.is_string(); };
    if (!value.is_object() || !std::all_of(value.begin(), value.end(), is_string)) {
      fail(ErrorKind::data, {path_.string(), "__metadata__ of strings", short_dump(value), {}});
    }
    metadata_ = value.get<std::map<std::string, std::string>>();
  }
  check_layout(data_bytes);
}

void SafetensorsReader::check_layout(uint64_t data_bytes) {
  std::sort(tensors_.begin(), tensors_.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t at = 0;
  for (const TensorEntry& entry : tensors_) {
    const std::string got = fmt::format("offsets [{},{}]", entry.begin, entry.end);
    if (entry.end > data_bytes) {
      fail(ErrorKind::data, {where_of(path_, entry.name), fmt::format("its data within {} bytes", data_bytes),
                             got, "The file may be cut off"});
    }
    if (entry.begin != at) {
      fail(ErrorKind::data, {where_of(path_, entry.name),
                             fmt::format("data that begins at {}, where the tensor before ends", at),
                             got + (entry.begin < at ? " (overlap)" : " (hole)"),
                             {}});
    }
    at = entry.end;
  }
  if (at != data_bytes) {
    fail(ErrorKind::data,
         {path_.string(), fmt::format("{} bytes of data", at), fmt::format("{} bytes", data_bytes), {}});
  }
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
}

const TensorEntry& SafetensorsReader::entry(std::string_view name) const {
  const auto found = index_.find(name);
  if (found != index_.end()) return tensors_[found->second];
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(tensors_.size(), 5); ++i)
    names += " " + in_quotes(tensors_[i].name);
  fail(ErrorKind::data,
       {path_.string(), "a tensor " + in_quotes(name),
        fmt::format("{} tensors:{}{}", tensors_.size(), names, tensors_.size() > 5 ? " ..." : ""),
        "Are these the weights of another net?"});
}

void SafetensorsReader::read_bytes(std::string_view name, uint64_t offset, std::span<std::byte> out) const {
  const TensorEntry& e = entry(name);
  if (offset > e.bytes() || out.size() > e.bytes() - offset) {
    fail(ErrorKind::data, {where_of(path_, name),
                           fmt::format("{} bytes from {}", out.size(), offset),
                           fmt::format("{} bytes in all", e.bytes()),
                           {}});
  }
  const size_t got = read_at(file_, path_, data_start_ + e.begin + offset, out);
  if (got == out.size()) return;
  fail(ErrorKind::data, {where_of(path_, name), fmt::format("{} bytes of data", out.size()),
                         fmt::format("{}", got), "The file was cut while it was read"});
}

template <class T>
void SafetensorsReader::read_part(std::string_view name, int64_t first, std::span<T> out, bool whole) const {
  const TensorEntry& e = entry(name);
  const Convert<T> to = conversion<T>(e.dtype);
  if (to == nullptr) fail(ErrorKind::data, {where_of(path_, name), kAccepts<T>, e.dtype, {}});
  const auto wanted = static_cast<int64_t>(out.size());
  if (whole ? wanted != e.count() : first < 0 || first > e.count() || wanted > e.count() - first) {
    fail(ErrorKind::data, {where_of(path_, name),
                           fmt::format("{} elements from {}", wanted, first),
                           fmt::format("{} of shape {}", e.count(), shape_text(e.shape)),
                           {}});
  }
  const auto bytes = static_cast<uint64_t>(safetensors_dtype_bytes(e.dtype));
  std::vector<std::byte> buffer(std::min(kChunkBytes, out.size() * bytes));
  uint64_t at = static_cast<uint64_t>(first) * bytes;
  for (size_t done = 0; done < out.size();) {
    const size_t n = std::min<size_t>(out.size() - done, kChunkBytes / bytes);
    read_bytes(name, at, std::span(buffer).first(n * bytes));
    for (size_t i = 0; i < n; ++i) out[done + i] = to(buffer.data() + i * bytes);
    at += n * bytes;
    done += n;
  }
}

template void SafetensorsReader::read_part(std::string_view, int64_t, std::span<float>, bool) const;
template void SafetensorsReader::read_part(std::string_view, int64_t, std::span<double>, bool) const;
template void SafetensorsReader::read_part(std::string_view, int64_t, std::span<int64_t>, bool) const;
template void SafetensorsReader::read_part(std::string_view, int64_t, std::span<uint8_t>, bool) const;

}  // namespace millrace
