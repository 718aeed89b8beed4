#include "data/flow_jpeg.h"

#include <fmt/format.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "data/encode.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "millrace flow jpeg 1";
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxJsonBytes = 1 << 20;
constexpr int64_t kMaxExtent = 65500;  // of a JPEG
constexpr double kMaxBound = 1e6;

[[noreturn]] void fail_flow(const std::string& where, const std::string& expected, const std::string& got,
                            const std::string& hint = "") {
  fail(ErrorKind::data, {.where = where, .expected = expected, .got = got, .hint = hint});
}

std::string formula(const FlowByteMapping& m) {
  return fmt::format("byte = floor({}clamp((v + {}) * 255 / {}, 0, 255))",
                     m.rounding == FlowRounding::round ? "0.5 + " : "", m.bound, 2 * m.bound);
}

std::string mapping_text(const FlowByteMapping& m) {
  return fmt::format("bound {}, rounding {}", m.bound, rounding_name(m.rounding));
}

// Of a value that is none we take, for a message: one short line, whatever it is.
std::string shown(const json& value) {
  constexpr size_t kMost = 80;
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  const std::string text = value.dump(-1, ' ', true);
  return text.size() > kMost ? text.substr(0, kMost) + "..." : text;
}

int64_t whole_number(const json& j, const char* key, std::array<int64_t, 2> range, const std::string& name) {
  const auto found = j.find(key);
  if (found == j.end() || !found->is_number_integer() || *found < range[0] || *found > range[1]) {
    fail_flow(name, fmt::format("'{}', a whole number from {} to {}", key, range[0], range[1]),
              found == j.end() ? "none" : shown(*found));
  }
  return found->get<int64_t>();
}

bool is_picture(const std::string& file, std::string_view prefix) {
  if (!file.starts_with(prefix) || !file.ends_with(".jpg")) return false;
  const std::string digits = file.substr(prefix.size(), file.size() - prefix.size() - 4);
  return digits.size() >= 5 && digits.find_first_not_of("0123456789") == std::string::npos;
}

struct PictureCount {
  int64_t x = 0, y = 0;
  fs::path first;  // of u
};

PictureCount count_pictures(const fs::path& folder) {
  PictureCount count;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string file = entry.path().filename().string();
    count.y += is_picture(file, "flow_y_");
    if (!is_picture(file, "flow_x_")) continue;
    if (count.x++ == 0 || entry.path() < count.first) count.first = entry.path();
  }
  if (error) fail_flow(folder.string(), "a readable folder", error.message());
  return count;
}

struct Decoder {
  std::unique_ptr<void, int (*)(tjhandle)> handle{tjInitDecompress(), tjDestroy};
  Size size;
  bool gray = false;
};

// Reads the header only.
Decoder open_jpeg(std::string_view bytes, const std::string& name) {
  Decoder d;
  if (!d.handle)
    fail(ErrorKind::runtime, {.where = name, .expected = "a JPEG decoder", .got = tjGetErrorStr2(nullptr)});
  int width = 0, height = 0, subsampling = 0, colorspace = 0;
  if (bytes.empty()) fail_flow(name, "a JPEG", "an empty file");
  if (tjDecompressHeader3(d.handle.get(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                          &width, &height, &subsampling, &colorspace) != 0) {
    fail_flow(name, "a JPEG header", tjGetErrorStr2(d.handle.get()));
  }
  d.size = {height, width};
  d.gray = colorspace == TJCS_GRAY;
  return d;
}

}  // namespace

const char* rounding_name(FlowRounding rounding) {
  return rounding == FlowRounding::round ? "round" : "truncate";
}

FlowRounding parse_rounding(const std::string& name) {
  for (const FlowRounding rounding : {FlowRounding::round, FlowRounding::truncate}) {
    if (name == rounding_name(rounding)) return rounding;
  }
  fail(ErrorKind::usage, {.where = "rounding", .expected = "round or truncate", .got = "'" + name + "'"});
}

uint8_t flow_to_byte(double v, const FlowByteMapping& mapping) {
  const double x = std::clamp((v + mapping.bound) * 255 / (2 * mapping.bound), 0.0, 255.0);
  return static_cast<uint8_t>(mapping.rounding == FlowRounding::round ? x + .5 : x);
}

float byte_to_flow(uint8_t byte, const FlowByteMapping& mapping) {
  const double middle = mapping.rounding == FlowRounding::truncate && byte < 255 ? byte + .5 : byte;
  return static_cast<float>(middle * 2 * mapping.bound / 255 - mapping.bound);
}

std::string flow_json(const FlowJpegInfo& info) {
  return json{{"format", kFormat},
              {"bound", info.mapping.bound},
              {"rounding", rounding_name(info.mapping.rounding)},
              {"mapping", formula(info.mapping)},
              {"width", info.size.width},
              {"height", info.size.height},
              {"flows", info.flows},
              {"quality", info.quality},
              {"source", info.source}}
             .dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

FlowJpegInfo parse_flow_json(std::string_view text, const std::string& name) {
  const json j = json::parse(text, nullptr, false);
  if (!j.is_object()) fail_flow(name, "a JSON object", j.is_discarded() ? "no JSON" : "other JSON");
  const auto text_of = [&](const char* key) {
    const auto found = j.find(key);
    if (found == j.end() || !found->is_string())
      fail_flow(name, fmt::format("'{}', a text", key), found == j.end() ? "none" : shown(*found));
    return found->get<std::string>();
  };
  if (text_of("format") != kFormat) fail_flow(name, fmt::format("format '{}'", kFormat), shown(j["format"]));
  FlowJpegInfo info;
  const std::string rounding = text_of("rounding");
  if (rounding != "round" && rounding != "truncate")
    fail_flow(name, "'rounding', round or truncate", shown(rounding));
  info.mapping.rounding = parse_rounding(rounding);
  const auto bound = j.find("bound");
  if (bound == j.end() || !bound->is_number() || !(*bound > 0.0) || !(*bound <= kMaxBound)) {
    fail_flow(name, fmt::format("'bound', pixels above 0 and at most {:.0f}", kMaxBound),
              bound == j.end() ? "none" : shown(*bound));
  }
  info.mapping.bound = bound->get<double>();
  info.size = {whole_number(j, "height", {1, kMaxExtent}, name),
               whole_number(j, "width", {1, kMaxExtent}, name)};
  info.flows = whole_number(j, "flows", {0, int64_t{1} << 40}, name);
  info.quality = static_cast<int>(whole_number(j, "quality", {1, 100}, name));
  info.source = text_of("source");
  return info;
}

FlowJpegNames flow_jpeg_names(int64_t number) {
  return {fmt::format("flow_x_{:05}.jpg", number), fmt::format("flow_y_{:05}.jpg", number)};
}

void write_flow_jpegs(const fs::path& folder, int64_t number, const Flow& flow, const FlowJpegInfo& info) {
  const FlowJpegNames names = flow_jpeg_names(number);
  if (flow.size() != info.size) {
    fail_flow((folder / names.x).string(),
              fmt::format("flow of {}x{} pixels", info.size.width, info.size.height),
              fmt::format("{}x{}", flow.width, flow.height));
  }
  Image image;
  image.reshape(flow.size(), 1);
  for (size_t c = 0; c < 2; ++c) {
    const fs::path file = folder / (c == 0 ? names.x : names.y);
    for (size_t k = 0; k < image.pixels.size(); ++k) {
      if (!is_known(&flow.uv[2 * k]))
        fail_flow(file.string(), "flow that is known everywhere", "unknown pixels",
                  "Use .flo or KITTI's PNG");
      image.pixels[k] = flow_to_byte(flow.uv[2 * k + c], info.mapping);
    }
    write_file_atomically(file, encode_jpeg(image, info.quality));
  }
}

std::vector<uint8_t> decode_flow_jpeg(std::string_view bytes, Size size, const std::string& name) {
  const Decoder d = open_jpeg(bytes, name);
  if (!d.gray) fail_flow(name, "a gray JPEG, u or v of a flow", "one in colours");
  if (d.size != size) {  // before anything of that size is allocated
    fail_flow(name, fmt::format("{}x{} pixels", size.width, size.height),
              fmt::format("{}x{}", d.size.width, d.size.height));
  }
  std::vector<uint8_t> pixels(static_cast<size_t>(size.height * size.width));
  // Warnings count as errors: a truncated file gives one, and gray for what is missing.
  if (tjDecompress2(d.handle.get(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                    pixels.data(), static_cast<int>(size.width), 0, static_cast<int>(size.height), TJPF_GRAY,
                    TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
    fail_flow(name, "a whole JPEG", tjGetErrorStr2(d.handle.get()));
  }
  return pixels;
}

Size flow_jpeg_size(std::string_view bytes, const std::string& name) { return open_jpeg(bytes, name).size; }

FlowJpegFolder::FlowJpegFolder(fs::path folder, const std::optional<FlowByteMapping>& given)
    : folder_(std::move(folder)) {
  const fs::path sidecar = folder_ / kFlowJsonFile;
  const PictureCount count = count_pictures(folder_);
  if (fs::exists(sidecar)) {
    info_ = parse_flow_json(read_file(sidecar, kMaxJsonBytes), sidecar.string());
    if (given && *given != info_.mapping)
      fail_flow(sidecar.string(), mapping_text(*given) + ", as given", mapping_text(info_.mapping));
  } else if (given) {
    if (count.x == 0) fail_flow(folder_.string(), "pictures flow_x_00001.jpg", "none");
    const Decoder first = open_jpeg(read_file(count.first, kMaxFileBytes), count.first.string());
    info_ = {.mapping = *given, .size = first.size, .flows = count.x, .quality = 95, .source = ""};
  } else {
    fail_flow(folder_.string(), "a flow.json that says what the bytes of its pictures mean", "none",
              "Give the bound and rounding that they were written with");
  }
  if (count.x == info_.flows && count.y == info_.flows) return;
  fail_flow(folder_.string(), fmt::format("{} pictures each of u and v", info_.flows),
            fmt::format("{} of u and {} of v", count.x, count.y));
}

bool FlowJpegFolder::has(int64_t number) const { return fs::exists(folder_ / flow_jpeg_names(number).x); }

Flow FlowJpegFolder::read(int64_t number) const {
  const FlowJpegNames names = flow_jpeg_names(number);
  Flow flow;
  for (size_t c = 0; c < 2; ++c) {
    const fs::path file = folder_ / (c == 0 ? names.x : names.y);
    const auto bytes = decode_flow_jpeg(read_file(file, kMaxFileBytes), info_.size, file.string());
    flow.reshape(info_.size);
    for (size_t k = 0; k < bytes.size(); ++k) flow.uv[2 * k + c] = byte_to_flow(bytes[k], info_.mapping);
  }
  return flow;
}

}  // namespace millrace
