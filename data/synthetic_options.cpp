#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <string_view>

#include "core/error.h"
#include "data/synthetic.h"

namespace millrace {
namespace {

constexpr std::string_view kPrefix = "synthetic:";

template <typename T> T parse_number(std::string_view text, const std::string& where, T low, T high) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= low && value <= high)) {
    fail(ErrorKind::usage, {.where = where,
                            .expected = fmt::format("a number from {} to {}", low, high),
                            .got = fmt::format("\"{}\"", text)});
  }
  return value;
}

void set_option(SyntheticOptions& options, std::string_view key, std::string_view value) {
  const std::string where = fmt::format("{}{}", kPrefix, key);
  using Setter = std::function<void()>;
  const std::map<std::string_view, Setter> setters = {
      {"size", [&] { options.size = parse_size(value, where, 8); }},
      {"frames", [&] { options.frames = parse_number<int64_t>(value, where, 1, 1000); }},
      {"count", [&] { options.count = parse_number<int64_t>(value, where, 1, int64_t{1} << 40); }},
      {"max_shift", [&] { options.max_shift = parse_number(value, where, 0.0, 1000.0); }},
      {"max_zoom", [&] { options.max_zoom = parse_number(value, where, 0.0, 0.5); }},
      {"max_rotation", [&] { options.max_rotation = parse_number(value, where, 0.0, 3.2); }},
      {"layers", [&] { options.layers = parse_number<int64_t>(value, where, 0, 16); }},
      {"seed", [&] { options.seed = parse_number<uint64_t>(value, where, 0, UINT64_MAX); }},
      {"split", [&] { options.split = value; }},
  };
  const auto setter = setters.find(key);
  if (setter == setters.end()) {
    std::string known;
    for (const auto& [name, unused] : setters) known += (known.empty() ? "" : ", ") + std::string(name);
    fail(ErrorKind::usage,
         {.where = std::string(kPrefix), .expected = known, .got = fmt::format("\"{}\"", key)});
  }
  setter->second();
}

}  // namespace

Size parse_size(std::string_view text, const std::string& where, int64_t least) {
  const size_t cross = text.find('x');
  if (cross == std::string_view::npos) {
    fail(ErrorKind::usage, {.where = where,
                            .expected = "height and width, for instance 128x192",
                            .got = fmt::format("\"{}\"", text)});
  }
  return {parse_number<int64_t>(text.substr(0, cross), where, least, 4096),
          parse_number<int64_t>(text.substr(cross + 1), where, least, 4096)};
}

SyntheticOptions parse_synthetic(const std::string& spec) {
  std::string_view rest = spec;
  if (!rest.starts_with(kPrefix)) {
    fail(ErrorKind::usage,
         {.where = spec, .expected = "a name that begins with synthetic:", .got = "another"});
  }
  rest.remove_prefix(kPrefix.size());
  SyntheticOptions options;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view pair = rest.substr(0, comma);
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      fail(ErrorKind::usage,
           {.where = std::string(kPrefix), .expected = "key=value", .got = fmt::format("\"{}\"", pair)});
    }
    set_option(options, pair.substr(0, equals), pair.substr(equals + 1));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return options;
}

std::string to_spec(const SyntheticOptions& o) {
  return fmt::format(
      "{}size={}x{},frames={},count={},max_shift={},max_zoom={},max_rotation={},layers={},seed={},split={}",
      kPrefix, o.size.height, o.size.width, o.frames, o.count, o.max_shift, o.max_zoom, o.max_rotation,
      o.layers, o.seed, o.split);
}

}  // namespace millrace
