#include "cuda/sim/faults.h"

#include <cstdio>

#include "core/error.h"
#include "cuda/sim/simulator.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace millrace::sim {

namespace {

thread_local const Launch* running = nullptr;

std::string show_launch(const Launch& launch) {
  return kernel_name(launch.kernel) + " launched at " + show_line(launch.where);
}

}  // namespace

#ifdef __SANITIZE_ADDRESS__
// ASan and UBSan say what happened and end the program; these add in which thread of which kernel. Each has
// its own way.
static void name_running_thread() {
  if (Running::now()) std::fprintf(stderr, "[%s] was running\n", running_thread().c_str());
}
[[maybe_unused]] static const bool asan_names_running_thread = [] {
  __sanitizer_set_death_callback(name_running_thread);
  return true;
}();
extern "C" void __ubsan_on_report() { name_running_thread(); }
#endif

Running::Running(const Launch& launch) { running = &launch; }
Running::~Running() { running = nullptr; }
bool Running::now() { return running != nullptr; }

std::string show(const dim3& d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

std::string show_line(const std::source_location& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

std::string running_thread() {
  return show_launch(*running) + ", block " + show(position.block) + ", thread " + show(position.thread);
}

void fault(const std::string& expected, const std::string& got) {
  fail(ErrorKind::device, {.where = running_thread(), .expected = expected, .got = got, .hint = ""});
}

void refuse(const Launch& launch, const std::string& expected, const std::string& got) {
  fail(ErrorKind::device, {.where = show_launch(launch), .expected = expected, .got = got, .hint = ""});
}

}  // namespace millrace::sim
