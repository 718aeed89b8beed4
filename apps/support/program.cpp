#include "apps/support/program.h"

#include <fcntl.h>
#include <omp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <new>
#include <string_view>
#include <system_error>
#include <vector>

#include "apps/support/backends.h"
#include "apps/support/help.h"
#include "apps/support/numbers.h"
#include "apps/support/unknown.h"
#include "core/error.h"

namespace millrace {
namespace {

constexpr int64_t kMaxThreads = 1024;

constexpr std::string_view kStopping = "\nstopping in order; a second signal ends at once\n";

std::atomic<bool> stop{false}, tell_of_stop{false};

extern "C" void on_signal(int number) {
  stop = true;
  std::signal(number, SIG_DFL);
  if (tell_of_stop) {
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, kStopping.data(), kStopping.size());
  }
}

// Where a shell has closed one of them (2>&-), the next file that is opened would get its number, and log
// lines would be written into weights.
void open_standard_files() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) == -1 && errno == EBADF)
      ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
  }
}

// A reader that goes away (| head) ends a write with an error, not the program: nobody needs to read a log
// for a run to go on, and results that nobody reads are told of by flush_results().
void survive_closed_pipes() { std::signal(SIGPIPE, SIG_IGN); }

// Of an option that is given twice, the last one counts, as scripts expect.
void let_last_count(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_expected_max() == 1) option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
}

[[noreturn]] void fail_results(const std::string& reason) {
  fail(ErrorKind::runtime, {"stdout", "to write the results", reason, ""});
}

// Results that nobody got are a failure: a full disk behind > must not look like success.
void flush_results() {
  if (std::cout.flush() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  fail_results(std::strerror(errno));
}

int parse_and_run(const Program& program, CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    fail_unknown(app);
  } catch (const CLI::RequiredError&) {
    if (!app.remaining(true).empty()) fail_unknown(app);  // perhaps the one that is required, misspelt
    throw;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() != 0) throw;
    app.exit(e);  // --help, --version
    flush_results();
    return 0;
  }
  try {
    const int code = program.run(app);
    flush_results();
    return code;
  } catch (const std::system_error& e) {
    if (std::ferror(stdout) != 0) fail_results(e.code().message());  // fmt::print's
    throw;
  }
}

}  // namespace

std::string version() { return MILLRACE_VERSION; }

int run_program(const Program& program, int argc, char** argv) {
  open_standard_files();
  survive_closed_pipes();
  CLI::App app{program.about, program.name};
  app.set_version_flag("--version", program.name + " of millrace " + version(), "print the version and exit");
  app.set_help_flag("-h,--help", "print this and exit");
  lay_out_help(app);
  program.setup(app);
  std::vector<CLI::App*> commands = app.get_subcommands({});
  commands.push_back(&app);
  for (CLI::App* command : commands) {
    let_last_count(*command);
    check_numbers(*command);
    tell_defaults(*command);
  }
  try {
    register_backends();
    return parse_and_run(program, app, argc, argv);
  } catch (const CLI::ParseError& e) {
    std::cerr << program.name << ": " << e.what() << " (see " << program.name << " --help)\n";
    return static_cast<int>(ErrorKind::usage);
  } catch (const Error& e) {
    std::cerr << program.name << ": " << e.what() << "\n";
    return e.exit_code();
  } catch (const std::bad_alloc&) {
    std::cerr << program.name
              << ": out of memory; a smaller --batch, --height and --width, or --channels need less\n";
  } catch (const std::exception& e) {
    std::cerr << program.name << ": " << e.what() << "\n";
  }
  return static_cast<int>(ErrorKind::runtime);
}

void catch_signals() {
  tell_of_stop = ::isatty(STDERR_FILENO) == 1;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool stop_requested() { return stop; }

void set_threads(int64_t threads) {
  if (threads < 0 || threads > kMaxThreads) {
    fail(ErrorKind::usage, {"--threads", "0 for all, or a number up to " + std::to_string(kMaxThreads),
                            std::to_string(threads), ""});
  }
  if (threads > 0) omp_set_num_threads(static_cast<int>(threads));
}

}  // namespace millrace
