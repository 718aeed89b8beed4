// Session: a plan with memory behind it. Write inputs, run(), read outputs, as often as you like; run()
// allocates nothing. Before it allocates, the constructor asks whether the device has as much.
//
// run() queues the step and does not wait; reading an output waits. After kWarmUpRuns runs, in which kernels
// and libraries do what they do only once, a device that can records the step, and each run queues that
// recording: all its nodes in one call. What a kernel reads of the host while it is queued is then frozen, so
// whatever changes from step to step is an input or lies in the State.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plan.h"
#include "core/state.h"
#include "core/timer.h"

namespace millrace {

struct SessionOptions {
  // Memory that several sessions use in turn; at least plan.arena_bytes. None: the session has its own.
  Memory* arena = nullptr;
  // Tests: fills whatever is not live with NaN, so that a read of dead or never written memory shows.
  bool poison = false;
  // Waits after each node, so that a fault of the device while a node runs names it. Slow.
  bool wait_for_nodes = false;
  // Records the step, where the device can; not with the two options above.
  bool capture = true;
};

// What sessions of these plans take of the device that does not have it yet: one arena, the State and each
// plan's inputs.
MemoryNeed memory_need(const std::vector<const Plan*>& plans, const State& state);

// A value that is not finite, found by run_checked().
struct BadNode {
  std::string node;
  int output = 0;
  int64_t element = 0;
  double value = 0;
  std::string to_string() const;
};

class Session {
 public:
  // Creates the buffers of the State that the plan needs. The State outlives the session.
  Session(Plan plan, State& state, SessionOptions options = {});
  ~Session();  // waits: its memory must not go while the device computes in it
  Session(Session&&) noexcept = default;

  static constexpr int kWarmUpRuns = 2;

  const Plan& plan() const { return plan_; }

  // Copies `values` into an input; their number and type must be the input's. An input is zero before, and
  // keeps its content from run to run.
  template <class T> void set(const std::string& input, const T* values, int64_t count) {
    set_bytes(input, values, count, dtype_of<T>());
  }
  template <class T> void set(const std::string& input, const std::vector<T>& values) {
    set(input, values.data(), static_cast<int64_t>(values.size()));
  }
  // One real number, converted to the input's type.
  void set_scalar(const std::string& input, double value);

  void run();
  // Until all that was queued is done. Throws what went wrong there, with the nodes among which it was.
  void wait() { device_.synchronize(); }
  // Whether run() queues a recording.
  bool recorded() const { return recording_ != nullptr; }
  // The same node by node; stops at the first node with an output that is not finite.
  std::optional<BadNode> run_checked();
  // The same with a mark between nodes and one wait at the end: how long each step of the plan took.
  StepTimes run_timed();

  // Reads a result; real numbers only, converted to double.
  std::vector<double> get(const std::string& output) const;
  double get_scalar(const std::string& output) const;
  // The memory of an input or output, valid until the next run.
  const Tensor& output(const std::string& name) const { return tensor(plan_.outputs, name, "output"); }
  const Tensor& input(const std::string& name) const { return tensor(plan_.inputs, name, "input"); }

 private:
  struct Launch {
    KernelFn run;
    KernelArgs args;
  };

  void set_bytes(const std::string& input, const void* values, int64_t count, Dtype dtype);
  const Tensor& tensor(const std::map<std::string, Value>& names, const std::string& name,
                       const char* what) const;
  void bind();
  void launch(size_t step);
  void launch_all();
  void record();
  void synchronize(size_t step);
  void poison_dead(int64_t after_step);

  Plan plan_;
  State& state_;
  Device& device_;
  bool poison_, wait_for_nodes_, capture_;
  int runs_ = 0;  // before it is recorded
  std::unique_ptr<Recording> recording_;
  std::shared_ptr<const std::string> nodes_;  // in words, for errors
  Memory own_arena_, inputs_;
  char* arena_;                   // own or shared; a pointer to the bytes, so that a Session can be moved
  std::vector<Tensor> values_;    // per value of the plan
  std::vector<Tensor> operands_;  // of all launches, inputs before outputs
  std::vector<Launch> launches_;
  std::unique_ptr<Timer> timer_;  // of run_timed()
};

// Converts the elements of a tensor in host memory.
std::vector<double> to_double(const Tensor& t);

}  // namespace millrace
