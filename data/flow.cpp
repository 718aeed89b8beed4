#include "data/flow.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "core/files.h"

namespace millrace {
namespace {

static_assert(std::endian::native == std::endian::little,
              "a .flo file is read and written as it lies in memory");

constexpr char kMark[4] = {'P', 'I', 'E', 'H'};
constexpr size_t kHeaderBytes = 12;
constexpr int64_t kMaxPixels = int64_t{1} << 28;

// The two coordinates that x falls between, and the share of the second.
struct Between {
  int64_t first, second;
  float share;
};

Between between(int64_t x, int64_t source, int64_t target) {
  const double at =
      (static_cast<double>(x) + 0.5) * static_cast<double>(source) / static_cast<double>(target) - 0.5;
  const double clamped = std::clamp(at, 0.0, static_cast<double>(source - 1));
  const auto first = static_cast<int64_t>(clamped);
  return {first, std::min(first + 1, source - 1), static_cast<float>(clamped - static_cast<double>(first))};
}

}  // namespace

Flow decode_flo(std::string_view bytes, const std::string& name) {
  const auto refuse = [&](const std::string& expected, const std::string& got) {
    fail(ErrorKind::data, {.where = name, .expected = expected, .got = got});
  };
  if (bytes.size() < kHeaderBytes) refuse("a .flo file", fmt::format("{} bytes", bytes.size()));
  if (std::memcmp(bytes.data(), kMark, sizeof kMark) != 0)
    refuse("a .flo file that begins with PIEH", "another beginning");
  int32_t width = 0, height = 0;
  std::memcpy(&width, bytes.data() + 4, 4);
  std::memcpy(&height, bytes.data() + 8, 4);
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    refuse(fmt::format("flow of 1 to {} pixels", kMaxPixels), fmt::format("{}x{}", width, height));
  }
  const size_t expected = kHeaderBytes + 8 * static_cast<size_t>(width) * static_cast<size_t>(height);
  if (bytes.size() != expected) {
    refuse(fmt::format("{} bytes for {}x{} pixels", expected, width, height),
           fmt::format("{} bytes", bytes.size()));
  }
  Flow flow;
  flow.reshape({height, width});
  std::memcpy(flow.uv.data(), bytes.data() + kHeaderBytes, bytes.size() - kHeaderBytes);
  return flow;
}

Flow read_flo(const std::string& path) {
  return decode_flo(read_file(path, kHeaderBytes + 8 * static_cast<size_t>(kMaxPixels)), path);
}

void write_flo(const std::string& path, const Flow& flow) {
  const auto width = static_cast<int32_t>(flow.width), height = static_cast<int32_t>(flow.height);
  std::string bytes(kHeaderBytes + flow.uv.size() * sizeof(float), char{0});
  std::memcpy(bytes.data(), kMark, sizeof kMark);
  std::memcpy(bytes.data() + 4, &width, 4);
  std::memcpy(bytes.data() + 8, &height, 4);
  std::memcpy(bytes.data() + kHeaderBytes, flow.uv.data(), flow.uv.size() * sizeof(float));
  write_file_atomically(path, bytes);
}

Flow resize_flow(const Flow& flow, Size size) {
  if (flow.height < 1 || flow.width < 1 || size.height < 1 || size.width < 1) {
    fail(ErrorKind::data,
         {.where = "resize_flow",
          .expected = "sizes of at least 1x1",
          .got = fmt::format("{}x{} to {}x{}", flow.width, flow.height, size.width, size.height)});
  }
  if (size == flow.size()) return flow;
  Flow result;
  result.reshape(size);
  const float scale[2] = {static_cast<float>(size.width) / static_cast<float>(flow.width),
                          static_cast<float>(size.height) / static_cast<float>(flow.height)};
  for (int64_t i = 0; i < size.height; ++i) {
    const Between row = between(i, flow.height, size.height);
    for (int64_t j = 0; j < size.width; ++j) {
      const Between column = between(j, flow.width, size.width);
      const float* taps[4] = {flow.at(row.first, column.first), flow.at(row.first, column.second),
                              flow.at(row.second, column.first), flow.at(row.second, column.second)};
      float* out = result.at(i, j);
      const bool known = is_known(taps[0]) && is_known(taps[1]) && is_known(taps[2]) && is_known(taps[3]);
      for (int c = 0; c < 2; ++c) {
        const float top = taps[0][c] + column.share * (taps[1][c] - taps[0][c]);
        const float bottom = taps[2][c] + column.share * (taps[3][c] - taps[2][c]);
        out[c] = known ? scale[c] * (top + row.share * (bottom - top)) : kUnknownFlow;
      }
    }
  }
  return result;
}

void crop(const Flow& flow, const Window& window, Flow& result) {
  const auto [height, width] = window.size;
  if (window.top < 0 || window.left < 0 || height < 1 || width < 1 || window.top + height > flow.height ||
      window.left + width > flow.width) {
    fail(ErrorKind::data,
         {.where = "crop",
          .expected = fmt::format("a window inside {}x{} pixels of flow", flow.width, flow.height),
          .got = fmt::format("{}x{} at column {}, row {}", width, height, window.left, window.top)});
  }
  result.reshape(window.size);
  for (int64_t i = 0; i < height; ++i) {
    const float* row = flow.at(window.top + i, window.left);
    std::copy(row, row + 2 * width, result.at(i, 0));
  }
}

void mirror(Flow& flow) {
  for (int64_t i = 0; i < flow.height; ++i) {
    for (int64_t a = 0, b = flow.width - 1; a < b; ++a, --b)
      std::swap_ranges(flow.at(i, a), flow.at(i, a) + 2, flow.at(i, b));
    for (int64_t j = 0; j < flow.width; ++j) {
      float* uv = flow.at(i, j);
      if (is_known(uv)) uv[0] = -uv[0];
    }
  }
}

EndPointError end_point_error(const Flow& flow, const Flow& truth, int64_t border) {
  if (flow.size() != truth.size()) {
    fail(ErrorKind::data,
         {.where = "end_point_error",
          .expected = fmt::format("flow of the truth's {}x{} pixels", truth.width, truth.height),
          .got = fmt::format("{}x{}", flow.width, flow.height)});
  }
  EndPointError error;
  double sum = 0;
  for (int64_t i = border; i < truth.height - border; ++i) {
    for (int64_t j = border; j < truth.width - border; ++j) {
      if (!is_known(truth.at(i, j))) continue;
      const double du = double{flow.at(i, j)[0]} - double{truth.at(i, j)[0]};
      const double dv = double{flow.at(i, j)[1]} - double{truth.at(i, j)[1]};
      sum += std::sqrt(du * du + dv * dv);
      ++error.pixels;
    }
  }
  error.mean = error.pixels > 0 ? sum / static_cast<double>(error.pixels) : 0;
  return error;
}

}  // namespace millrace
