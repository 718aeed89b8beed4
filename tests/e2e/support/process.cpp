#include "tests/e2e/support/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace millrace::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** v = environ; *v; ++v) {
    const std::string variable = *v;
    if (variable.rfind("OMP_", 0) != 0) variables.push_back(variable);
  }
  variables.push_back("OMP_WAIT_POLICY=passive");
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Process::Process(const std::string& program, const std::vector<std::string>& arguments) {
  const std::string out = folder_ / "out", err = folder_ / "err",
                    binary = std::string(MILLRACE_BIN) + "/" + program;
  std::vector<std::string> argv = join({binary}, arguments), variables = environment();
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::posix_spawn_file_actions_addopen(&files, 2, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int code = ::posix_spawn(&pid_, binary.c_str(), &files, nullptr, pointers(argv).data(),
                                 pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&files);
  if (code != 0) throw std::runtime_error("cannot start " + binary);
}

Process::~Process() {
  if (!ended_) {
    kill(SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
  }
}

void Process::kill(int signal) const {
  if (!ended_) ::kill(pid_, signal);
}

bool Process::running() {
  if (ended_) return false;
  int status = 0;
  rusage usage{};
  if (::wait4(pid_, &status, WNOHANG, &usage) != pid_) return true;
  reap(status, usage.ru_maxrss);
  return false;
}

void Process::reap(int status, int64_t peak_kib) {
  ended_ = true;
  if (WIFEXITED(status)) result_.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
  result_.peak_kib = peak_kib;
  result_.out = text_of(folder_ / "out");
  result_.err = text_of(folder_ / "err");
}

Result Process::wait() {
  for (int k = 0; running(); ++k) {
    if (k == 60000) kill(SIGKILL);
    std::this_thread::sleep_for(2ms);
  }
  return result_;
}

Result train(const std::vector<std::string>& arguments) {
  return Process("motionnet-train", arguments).wait();
}
Result flow(const std::vector<std::string>& arguments) { return Process("motionnet-flow", arguments).wait(); }

std::vector<std::string> join(std::vector<std::string> first, const std::vector<std::string>& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

std::string last_line(const std::string& text) {
  const auto lines = lines_of(text);
  return lines.empty() ? "" : lines.back();
}

}  // namespace millrace::test
