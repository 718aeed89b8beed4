#include "cuda/sim/driver_sim.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "core/device.h"
#include "core/error.h"
#include "cuda/sim/driver_status.h"
#include "cuda/sim/simulator.h"

namespace millrace::sim {
CudaProperties simulated_gpu() {
  return {.name = "simulated GPU on the CPU",
          .major = 9,
          .minor = 0,
          .multiprocessors = 0,
          .memory_bytes = int64_t{64} << 30};
}

// Work [done, queued) waits.
struct SimDriver::Stream {
  SimDriver* driver = nullptr;
  std::deque<std::function<void()>> works = {};
  int64_t done = 0;

  int64_t queued() const { return done + static_cast<int64_t>(works.size()); }
  // What the simulator finds wrong in a recorded kernel ends the context.
  void settle(int64_t until) {
    while (done < until) {
      const std::function<void()> work = std::move(works.front());
      works.pop_front();
      ++done;
      try {
        if (driver->broken_.ok()) work();
      } catch (const Error& e) {
        driver->broken_ = {kCudaLaunchFailure, "cudaErrorLaunchFailure", e.what()};
      }
    }
  }
  void settle() { settle(queued()); }
};

// All work before `until` on the stream.
struct SimDriver::Event {
  Stream* stream = nullptr;
  int64_t until = 0;
  bool timed = false;
  std::optional<std::chrono::steady_clock::time_point> time = {};  // the stream has passed it
};

struct SimDriver::Graph {
  Recording recording;
};

SimDriver::SimDriver(SimMachine machine) : machine_(std::move(machine)) {
  sim::before_launch = &SimDriver::before_launch;
}

SimDriver::~SimDriver() {
  for (const auto& [memory, bytes] : memory_) std::free(memory);
  for (Stream* stream : streams_) delete stream;
  for (Event* event : events_) delete event;
  for (Graph* graph : graphs_) delete graph;
}

void SimDriver::inject(const SimFault& fault) {
  faults_.push_back({fault.call, calls(fault.call) + fault.nth, fault.name});
}

int64_t SimDriver::calls(const std::string& name) const {
  const auto found = calls_.find(name);
  return found == calls_.end() ? 0 : found->second;
}

int64_t SimDriver::alive() const {
  return static_cast<int64_t>(memory_.size() + streams_.size() + events_.size() + graphs_.size());
}

CudaStatus SimDriver::enter(const std::string& call) {
  const int64_t number = ++calls_[call];
  if (!broken_.ok()) return broken_;
  for (const SimFault& fault : faults_) {
    if (fault.call != call || fault.nth != number) continue;
    const CudaStatus status = status_named(fault.name);
    if (ends_context(status.code)) broken_ = status;
    return status;
  }
  return {};
}

CudaStatus SimDriver::enter_unrecorded(const std::string& call) {
  const CudaStatus status = enter(call);
  if (!recording()) return status;
  invalidated_ = true;
  return status.ok() ? status_of(kCudaCaptureUnsupported) : status;
}

// A launch is refused in the words of cuda/launch.cuh.
void SimDriver::before_launch(const Launch& launch) {
  if (!launch.stream) return;
  Stream& stream = *static_cast<Stream*>(launch.stream);
  CudaStatus status = stream.driver->enter("launch");
  if (status.ok()) {
    stream.settle();
    status = stream.driver->broken_;
  }
  if (status.ok()) stream.driver->enter("kernel");
  if (!status.ok()) {
    fail(ErrorKind::device, {.where = kernel_name(launch.kernel) + " at " + launch.where.file_name() + ":" +
                                      std::to_string(launch.where.line()),
                             .expected = "cudaLaunchKernel to succeed",
                             .got = status.name + ": " + status.text,
                             .hint = ""});
  }
}

void SimDriver::run_on(void* stream, std::function<void()> work) {
  if (stream) static_cast<Stream*>(stream)->settle();
  submit(std::move(work));
}

CudaStatus SimDriver::versions(int& driver, int& runtime) {
  driver = machine_.driver_version;
  runtime = machine_.runtime_version;
  return enter("versions");
}

CudaStatus SimDriver::device_count(int& count) {
  count = machine_.gpus;
  return enter("device_count");
}

CudaStatus SimDriver::properties(int device, CudaProperties& properties) {
  properties = machine_.gpu;
  const CudaStatus status = enter("properties");
  return status.ok() && device >= machine_.gpus ? status_of(kCudaInvalidDevice) : status;
}

CudaStatus SimDriver::use_device(int) { return enter("use_device"); }

CudaStatus SimDriver::memory_info(int64_t& free, int64_t& total) {
  free = machine_.gpu.memory_bytes - allocated_;
  total = machine_.gpu.memory_bytes;
  return enter("memory_info");
}

CudaStatus SimDriver::take(void*& memory, int64_t bytes) {
  void* taken = nullptr;
  if (::posix_memalign(&taken, kAlignment, static_cast<size_t>(std::max<int64_t>(bytes, 1))) != 0)
    return status_of(kCudaOutOfMemory);
  memory_[taken] = bytes;
  memory = taken;
  return {};
}

// As in CUDA, what is queued is done first.
CudaStatus SimDriver::give_back(void* memory) {
  for (Stream* stream : streams_) stream->settle();
  if (memory_.erase(memory) == 0) return status_of(kCudaInvalidValue);
  std::free(memory);
  return {};
}

CudaStatus SimDriver::allocate(void*& memory, int64_t bytes) {
  CudaStatus status = enter_unrecorded("allocate");
  if (!status.ok()) return status;
  if (allocated_ + bytes > machine_.gpu.memory_bytes) return status_of(kCudaOutOfMemory);
  status = take(memory, bytes);
  if (status.ok()) allocated_ += bytes;
  return status;
}

CudaStatus SimDriver::release(void* memory) {
  const CudaStatus status = enter_unrecorded("release");
  if (!status.ok()) return status;
  if (const auto found = memory_.find(memory); found != memory_.end()) allocated_ -= found->second;
  return give_back(memory);
}

CudaStatus SimDriver::allocate_pinned(void*& memory, int64_t bytes) {
  const CudaStatus status = enter_unrecorded("allocate_pinned");
  return status.ok() ? take(memory, bytes) : status;
}

CudaStatus SimDriver::release_pinned(void* memory) {
  const CudaStatus status = enter_unrecorded("release_pinned");
  return status.ok() ? give_back(memory) : status;
}

// While a recording goes on, work is part of it.
CudaStatus SimDriver::queue(const std::string& call, void* stream, std::function<void()> work) {
  const CudaStatus status = enter(call);
  if (!status.ok()) return status;
  if (recording())
    submit(std::move(work));
  else
    static_cast<Stream*>(stream)->works.push_back(std::move(work));
  return {};
}

namespace {

std::function<void()> copying(void* to, const void* from, int64_t bytes) {
  return [=] { std::memcpy(to, from, static_cast<size_t>(bytes)); };
}

}  // namespace

CudaStatus SimDriver::copy_in(void* to, const void* from, int64_t bytes, void* stream) {
  return queue("copy_in", stream, copying(to, from, bytes));
}

CudaStatus SimDriver::copy_out(void* to, const void* from, int64_t bytes, void* stream) {
  return queue("copy_out", stream, copying(to, from, bytes));
}

CudaStatus SimDriver::copy_within(void* to, const void* from, int64_t bytes, void* stream) {
  return queue("copy_within", stream, copying(to, from, bytes));
}

CudaStatus SimDriver::fill(void* memory, uint8_t value, int64_t bytes, void* stream) {
  return queue("fill", stream, [=] { std::memset(memory, value, static_cast<size_t>(bytes)); });
}

CudaStatus SimDriver::create_stream(void*& stream) {
  const CudaStatus status = enter("create_stream");
  if (status.ok()) stream = *streams_.insert(new Stream{this}).first;
  return status;
}

CudaStatus SimDriver::destroy_stream(void* stream) {
  const CudaStatus status = enter("destroy_stream");
  if (!status.ok()) return status;
  auto* gone = static_cast<Stream*>(stream);
  gone->settle();
  for (Event* event : events_) {
    if (event->stream == gone) event->stream = nullptr;
  }
  streams_.erase(gone);
  delete gone;
  return {};
}

CudaStatus SimDriver::synchronize_stream(void* stream) {
  const CudaStatus status = enter_unrecorded("synchronize_stream");
  if (!status.ok()) return status;
  static_cast<Stream*>(stream)->settle();
  return broken_;
}

CudaStatus SimDriver::create_event(void*& event) {
  const CudaStatus status = enter("create_event");
  if (status.ok()) event = *events_.insert(new Event).first;
  return status;
}

CudaStatus SimDriver::create_timed_event(void*& event) {
  const CudaStatus status = enter("create_timed_event");
  if (status.ok()) event = *events_.insert(new Event{.timed = true}).first;
  return status;
}

CudaStatus SimDriver::elapsed_seconds(void* from, void* to, double& seconds) {
  const CudaStatus status = enter("elapsed_seconds");
  if (!status.ok()) return status;
  const Event &first = *static_cast<Event*>(from), &last = *static_cast<Event*>(to);
  if (!first.stream || !last.stream) return status_of(kCudaInvalidValue);
  if (!first.time || !last.time) return status_of(kCudaNotReady);
  seconds = std::chrono::duration<double>(*last.time - *first.time).count();
  return {};
}

CudaStatus SimDriver::destroy_event(void* event) {
  const CudaStatus status = enter("destroy_event");
  if (!status.ok()) return status;
  if (Stream* on = static_cast<Event*>(event)->stream) on->settle(static_cast<Event*>(event)->until);
  events_.erase(static_cast<Event*>(event));
  delete static_cast<Event*>(event);
  return {};
}

CudaStatus SimDriver::record_event(void* event, void* stream) {
  const CudaStatus status = enter_unrecorded("record_event");
  auto* on = static_cast<Stream*>(stream);
  if (!status.ok()) return status;
  auto* recorded = static_cast<Event*>(event);
  recorded->time.reset();
  if (recorded->timed) on->works.push_back([recorded] { recorded->time = std::chrono::steady_clock::now(); });
  recorded->stream = on;
  recorded->until = on->queued();
  return {};
}

CudaStatus SimDriver::wait_event(void* stream, void* event) {
  const CudaStatus status = enter_unrecorded("wait_event");
  const Event awaited = *static_cast<Event*>(event);
  if (status.ok() && awaited.stream) {
    static_cast<Stream*>(stream)->works.push_back([awaited] { awaited.stream->settle(awaited.until); });
  }
  return status;
}

CudaStatus SimDriver::synchronize_event(void* event) {
  const CudaStatus status = enter_unrecorded("synchronize_event");
  const Event awaited = *static_cast<Event*>(event);
  if (!status.ok() || !awaited.stream) return status;
  awaited.stream->settle(awaited.until);
  return broken_;
}

CudaStatus SimDriver::begin_capture(void* stream) {
  const CudaStatus status = enter("begin_capture");
  if (!status.ok()) return status;
  static_cast<Stream*>(stream)->settle();
  invalidated_ = false;
  begin_recording();
  return {};
}

CudaStatus SimDriver::end_capture(void*, void*& graph) {
  Recording recorded = end_recording();
  CudaStatus status = enter("end_capture");
  if (status.ok() && invalidated_) status = status_of(kCudaCaptureInvalidated);
  if (status.ok()) graph = *graphs_.insert(new Graph{std::move(recorded)}).first;
  return status;
}

CudaStatus SimDriver::launch_graph(void* graph, void* stream) {
  return queue("launch_graph", stream, [this, recorded = static_cast<Graph*>(graph)] {
    const CudaStatus status = enter("replay");
    if (!status.ok()) broken_ = status;
    if (broken_.ok()) recorded->recording.replay();
  });
}

CudaStatus SimDriver::destroy_graph(void* graph) {
  const CudaStatus status = enter("destroy_graph");
  if (!status.ok()) return status;
  for (Stream* stream : streams_) stream->settle();
  graphs_.erase(static_cast<Graph*>(graph));
  delete static_cast<Graph*>(graph);
  return {};
}

void SimDriver::push_range(const char* name) {
  open_.push_back(open_.empty() ? name : open_.back() + '/' + name);
  ++ranges_[open_.back()];
}

void SimDriver::pop_range() {
  if (open_.empty()) fail(ErrorKind::runtime, {"the simulator", "a range that is open", "none to end", ""});
  open_.pop_back();
}

}  // namespace millrace::sim
