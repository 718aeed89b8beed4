// Starts the real programs, as a user or a script does, and hands back what they said.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/unit/temporary_folder.h"

namespace millrace::test {

struct Result {
  int code = -1;   // exit code; -1 when a signal ended it
  int signal = 0;  // that ended it, 0: none
  std::string out, err;
  int64_t peak_kib = 0;  // largest resident memory
};

// One running program. Its output goes to files in a folder of its own, so that no pipe can fill up.
class Process {
 public:
  // `program` is "motionnet-train", "motionnet-flow" or "millrace-data". OMP_WAIT_POLICY is passive, NO_COLOR
  // not set.
  Process(const std::string& program, const std::vector<std::string>& arguments);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();  // kills and waits when nobody has waited

  void kill(int signal) const;
  bool running();
  // Waits for its end; after two minutes it is killed, which the caller sees as signal SIGKILL.
  Result wait();

 private:
  void reap(int status, int64_t peak_kib);

  pid_t pid_ = -1;
  bool ended_ = false;
  Result result_;
  TemporaryFolder folder_;
};

Result train(const std::vector<std::string>& arguments);
Result flow(const std::vector<std::string>& arguments);

// `first` and then `more`.
std::vector<std::string> join(std::vector<std::string> first, const std::vector<std::string>& more);
// "--channels .05 --seed 3" as a list; for arguments without spaces.
std::vector<std::string> words(const std::string& text);

std::vector<std::string> lines_of(const std::string& text);
std::string last_line(const std::string& text);

}  // namespace millrace::test
