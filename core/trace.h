// Spans of time on named tracks, as a file that chrome://tracing and ui.perfetto.dev open: the JSON object of
// the Trace Event Format with complete events ("X").
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/timer.h"

namespace millrace {

struct TraceSpan {
  int track = 0;  // number of Trace's list
  std::string name;
  std::string category = {};
  HostClock::time_point begin, end;
  // Shown with the span: name, and a value as JSON ("1.5", "\"text\"").
  std::vector<std::pair<std::string, std::string>> values = {};
};

// A text as JSON; bytes that are no UTF-8 become U+FFFD.
std::string json_text(const std::string& text);
std::string json_number(double number);  // null where it is not finite

class Trace {
 public:
  Trace(std::string process, std::vector<std::string> tracks)
      : process_(std::move(process)), tracks_(std::move(tracks)) {}

  void add(TraceSpan span) { spans_.push_back(std::move(span)); }
  // Of the whole trace: "otherData", shown by the viewers as metadata. `value` is JSON.
  void note(const std::string& name, const std::string& value) { notes_.push_back({name, value}); }
  size_t spans() const { return spans_.size(); }

  // Times count from the first span's begin, in whole nanoseconds, so that spans that nest in the clock nest
  // in the file; the format's unit is the microsecond.
  std::string to_json() const;

 private:
  std::string process_;
  std::vector<std::string> tracks_;
  std::vector<TraceSpan> spans_;
  std::vector<std::pair<std::string, std::string>> notes_;
};

}  // namespace millrace
