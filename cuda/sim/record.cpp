#include <utility>

#include "core/error.h"
#include "cuda/sim/simulator.h"

namespace millrace::sim {

namespace {

thread_local bool is_recording = false;
thread_local Recording current;

void check(bool holds, const char* call, const char* got) {
  if (!holds)
    fail(ErrorKind::device,
         {.where = call, .expected = "begin_recording, then end_recording", .got = got, .hint = ""});
}

}  // namespace

void Recording::replay() const {
  for (const std::function<void()>& work : works_) work();
}

void begin_recording() {
  check(!is_recording, "begin_recording", "a recording that goes on");
  is_recording = true;
}

Recording end_recording() {
  check(is_recording, "end_recording", "no recording that was begun");
  is_recording = false;
  return std::exchange(current, {});
}

bool recording() { return is_recording; }

void submit(std::function<void()> work) {
  if (is_recording)
    current.works_.push_back(std::move(work));
  else
    work();
}

}  // namespace millrace::sim
