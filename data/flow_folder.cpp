#include "data/flow_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "core/error.h"
#include "core/files.h"
#include "data/flow_files.h"
#include "data/flow_jpeg.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDigits = 15;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxJsonBytes = 1 << 20;

using Numbered = std::map<int64_t, fs::path>;

// How files of a kind are called: prefix, number, extension.
struct Naming {
  FrameKind kind;
  const char* prefix;
  const char* prefix_y;
  const char* extension;
};
constexpr Naming kNamings[] = {{FrameKind::flow_pair, "flow_x_", "flow_y_", ".jpg"},
                               {FrameKind::flow_pair, "x_", "y_", ".jpg"},
                               {FrameKind::flow_file, "flow_", "", ".flo"},
                               {FrameKind::flow_file, "kitti_", "", ".png"}};

Numbered numbered_files(const std::vector<fs::path>& files, std::string_view prefix,
                        std::string_view extension) {
  Numbered found;
  for (const fs::path& file : files) {
    const std::string name = file.filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(extension)) continue;
    if (name.size() <= prefix.size() + extension.size()) continue;
    const std::string digits = name.substr(prefix.size(), name.size() - prefix.size() - extension.size());
    if (digits.size() > kMaxDigits || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto [before, is_new] = found.try_emplace(std::stoll(digits), file);
    if (is_new) continue;
    fail(ErrorKind::data, {.where = file.parent_path().string(),
                           .expected = "each number once",
                           .got = fmt::format("{} and {}", before->second.filename().string(), name)});
  }
  return found;
}

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    files.push_back(entry->path());
  if (error) {
    fail(ErrorKind::data,
         {.where = folder.string(), .expected = "a readable folder", .got = error.message()});
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The files in order; `others`, where there are such, must have the same numbers.
std::vector<fs::path> in_order(const fs::path& folder, const Numbered& files) {
  std::vector<fs::path> ordered;
  int64_t next = files.begin()->first;
  for (const auto& [number, file] : files) {
    if (number != next) {
      fail(ErrorKind::data,
           {.where = folder.string(),
            .expected = fmt::format("flow {} after {}", next, ordered.back().filename().string()),
            .got = file.filename().string()});
    }
    ordered.push_back(file);
    ++next;
  }
  return ordered;
}

void check_pairs(const fs::path& folder, const Numbered& x, const Numbered& y) {
  const auto require_other = [&](const Numbered& these, const Numbered& others, const char* component) {
    for (const auto& [number, file] : these) {
      if (others.contains(number)) continue;
      fail(ErrorKind::data, {.where = folder.string(),
                             .expected = fmt::format("pictures of u and v (x and y) of flow {}", number),
                             .got = fmt::format("{} without {}", file.filename().string(), component)});
    }
  };
  require_other(x, y, "that of v");
  require_other(y, x, "that of u");
}

void read_sidecar(const fs::path& folder, FrameFolder& found) {
  const fs::path sidecar = folder / kFlowJsonFile;
  std::error_code error;
  if (!fs::exists(sidecar, error)) return;
  const FlowJpegInfo info = parse_flow_json(read_file(sidecar, kMaxJsonBytes), sidecar.string());
  if (const auto pairs = static_cast<int64_t>(found.frames.size()); info.flows != pairs) {
    fail(ErrorKind::data,
         {.where = folder.string(),
          .expected = fmt::format("{} pairs of pictures, as {} says", info.flows, kFlowJsonFile),
          .got = std::to_string(pairs),
          .hint = "motionnet-flow makes unfinished folders complete when it runs again"});
  }
  found.flow_bound = info.mapping.bound;
}

// What the bytes become that were written with another bound. Where bytes were cut instead of rounded they
// mean half a step more (byte_to_flow), but the networks that learned of such bytes took them as they are.
std::array<uint8_t, 256> bytes_of_other_bound(double from, double to) {
  std::array<uint8_t, 256> table;
  for (size_t b = 0; b < table.size(); ++b)
    table[b] = flow_to_byte(byte_to_flow(static_cast<uint8_t>(b), {.bound = from}), {.bound = to});
  return table;
}

void read_pair(const FrameFolder& folder, size_t k, double bound, Image& result) {
  const fs::path* const files[] = {&folder.frames[k], &folder.flow_y[k]};
  Size size;
  for (size_t c = 0; c < 2; ++c) {
    const std::string bytes = read_file(*files[c], kMaxFileBytes), name = files[c]->string();
    if (c == 0) size = flow_jpeg_size(bytes, name);
    const std::vector<uint8_t> picture = decode_flow_jpeg(bytes, size, name);
    if (c == 0) result.reshape(size, 2);
    for (size_t p = 0; p < picture.size(); ++p) result.pixels[2 * p + c] = picture[p];
  }
  if (!folder.flow_bound || *folder.flow_bound == bound) return;
  const auto table = bytes_of_other_bound(*folder.flow_bound, bound);
  for (uint8_t& byte : result.pixels) byte = table[byte];
}

}  // namespace

std::optional<FrameFolder> list_flow(const fs::path& folder) {
  const std::vector<fs::path> files = files_of(folder);
  for (const Naming& naming : kNamings) {
    const bool pairs = naming.kind == FrameKind::flow_pair;
    const Numbered x = numbered_files(files, naming.prefix, naming.extension);
    const Numbered y = pairs ? numbered_files(files, naming.prefix_y, naming.extension) : Numbered{};
    if (x.empty() && y.empty()) continue;
    if (pairs) check_pairs(folder, x, y);
    FrameFolder found{.frames = in_order(folder, x), .truth = {}, .kind = naming.kind};
    if (pairs) found.flow_y = in_order(folder, y);
    found.truth.resize(found.frames.size());
    if (pairs) read_sidecar(folder, found);
    return found;
  }
  return std::nullopt;
}

void read_flow_bytes(const FrameFolder& folder, size_t k, double bound, Image& result) {
  if (folder.kind == FrameKind::flow_pair) return read_pair(folder, k, bound, result);
  const Flow flow = read_flow(folder.frames[k].string());
  result.reshape(flow.size(), 2);
  for (size_t p = 0; p < flow.uv.size(); p += 2) {
    if (!is_known(&flow.uv[p])) {
      fail(ErrorKind::data, {.where = folder.frames[k].string(),
                             .expected = "flow that is known everywhere",
                             .got = "unknown pixels"});
    }
    for (size_t c = 0; c < 2; ++c) result.pixels[p + c] = flow_to_byte(flow.uv[p + c], {.bound = bound});
  }
}

}  // namespace millrace
