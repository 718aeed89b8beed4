// Log lines and a progress bar on stderr, and log lines in a file. Threads may log while a bar is shown: the
// bar is taken away, the line written, the bar drawn again.
//
// Colour and the bar are for terminals only (isatty, and TERM not "dumb"); NO_COLOR, when set and not empty,
// takes the colour away (no-color.org). Logging never throws: a log file that cannot be written is given up
// with one warning.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "core/files.h"

namespace millrace {

enum class LogLevel { debug, info, warning, error, quiet };

struct LogOptions {
  int fd = 2;  // not owned
  LogLevel level = LogLevel::info;
  bool terminal = false;
  bool colour = false;
  int64_t columns = 0;  // of the terminal; 0 asks it each time
};

class Log {
 public:
  explicit Log(LogOptions options) : options_(options) {}
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void set_level(LogLevel level);  // of stderr; the file gets info and above in any case
  // Appends to `path` from now on, with date and time. ErrorKind::runtime when it cannot be opened.
  void set_file(const std::filesystem::path& path);

  void write(LogLevel level, std::string_view message);
  void debug(std::string_view message) { write(LogLevel::debug, message); }
  void info(std::string_view message) { write(LogLevel::info, message); }
  void warning(std::string_view message) { write(LogLevel::warning, message); }
  void error(std::string_view message) { write(LogLevel::error, message); }

  bool terminal() const { return options_.terminal; }
  int64_t columns() const;  // of the terminal
  // The line that stays below all others, cut to the terminal's width; "" takes it away. Nothing without a
  // terminal.
  void set_bar(std::string_view line);

 private:
  void put(std::string_view text);
  void put_bar(std::string& out) const;

  std::mutex mutex_;
  LogOptions options_;
  FileHandle file_;
  std::filesystem::path file_path_;
  std::string bar_;
};

// The log of this process, on stderr.
Log& log();
inline void log_debug(std::string_view message) { log().debug(message); }
inline void log_info(std::string_view message) { log().info(message); }
inline void log_warning(std::string_view message) { log().warning(message); }
inline void log_error(std::string_view message) { log().error(message); }

// How far a loop is.
struct Progress {
  std::string title = {};
  std::string unit = "step";
  int64_t done = 0;
  int64_t total = 0;  // 0: not known
  double rate = 0;    // units per second; 0: not known yet
  // Until the loop ends by something else than `total`, such as a limit of time; negative: nothing else ends
  // it. The ETA is the smaller.
  double seconds_left = -1;
  std::string status = {};  // the caller's own words, for instance the loss terms
  std::string detail = {};  // what may be missing on a narrow terminal
};

// "train [=====>    ] 50/100 50% 12.3 step/s ETA 0:04 loss 1.25 |g| 3"; without a terminal the same without
// the picture.
std::string progress_text(const Progress& progress, bool picture);
// The same in at most `columns` characters where it can be: what matters least goes first, the picture, the
// detail, the percentage, the title, the total. Rate, ETA and status stay.
std::string progress_text_within(const Progress& progress, int64_t columns);

// "1:02:03", "2:03"
std::string duration_text(double seconds);

struct ProgressOptions {
  std::string title = {};
  std::string unit = "step";
  int64_t total = 0;
  int64_t start = 0;                 // where a resumed loop begins, so that its rate is its own
  double redraw_seconds = 0.1;       // on a terminal
  double plain_seconds = 10;         // a log line that often without one
  std::function<double()> now = {};  // seconds; a steady clock unless given
};

// What a loop tells of itself; as in Progress.
struct ProgressUpdate {
  int64_t done = 0;
  double seconds_left = -1;
  std::string status = {};
  std::string detail = {};
};

// Used by one thread. The bar goes when it is destroyed; finish() writes a last line.
class ProgressBar {
 public:
  ProgressBar(Log& log, ProgressOptions options);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  void update(const ProgressUpdate& latest);
  void update(int64_t done, std::string_view status) {
    update({.done = done, .status = std::string(status)});
  }
  void finish();
  double rate() const;  // of about the last 20 seconds

 private:
  void show();

  Log& log_;
  ProgressOptions options_;
  Progress progress_;
  double last_update_ = 0;
  double last_shown_ = 0;
  double weighted_done_ = 0;  // sums with weights that decay by e each 20 s
  double weighted_seconds_ = 0;
};

}  // namespace millrace
