// The CUDA runtime's part of the simulation: a GPU in the CPU's memory, for cuda/device.h to be tested on.
//
// Kernels run when they are launched. Copies and fills wait in their stream as long as they may: until a
// kernel is launched on it, or somebody waits for it, and then only as far as that needs. So a missing wait
// between streams, or memory of the host that is used again too early, shows in the result.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda/sim/runtime.h"

namespace millrace::sim {

// Compute capability 9.0 with 64 GiB.
CudaProperties simulated_gpu();

// What the driver says that there is.
struct SimMachine {
  int driver_version = 13000, runtime_version = 13000;
  int gpus = 1;
  CudaProperties gpu = simulated_gpu();
  std::string architectures = "90-real";
};

// A status that a call returns in place of doing its work.
struct SimFault {
  // Name of a function of CudaDriver; or "launch", which is refused; or "kernel" and "replay", a kernel or a
  // recording that fails while it runs, so that a call after it is told.
  std::string call;
  int64_t nth = 1;   // of the calls from now on
  std::string name;  // "cudaErrorLaunchFailure"
};

class SimDriver final : public CudaDriver {
 public:
  explicit SimDriver(SimMachine machine = {});
  ~SimDriver() override;

  void inject(const SimFault& fault);
  int64_t calls(const std::string& name) const;
  // Does work of the host in the stream's order, as a kernel would be; or records it.
  static void run_on(void* stream, std::function<void()> work);
  // Handles and memory that were made and not given back.
  int64_t alive() const;

  CudaStatus versions(int& driver, int& runtime) override;
  CudaStatus device_count(int& count) override;
  CudaStatus properties(int device, CudaProperties& properties) override;
  CudaStatus use_device(int device) override;
  CudaStatus memory_info(int64_t& free, int64_t& total) override;
  std::string architectures() const override { return machine_.architectures; }

  CudaStatus allocate(void*& memory, int64_t bytes) override;
  CudaStatus release(void* memory) override;
  CudaStatus allocate_pinned(void*& memory, int64_t bytes) override;
  CudaStatus release_pinned(void* memory) override;

  CudaStatus copy_in(void* to, const void* from, int64_t bytes, void* stream) override;
  CudaStatus copy_out(void* to, const void* from, int64_t bytes, void* stream) override;
  CudaStatus copy_within(void* to, const void* from, int64_t bytes, void* stream) override;
  CudaStatus fill(void* memory, uint8_t value, int64_t bytes, void* stream) override;

  CudaStatus create_stream(void*& stream) override;
  CudaStatus destroy_stream(void* stream) override;
  CudaStatus synchronize_stream(void* stream) override;

  CudaStatus create_event(void*& event) override;
  CudaStatus create_timed_event(void*& event) override;
  CudaStatus elapsed_seconds(void* from, void* to, double& seconds) override;
  CudaStatus destroy_event(void* event) override;
  CudaStatus record_event(void* event, void* stream) override;
  CudaStatus wait_event(void* stream, void* event) override;
  CudaStatus synchronize_event(void* event) override;

  CudaStatus begin_capture(void* stream) override;
  CudaStatus end_capture(void* stream, void*& graph) override;
  CudaStatus launch_graph(void* graph, void* stream) override;
  CudaStatus destroy_graph(void* graph) override;

  void push_range(const char* name) override;
  void pop_range() override;
  // Names of ranges, each after the names around it and '/', and how often it began.
  const std::map<std::string, int64_t>& ranges() const { return ranges_; }
  int64_t open_ranges() const { return static_cast<int64_t>(open_.size()); }

 private:
  struct Stream;
  struct Event;
  struct Graph;

  static void before_launch(const Launch& launch);

  // The injected status of this call, if it has one; a kernel's failure is returned by all calls after it.
  CudaStatus enter(const std::string& call);
  // The same for calls that end a recording, as CUDA's do in the thread that records.
  CudaStatus enter_unrecorded(const std::string& call);
  CudaStatus queue(const std::string& call, void* stream, std::function<void()> work);
  CudaStatus take(void*& memory, int64_t bytes);
  CudaStatus give_back(void* memory);

  SimMachine machine_;
  std::map<std::string, int64_t> calls_;
  std::vector<SimFault> faults_;  // nth counts from the first call
  CudaStatus broken_;
  bool invalidated_ = false;  // the recording that goes on
  int64_t allocated_ = 0;
  std::map<void*, int64_t> memory_;  // bytes
  std::set<Stream*> streams_;
  std::set<Event*> events_;
  std::set<Graph*> graphs_;
  std::map<std::string, int64_t> ranges_;
  std::vector<std::string> open_;  // ranges, as in ranges_
};

}  // namespace millrace::sim
