// Steps that are queued, recorded and replayed on the simulated GPU: the same bits as node by node, inputs
// that arrive late, and what happens where a step cannot be recorded or fails while it is replayed.
#include "core/add.h"
#include "core/session.h"
#include "cuda/device.h"
#include "cuda/sim/driver_sim.h"
#include "layers/dropout.h"
#include "layers/scale.h"
#include "tests/catch.h"
#include "tests/unit/capture_support.h"
#include "tests/unit/message_of.h"

namespace millrace {
namespace {

using Catch::Matchers::Contains;
using test::message_of;
using Numbers = std::vector<float>;

constexpr int64_t kCount = 40;

// sum' = sum + 2 dropout(x, at): a step whose result depends on all inputs of all steps before.
Graph summing_graph() {
  Graph g;
  const Value x = g.input("x", {kCount}), at = g.input("at", Spec{{2}, Dtype::i64});
  const Value sum = g.state({"sum", 0}, {kCount}, "sum");
  g.update(sum, add(g, sum, scale(g, dropout(g, x, at, {.ratio = .5, .stream = "x"}), 2)));
  g.output("x_and_x", add(g, x, x));
  return g;
}

struct Summing {
  explicit Summing(bool capture, const std::map<std::string, std::string>& versions = {})
      : state(machine.device),
        session(std::make_unique<Session>(
            make_plan(summing_graph(), {.device = "cuda-sim", .versions = versions}), state,
            SessionOptions{.capture = capture})) {}

  void queue(int64_t step) {
    Numbers x(kCount);
    for (int64_t k = 0; k < kCount; ++k) x[static_cast<size_t>(k)] = static_cast<float>(k + 100 * step);
    session->set("x", x);
    session->set("at", std::vector<int64_t>{7, step});
    session->run();
  }
  Numbers sum() {
    Numbers numbers(kCount);
    session->wait();
    state.read("sum", 0, kCount, numbers.data());
    return numbers;
  }

  test::SimGpu machine;
  State state;
  std::unique_ptr<Session> session;
};

Numbers sum_of_steps(Summing& s, int64_t steps) {
  for (int64_t k = 0; k < steps; ++k) s.queue(k);
  return s.sum();
}

// --- kernels that do what a recorded step must not ---

int host_counter = 0;

// Reads a number of the host's when it is queued.
void scale_by_host(const KernelArgs& args) {
  const auto factor = static_cast<float>(++host_counter);
  const Tensor x = args.in[0], y = args.out[0];
  sim::SimDriver::run_on(args.stream, [=] {
    for (int64_t k = 0; k < x.count(); ++k) y.as<float>()[k] = factor * x.as<float>()[k];
  });
}

sim::SimDriver* allocating_driver = nullptr;

// Takes memory each time that it runs.
void scale_in_new_memory(const KernelArgs& args) {
  void* memory = nullptr;
  const CudaStatus taken = allocating_driver->allocate(memory, args.out[0].bytes());
  if (!taken.ok()) fail(ErrorKind::device, {"scale", "memory", taken.name, ""});
  const Tensor x = args.in[0], y = args.out[0];
  sim::SimDriver::run_on(args.stream, [=] {
    for (int64_t k = 0; k < x.count(); ++k) y.as<float>()[k] = 2 * x.as<float>()[k];
  });
  allocating_driver->release(memory);
}

void register_wrong_kernels() {
  static const bool done = [] {
    Registry& r = Registry::mutable_registry();
    r.add_kernel({.op = Scale::kName,
                  .device = "cuda-sim",
                  .version = "bakes",
                  .run = scale_by_host,
                  .preference = -100});
    r.add_kernel({.op = Scale::kName,
                  .device = "cuda-sim",
                  .version = "allocates",
                  .run = scale_in_new_memory,
                  .preference = -100});
    return true;
  }();
  (void)done;
}

}  // namespace

TEST_CASE("a recorded step gives the bits of one that is queued node by node, with inputs of its own time") {
  Summing eager(false), captured(true);
  for (int64_t steps = 0; steps < 7; ++steps) {
    eager.queue(steps);
    captured.queue(steps);
    CHECK(captured.session->recorded() == (steps >= Session::kWarmUpRuns));
    CHECK(captured.session->get("x_and_x") == eager.session->get("x_and_x"));
    CHECK(captured.sum() == eager.sum());
  }
  CHECK_FALSE(eager.session->recorded());
  CHECK(captured.machine.driver->calls("launch_graph") == 5);
  CHECK(captured.sum()[5] > 0);
}

TEST_CASE("steps that are queued behind each other mix no inputs, however late those arrive") {
  Summing eager(false), captured(true), waiting(true);
  Numbers expected;
  for (int64_t k = 0; k < 12; ++k) {
    waiting.queue(k);
    expected = waiting.sum();
  }
  CHECK(sum_of_steps(eager, 12) == expected);
  CHECK(sum_of_steps(captured, 12) == expected);
}

TEST_CASE("a step that bakes in a number of the host is found by comparing its recording with its nodes") {
  register_wrong_kernels();
  const std::map<std::string, std::string> wrong{{Scale::kName, "bakes"}};
  host_counter = 0;
  Summing eager(false, wrong);
  const Numbers expected = sum_of_steps(eager, 6);
  host_counter = 0;
  Summing captured(true, wrong);
  CHECK(sum_of_steps(captured, 6) != expected);
  host_counter = 0;
  Summing again(false, wrong);  // what differs is the recording
  CHECK(sum_of_steps(again, 6) == expected);
}

TEST_CASE("a step allocates nothing and waits for nothing") {
  Summing s(true);
  sum_of_steps(s, Session::kWarmUpRuns + 1);
  REQUIRE(s.session->recorded());
  const std::vector<std::string> calls{"allocate", "allocate_pinned",    "release",      "release_pinned",
                                       "launch",   "synchronize_stream", "begin_capture"};
  std::vector<int64_t> before, after;
  for (const std::string& call : calls) before.push_back(s.machine.driver->calls(call));
  const int64_t graphs = s.machine.driver->calls("launch_graph");
  for (int64_t k = 0; k < 20; ++k) s.queue(k);
  for (const std::string& call : calls) after.push_back(s.machine.driver->calls(call));
  CHECK(after == before);
  CHECK(s.machine.driver->calls("launch_graph") == graphs + 20);
}

TEST_CASE("inputs of the next step are copied while a step is still to be done") {
  Summing s(true);
  sum_of_steps(s, Session::kWarmUpRuns + 1);
  const int64_t replays = s.machine.driver->calls("replay");
  s.queue(10);
  const int64_t copies = s.machine.driver->calls("copy_in");
  s.session->set("x", Numbers(kCount, 1));
  CHECK(s.machine.driver->calls("copy_in") == copies + 1);
  CHECK(s.machine.driver->calls("replay") == replays);  // the step before is queued, not done
  s.session->wait();
  CHECK(s.machine.driver->calls("replay") == replays + 1);
}

TEST_CASE("what cannot be recorded is queued node by node, and one line says so") {
  register_wrong_kernels();
  Summing plain(false);
  const Numbers expected = sum_of_steps(plain, 6);
  struct Way {
    const char* what;
    std::string version;
    std::vector<sim::SimFault> faults;
    const char* said;
  };
  for (const Way& way : std::vector<Way>{
           {"a kernel takes memory", "allocates", {}, "cudaErrorStreamCaptureUnsupported"},
           {"begin", "", {{"begin_capture", 1, "cudaErrorStreamCaptureUnsupported"}}, "to begin recording"},
           {"end", "", {{"end_capture", 1, "cudaErrorStreamCaptureInvalidated"}}, "a recording"}}) {
    INFO(way.what);
    std::map<std::string, std::string> versions;
    if (!way.version.empty()) versions[Scale::kName] = way.version;
    Summing s(true, versions);
    allocating_driver = s.machine.driver.get();
    for (const sim::SimFault& fault : way.faults) s.machine.driver->inject(fault);
    Numbers sum;
    const auto lines = test::log_lines_of([&] { sum = sum_of_steps(s, 6); });
    CHECK(sum == expected);
    CHECK_FALSE(s.session->recorded());
    REQUIRE(lines.size() == 1);
    CHECK_THAT(lines[0], Contains("is not recorded") && Contains(way.said));
  }
}

TEST_CASE("a recording that is refused or fails says so with its nodes, and nothing is leaked") {
  std::shared_ptr<sim::SimDriver> driver;
  {
    Summing s(true);
    driver = s.machine.driver;
    sum_of_steps(s, 4);
    driver->inject({"launch_graph", 1, "cudaErrorLaunchFailure"});
    CHECK_THAT(message_of([&] { s.queue(4); }),
               Contains("a recorded step to start") && Contains("cudaErrorLaunchFailure"));
  }
  {
    Summing s(true);
    driver = s.machine.driver;
    sum_of_steps(s, 4);
    driver->inject({"replay", 2, "cudaErrorIllegalAddress"});
    s.queue(4);
    s.queue(5);
    CHECK_THAT(message_of([&] { s.session->get("x_and_x"); }),
               Contains("one of ") && Contains(" nodes from ") && Contains("cudaErrorIllegalAddress"));
    CHECK_THAT(message_of([&] { s.queue(6); }), Contains("cudaErrorIllegalAddress"));
  }
}

TEST_CASE("a fault names the sessions that had queued work, and those only") {
  Summing s(true);
  Graph g;
  g.output("y", scale(g, g.input("x", {kCount}), 3));
  Session other(make_plan(g, {.device = "cuda-sim"}), s.state);
  sum_of_steps(s, 4);
  other.run();
  s.machine.driver->inject({"copy_out", 1, "cudaErrorIllegalAddress"});
  const std::string message = message_of([&] { other.get("y"); });
  CHECK_THAT(message, Contains("one of 1 nodes from scale"));
  CHECK_THAT(message, !Contains(" or one of"));
}

TEST_CASE("a session whose work is still queued can go") {
  test::SimGpu machine;
  State state(machine.device);
  for (int round = 0; round < 2; ++round) {
    Session s(make_plan(summing_graph(), {.device = "cuda-sim"}), state);
    for (int k = 0; k < 4; ++k) s.run();
    Session moved(std::move(s));
    moved.run();
  }
  machine.device.synchronize();
  CHECK(machine.driver->calls("replay") == 6);
}

TEST_CASE("poisoned, checked and waiting runs are never recorded") {
  test::SimGpu machine;
  State state(machine.device);
  const Plan plan = make_plan(summing_graph(), {.device = "cuda-sim"});
  Session poisoned(plan, state, {.poison = true}), waiting(plan, state, {.wait_for_nodes = true});
  for (int k = 0; k < 5; ++k) {
    poisoned.run();
    waiting.run();
    CHECK_FALSE(waiting.run_checked());
  }
  CHECK_FALSE(poisoned.recorded());
  CHECK_FALSE(waiting.recorded());
  CHECK(machine.driver->calls("begin_capture") == 0);
}

TEST_CASE("a readback gives what was there when it was queued, while steps go on") {
  Summing s(true);
  const auto first = s.machine.device.make_readback(kCount * 4),
             second = s.machine.device.make_readback(kCount * 4);
  sum_of_steps(s, 4);
  const Numbers expected = s.sum();
  first->queue(s.state.at("sum").data, kCount * 4);
  s.queue(4);
  second->queue(s.state.at("sum").data, kCount * 4);
  s.queue(5);
  const int64_t waits = s.machine.driver->calls("synchronize_stream");
  const auto* numbers = static_cast<const float*>(first->wait());
  CHECK(Numbers(numbers, numbers + kCount) == expected);
  CHECK(static_cast<const float*>(second->wait())[5] > expected[5]);
  CHECK(s.machine.driver->calls("synchronize_stream") == waits);
}

}  // namespace millrace
