#include "layers/pool_windows.h"

#include "core/error.h"

namespace millrace {
namespace {

PoolAxis axis_of(const PoolAttrs& a, int64_t extent) {
  PoolAxis axis{.extent = static_cast<int>(extent),
                .kernel = static_cast<int>(a.global ? extent : a.kernel),
                .stride = static_cast<int>(a.global ? 1 : a.stride),
                .pad = static_cast<int>(a.global ? 0 : a.pad),
                .windows = 0};
  const int last = axis.extent + 2 * axis.pad - axis.kernel;  // where one could begin, seen from the first
  axis.windows = (a.ceil ? last + axis.stride - 1 : last) / axis.stride + 1;
  if ((axis.windows - 1) * axis.stride - axis.pad >= axis.extent) --axis.windows;
  return axis;
}

}  // namespace

PoolWindows pool_windows(const PoolAttrs& attrs, int64_t H, int64_t W) {
  return {axis_of(attrs, H), axis_of(attrs, W)};
}

Shape detail::pool_shape(const char* op, const Spec& x, const PoolAttrs& a, Dtype real) {
  constexpr int64_t kLargest = 32768;  // products of two fit 32 bits
  const Shape& s = x.shape;
  if (s.rank() != 4 || s[1] < 1 || s[2] < 1 || std::max(s[1], s[2]) > kLargest || x.dtype != real)
    fail(ErrorKind::runtime, {op, "an input (N,H,W,C) of " + std::string(name_of(real)), x.to_string(), ""});
  if (!a.global && (a.kernel < 1 || a.stride < 1 || a.stride > kLargest || a.pad < 0 || a.pad >= a.kernel ||
                    a.kernel > std::min(s[1], s[2]) + 2 * a.pad))
    fail(ErrorKind::runtime,
         {op, "a window of 1 or more that fits the padded input, a stride above 0, less padding than window",
          "kernel " + std::to_string(a.kernel) + ", stride " + std::to_string(a.stride) + ", pad " +
              std::to_string(a.pad) + " for " + x.to_string(),
          ""});
  const PoolWindows windows = pool_windows(a, s[1], s[2]);
  return {s[0], windows.rows.windows, windows.columns.windows, s[3]};
}

std::vector<detail::PoolCase> detail::pool_cases() {
  return {{"halves", {}, {2, 4, 6, 3}},
          {"rounded up", {}, {1, 5, 7, 8}},
          {"rounded down", {.ceil = false}, {2, 5, 7, 4}},
          {"overlapping", {.kernel = 3}, {1, 6, 8, 12}},
          {"padded", {.kernel = 3, .pad = 1, .ceil = false}, {2, 5, 6, 5}},
          {"padded, a last window left out", {.kernel = 2, .stride = 2, .pad = 1}, {1, 3, 5, 4}},
          {"every place", {.kernel = 3, .stride = 1, .pad = 1}, {1, 4, 5, 8}},
          {"with gaps", {.kernel = 2, .stride = 3}, {1, 7, 9, 4}},
          {"thirds", {.kernel = 3, .stride = 3}, {1, 8, 7, 8}},
          {"one pixel", {.kernel = 1, .stride = 1}, {1, 1, 1, 1}},
          {"global", {.global = true}, {2, 3, 5, 8}},
          {"several thread blocks", {}, {2, 13, 12, 72}},
          {"benchmark", {}, {4, 112, 112, 64}, true}};
}

}  // namespace millrace
