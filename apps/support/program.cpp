#include "apps/support/program.h"

#include <omp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <iostream>
#include <new>

#include "core/error.h"

namespace millrace {
namespace {

constexpr int64_t kMaxThreads = 1024;

std::atomic<bool> stop{false};

extern "C" void on_signal(int number) {
  stop = true;
  std::signal(number, SIG_DFL);
}

// Of an option that is given twice, the last one counts, as scripts expect.
void let_last_count(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_expected_max() == 1) option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
}

}  // namespace

std::string version() { return MILLRACE_VERSION; }

int run_program(const Program& program, int argc, char** argv) {
  CLI::App app{program.about, program.name};
  app.set_version_flag("--version", program.name + " of millrace " + version());
  app.get_formatter()->column_width(32);
  program.setup(app);
  let_last_count(app);
  for (CLI::App* command : app.get_subcommands({})) let_last_count(*command);
  try {
    app.parse(argc, argv);
    return program.run(app);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
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
