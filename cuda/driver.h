// CudaDriver: what the engine needs of the CUDA runtime, as an interface. cuda/driver_cuda.cpp hands each
// call on to CUDA, and only a GPU executes it; cuda/sim/driver_sim.h does the same work in the CPU's memory.
// All that has a decision in it is above (cuda/device.h), written once and tested without a GPU.
//
// Streams, events and graphs are CUDA's handles: a stream is what launch() takes as KernelArgs::stream.
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

// CUDA's numbers (driver_types.h) of what is told apart.
constexpr int kCudaSuccess = 0;
constexpr int kCudaInvalidValue = 1;
constexpr int kCudaOutOfMemory = 2;
constexpr int kCudaInitializationError = 3;
constexpr int kCudaStubLibrary = 34;
constexpr int kCudaInsufficientDriver = 35;
constexpr int kCudaDevicesUnavailable = 46;
constexpr int kCudaNoDevice = 100;
constexpr int kCudaInvalidDevice = 101;
constexpr int kCudaNoKernelImage = 209;
constexpr int kCudaEccUncorrectable = 214;
constexpr int kCudaUnsupportedPtx = 222;
constexpr int kCudaNotReady = 600;
constexpr int kCudaIllegalAddress = 700;
constexpr int kCudaLaunchOutOfResources = 701;
constexpr int kCudaLaunchFailure = 719;
constexpr int kCudaSystemNotReady = 802;
constexpr int kCudaDriverMismatch = 803;
constexpr int kCudaCaptureUnsupported = 900;
constexpr int kCudaCaptureInvalidated = 901;
constexpr int kCudaUnknown = 999;

struct CudaStatus {
  int code = kCudaSuccess;
  std::string name = {};  // "cudaErrorNoDevice"
  std::string text = {};  // CUDA's own words for it

  bool ok() const { return code == kCudaSuccess; }
};

struct CudaProperties {
  std::string name;          // "NVIDIA H200"
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;   // 0: it has none
  int64_t memory_bytes = 0;
};

class CudaDriver {
 public:
  virtual ~CudaDriver() = default;

  // 13000 is CUDA 13.0. `driver` is the newest CUDA that the installed driver supports, 0 without a driver.
  virtual CudaStatus versions(int& driver, int& runtime) = 0;
  virtual CudaStatus device_count(int& count) = 0;
  virtual CudaStatus properties(int device, CudaProperties& properties) = 0;
  // For this thread. The first use makes the device's context, and fails where that cannot be had.
  virtual CudaStatus use_device(int device) = 0;
  virtual CudaStatus memory_info(int64_t& free, int64_t& total) = 0;
  // What the kernels were compiled for, as CMAKE_CUDA_ARCHITECTURES: "80-real;90-real;90-virtual".
  virtual std::string architectures() const = 0;

  virtual CudaStatus allocate(void*& memory, int64_t bytes) = 0;
  virtual CudaStatus release(void* memory) = 0;
  virtual CudaStatus allocate_pinned(void*& memory, int64_t bytes) = 0;
  virtual CudaStatus release_pinned(void* memory) = 0;

  // Queued on the stream. Host memory must stay as it is until the copy is done.
  virtual CudaStatus copy_in(void* to, const void* from, int64_t bytes, void* stream) = 0;   // host to device
  virtual CudaStatus copy_out(void* to, const void* from, int64_t bytes, void* stream) = 0;  // device to host
  virtual CudaStatus copy_within(void* to, const void* from, int64_t bytes, void* stream) = 0;
  virtual CudaStatus fill(void* memory, uint8_t value, int64_t bytes, void* stream) = 0;

  virtual CudaStatus create_stream(void*& stream) = 0;  // does not wait for the default stream
  virtual CudaStatus destroy_stream(void* stream) = 0;
  virtual CudaStatus synchronize_stream(void* stream) = 0;

  virtual CudaStatus create_event(void*& event) = 0;  // without a time
  virtual CudaStatus create_timed_event(void*& event) = 0;
  // On the device's clock, of two timed events that were recorded and waited for.
  virtual CudaStatus elapsed_seconds(void* from, void* to, double& seconds) = 0;
  virtual CudaStatus destroy_event(void* event) = 0;
  virtual CudaStatus record_event(void* event, void* stream) = 0;
  virtual CudaStatus wait_event(void* stream, void* event) = 0;  // the stream waits, the host does not
  virtual CudaStatus synchronize_event(void* event) = 0;         // never recorded: done

  // From begin to end what is queued on the stream is recorded, not done. Only this thread is held to what
  // may not be called meanwhile (allocation, synchronization); after such a call there is no recording.
  virtual CudaStatus begin_capture(void* stream) = 0;
  virtual CudaStatus end_capture(void* stream, void*& graph) = 0;
  virtual CudaStatus launch_graph(void* graph, void* stream) = 0;
  virtual CudaStatus destroy_graph(void* graph) = 0;

  // NVTX: names for what this thread does, shown by profilers. They nest, and cannot fail.
  virtual void push_range(const char* name) = 0;
  virtual void pop_range() = 0;
};

}  // namespace millrace
