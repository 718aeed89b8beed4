#include "core/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace millrace {
namespace {

constexpr double kRateSeconds = 20;
constexpr std::string_view kClearLine = "\r\x1b[K";

struct LevelText {
  std::string_view name;
  std::string_view prefix;
  std::string_view colour;
};
constexpr LevelText kLevels[] = {{"debug", "debug: ", "\x1b[2m"},
                                 {"info", "", ""},
                                 {"warning", "warning: ", "\x1b[33m"},
                                 {"error", "error: ", "\x1b[31m"}};

LogOptions options_of_stderr() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string_view(value == nullptr ? "" : value);
  };
  LogOptions options;
  options.terminal = ::isatty(options.fd) == 1 && variable("TERM") != "dumb";
  options.colour = options.terminal && variable("NO_COLOR").empty();
  return options;
}

// Messages may hold names from hostile files: no control characters but line feed and tab reach the terminal.
std::string printable(std::string_view message) {
  std::string out(message);
  for (char& c : out) {
    const auto u = static_cast<unsigned char>(c);
    if ((u < 32 && c != '\n' && c != '\t') || u == 127) c = '?';
  }
  return out;
}

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// The first `columns` characters of UTF-8 text.
std::string_view cut(std::string_view text, int64_t columns) {
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins_character = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins_character && columns-- == 0) return text.substr(0, i);
  }
  return text;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What a line of progress shows beside the steps that are done, the rate, the ETA and the status.
struct Parts {
  bool picture = true, detail = true, percent = true, title = true, total = true;
};

std::string count_text(const Progress& p, const Parts& parts) {
  if (p.total <= 0) return fmt::format("{}", p.done);
  const double part = std::clamp(static_cast<double>(p.done) / static_cast<double>(p.total), 0.0, 1.0);
  std::string out;
  if (parts.picture) {
    constexpr int kWidth = 20;
    const int full = static_cast<int>(part * kWidth);
    out += fmt::format("[{}{}{}] ", std::string(full, '='), full < kWidth ? ">" : "",
                       std::string(std::max(kWidth - 1 - full, 0), ' '));
  }
  out += fmt::format("{}", p.done);
  if (parts.total) out += fmt::format("/{}", p.total);
  return parts.percent ? fmt::format("{} {}%", out, static_cast<int>(part * 100)) : out;
}

// Until `total` or the loop's other end, whichever comes first; negative: not known.
double seconds_until_end(const Progress& p) {
  if (!(p.rate > 0) || p.total <= p.done) return p.seconds_left;
  const double seconds = static_cast<double>(p.total - p.done) / p.rate;
  return p.seconds_left < 0 ? seconds : std::min(seconds, p.seconds_left);
}

std::string text_with(const Progress& p, const Parts& parts) {
  std::string out = parts.title && !p.title.empty() ? p.title + " " : "";
  out += count_text(p, parts);
  if (p.rate > 0) {
    const bool slow = p.rate < 0.1;
    out +=
        slow ? fmt::format(" {:.3g} s/{}", 1 / p.rate, p.unit) : fmt::format(" {:.3g} {}/s", p.rate, p.unit);
  }
  const bool over = p.total > 0 && p.done >= p.total;
  if (const double seconds = seconds_until_end(p); seconds >= 0 && !over)
    out += " ETA " + duration_text(seconds);
  if (!p.status.empty()) out += " " + p.status;
  return parts.detail && !p.detail.empty() ? out + " " + p.detail : out;
}

std::string date_and_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", local);
}

}  // namespace

Log& log() {
  static Log instance(options_of_stderr());
  return instance;
}

void Log::set_level(LogLevel level) {
  const std::lock_guard guard(mutex_);
  options_.level = level;
}

void Log::set_file(const std::filesystem::path& path) {
  FileHandle file = open_for_appending(path);
  const std::lock_guard guard(mutex_);
  file_ = std::move(file);
  file_path_ = path;
}

// What stderr does not take is lost: there is nobody left to tell.
void Log::put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(options_.fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

int64_t Log::columns() const {
  if (options_.columns != 0) return options_.columns;
  winsize size{};
  return ::ioctl(options_.fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void Log::put_bar(std::string& out) const {
  if (!bar_.empty()) out += cut(bar_, columns() - 1);  // the last column would wrap
}

void Log::write(LogLevel level, std::string_view message) {
  if (level == LogLevel::quiet) return;
  const LevelText& text = kLevels[static_cast<int>(level)];
  const std::string line = printable(message);
  const std::lock_guard guard(mutex_);
  std::string failure;
  if (file_ && level >= LogLevel::info) {
    try {
      const std::string dated = fmt::format("{} {:<7} {}\n", date_and_time(), text.name, line);
      write_all(file_, file_path_, std::as_bytes(std::span(dated)));
    } catch (const Error& e) {
      failure = fmt::format("warning: {}; no more is logged there\n", e.what());
      file_ = FileHandle();
    }
  }
  if (level < options_.level && failure.empty()) return;
  std::string out(bar_.empty() ? "" : kClearLine);
  const std::string_view colour = options_.colour ? text.colour : "";
  if (level >= options_.level) {
    out += fmt::format("{}{}{}{}\n", colour, text.prefix, colour.empty() ? "" : "\x1b[0m", line);
  }
  out += failure;
  put_bar(out);
  put(out);
}

void Log::set_bar(std::string_view line) {
  const std::lock_guard guard(mutex_);
  if (!options_.terminal || options_.level > LogLevel::info || (line.empty() && bar_.empty())) return;
  bar_ = printable(line);
  std::replace(bar_.begin(), bar_.end(), '\n', ' ');
  std::string out(kClearLine);
  put_bar(out);
  put(out);
}

std::string duration_text(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "?";
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string progress_text(const Progress& p, bool picture) { return text_with(p, {.picture = picture}); }

std::string progress_text_within(const Progress& p, int64_t columns) {
  Parts parts;
  std::string text = text_with(p, parts);
  for (bool Parts::*part : {&Parts::picture, &Parts::detail, &Parts::percent, &Parts::title, &Parts::total}) {
    if (characters(text) <= columns) break;
    parts.*part = false;
    text = text_with(p, parts);
  }
  return text;
}

ProgressBar::ProgressBar(Log& log, ProgressOptions options) : log_(log), options_(std::move(options)) {
  if (!options_.now) options_.now = steady_seconds;
  progress_ = {
      .title = options_.title, .unit = options_.unit, .done = options_.start, .total = options_.total};
  last_update_ = last_shown_ = options_.now();
  if (log_.terminal()) show();
}

ProgressBar::~ProgressBar() { log_.set_bar(""); }

double ProgressBar::rate() const { return weighted_seconds_ > 0 ? weighted_done_ / weighted_seconds_ : 0; }

void ProgressBar::update(const ProgressUpdate& latest) {
  const double now = options_.now();
  const double seconds = now - last_update_;
  const double decay = std::exp(-seconds / kRateSeconds);
  weighted_done_ = weighted_done_ * decay + static_cast<double>(latest.done - progress_.done);
  weighted_seconds_ = weighted_seconds_ * decay + seconds;
  progress_.done = latest.done;
  progress_.seconds_left = latest.seconds_left;
  progress_.status = latest.status;
  progress_.detail = latest.detail;
  progress_.rate = rate();
  last_update_ = now;
  if (now - last_shown_ < (log_.terminal() ? options_.redraw_seconds : options_.plain_seconds)) return;
  last_shown_ = now;
  show();
}

void ProgressBar::show() {
  if (log_.terminal()) {
    log_.set_bar(progress_text_within(progress_, log_.columns() - 1));
  } else {
    log_.info(progress_text(progress_, false));
  }
}

void ProgressBar::finish() {
  log_.set_bar("");
  log_.info(progress_text(progress_, false));
}

}  // namespace millrace
