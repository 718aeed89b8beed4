#include "core/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace millrace {
namespace {

using nlohmann::json;

int64_t nanoseconds(HostClock::duration d) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
}

std::string microseconds(int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

std::string object(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string text;
  for (const auto& [name, value] : values) text += (text.empty() ? "" : ",") + json_text(name) + ":" + value;
  return "{" + text + "}";
}

}  // namespace

std::string json_text(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string json_number(double number) { return std::isfinite(number) ? fmt::format("{}", number) : "null"; }

std::string Trace::to_json() const {
  HostClock::time_point origin = HostClock::time_point::max();
  for (const TraceSpan& span : spans_) origin = std::min(origin, span.begin);
  std::string text = "{\"displayTimeUnit\":\"ms\",\"otherData\":" + object(notes_) + ",\n\"traceEvents\":[\n";
  text += fmt::format(R"({{"ph":"M","name":"process_name","pid":1,"tid":0,"args":{{"name":{}}}}})",
                      json_text(process_));
  for (size_t t = 0; t < tracks_.size(); ++t) {
    text += fmt::format(
        ",\n"
        R"({{"ph":"M","name":"thread_name","pid":1,"tid":{},"args":{{"name":{}}}}})",
        t, json_text(tracks_[t]));
    text += fmt::format(
        ",\n"
        R"({{"ph":"M","name":"thread_sort_index","pid":1,"tid":{},"args":{{"sort_index":{}}}}})",
        t, t);
  }
  for (const TraceSpan& span : spans_) {
    const int64_t begin = nanoseconds(span.begin - origin), end = nanoseconds(span.end - origin);
    text += fmt::format(
        ",\n"
        R"({{"ph":"X","name":{},"cat":{},"pid":1,"tid":{},"ts":{},"dur":{},"args":{}}})",
        json_text(span.name), json_text(span.category), span.track, microseconds(begin),
        microseconds(end - begin), object(span.values));
  }
  return text + "\n]}\n";
}

}  // namespace millrace
