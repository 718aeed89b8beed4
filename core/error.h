// Errors are for the person at the keyboard: what was expected, what was found, where, and what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace millrace {

// What went wrong, and so the exit code of a program that stops for it.
enum class ErrorKind {
  runtime = 1,   // the machine failed us: disk full, out of memory, ...
  usage = 2,     // the command line or configuration cannot be meant
  data = 3,      // a file from outside is missing, broken or of the wrong kind
  device = 4,    // no such device, or it failed
  diverged = 5,  // a loss or gradient is not finite
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// Exit code of a program that was asked to stop by a signal and saved a checkpoint first (EX_TEMPFAIL).
constexpr int kExitInterrupted = 75;

struct Mismatch {
  std::string where;      // op or file
  std::string expected;   // "flow of shape (1,8,8,2)"
  std::string got;        // "(1,8,8,3)"
  std::string hint = {};  // optional: what to do
};

// "[where] expected <expected>, got <got>. <hint>"
inline std::string describe(const Mismatch& m) {
  std::string text = "[" + m.where + "] expected " + m.expected + ", got " + m.got;
  return m.hint.empty() ? text : text + ". " + m.hint;
}

[[noreturn]] inline void fail(ErrorKind kind, const Mismatch& m) { throw Error(kind, describe(m)); }

}  // namespace millrace
