// What all programs do alike: errors to one line and an exit code, signals, --version.
#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace millrace {

// Runs a program: `setup` declares its options, `run` does the work and returns the exit code. A thrown Error
// becomes one line on stderr and the exit code of its kind (core/error.h); a wrong command line becomes 2.
struct Program {
  std::string name;
  std::string about;
  std::function<void(CLI::App&)> setup;
  std::function<int(CLI::App&)> run;
};
int run_program(const Program& program, int argc, char** argv);

std::string version();

// From then on SIGINT and SIGTERM only set a flag; a second one kills.
void catch_signals();
bool stop_requested();

// Threads of OpenMP; 0 takes as many as the machine has.
void set_threads(int64_t threads);

}  // namespace millrace
