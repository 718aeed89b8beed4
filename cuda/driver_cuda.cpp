// The CUDA runtime behind cuda/driver.h. Nothing here decides anything: only a machine with a GPU executes
// it.
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include "cuda/conv2d_cudnn.h"
#include "cuda/device.h"
#include "cuda/register.h"
#ifdef MILLRACE_HAVE_CUBLASLT
#include "cuda/linear_cublaslt.h"
#endif

namespace millrace::cuda {
namespace {

static_assert(
    kCudaSuccess == cudaSuccess && kCudaInvalidValue == cudaErrorInvalidValue &&
    kCudaOutOfMemory == cudaErrorMemoryAllocation &&
    kCudaInitializationError == cudaErrorInitializationError && kCudaStubLibrary == cudaErrorStubLibrary &&
    kCudaInsufficientDriver == cudaErrorInsufficientDriver &&
    kCudaDevicesUnavailable == cudaErrorDevicesUnavailable && kCudaNoDevice == cudaErrorNoDevice &&
    kCudaInvalidDevice == cudaErrorInvalidDevice && kCudaNoKernelImage == cudaErrorNoKernelImageForDevice &&
    kCudaEccUncorrectable == cudaErrorECCUncorrectable &&
    kCudaUnsupportedPtx == cudaErrorUnsupportedPtxVersion && kCudaNotReady == cudaErrorNotReady &&
    kCudaIllegalAddress == cudaErrorIllegalAddress &&
    kCudaLaunchOutOfResources == cudaErrorLaunchOutOfResources &&
    kCudaLaunchFailure == cudaErrorLaunchFailure && kCudaSystemNotReady == cudaErrorSystemNotReady &&
    kCudaDriverMismatch == cudaErrorSystemDriverMismatch &&
    kCudaCaptureUnsupported == cudaErrorStreamCaptureUnsupported &&
    kCudaCaptureInvalidated == cudaErrorStreamCaptureInvalidated && kCudaUnknown == cudaErrorUnknown);

// Clears what the runtime remembers, so that an error is told once, by the call that it came from.
CudaStatus status_of(cudaError_t code) {
  if (code == cudaSuccess) return {};
  cudaGetLastError();
  return {code, cudaGetErrorName(code), cudaGetErrorString(code)};
}

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t as_event(void* event) { return static_cast<cudaEvent_t>(event); }
cudaGraphExec_t as_graph(void* graph) { return static_cast<cudaGraphExec_t>(graph); }

class Runtime final : public CudaDriver {
 public:
  CudaStatus versions(int& driver, int& runtime) override {
    const CudaStatus status = status_of(cudaDriverGetVersion(&driver));
    return status.ok() ? status_of(cudaRuntimeGetVersion(&runtime)) : status;
  }
  CudaStatus device_count(int& count) override { return status_of(cudaGetDeviceCount(&count)); }
  CudaStatus properties(int device, CudaProperties& p) override {
    cudaDeviceProp found;
    const CudaStatus status = status_of(cudaGetDeviceProperties(&found, device));
    if (!status.ok()) return status;
    p = {found.name, found.major, found.minor, found.multiProcessorCount,
         static_cast<int64_t>(found.totalGlobalMem)};
    return status;
  }
  CudaStatus use_device(int device) override {
    const CudaStatus status = status_of(cudaSetDevice(device));
    return status.ok() ? status_of(cudaFree(nullptr)) : status;  // makes the context
  }
  CudaStatus memory_info(int64_t& free, int64_t& total) override {
    size_t free_bytes = 0, total_bytes = 0;
    const CudaStatus status = status_of(cudaMemGetInfo(&free_bytes, &total_bytes));
    free = static_cast<int64_t>(free_bytes);
    total = static_cast<int64_t>(total_bytes);
    return status;
  }
  std::string architectures() const override { return MILLRACE_CUDA_ARCHITECTURES; }

  CudaStatus allocate(void*& memory, int64_t bytes) override {
    return status_of(cudaMalloc(&memory, static_cast<size_t>(bytes)));
  }
  CudaStatus release(void* memory) override { return status_of(cudaFree(memory)); }
  CudaStatus allocate_pinned(void*& memory, int64_t bytes) override {
    return status_of(cudaMallocHost(&memory, static_cast<size_t>(bytes)));
  }
  CudaStatus release_pinned(void* memory) override { return status_of(cudaFreeHost(memory)); }

  CudaStatus copy_in(void* to, const void* from, int64_t bytes, void* stream) override {
    return copy(to, from, bytes, cudaMemcpyHostToDevice, stream);
  }
  CudaStatus copy_out(void* to, const void* from, int64_t bytes, void* stream) override {
    return copy(to, from, bytes, cudaMemcpyDeviceToHost, stream);
  }
  CudaStatus copy_within(void* to, const void* from, int64_t bytes, void* stream) override {
    return copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
  }
  CudaStatus fill(void* memory, uint8_t value, int64_t bytes, void* stream) override {
    return status_of(cudaMemsetAsync(memory, value, static_cast<size_t>(bytes), as_stream(stream)));
  }

  CudaStatus create_stream(void*& stream) override {
    cudaStream_t made = nullptr;
    const CudaStatus status = status_of(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
    stream = made;
    return status;
  }
  CudaStatus destroy_stream(void* stream) override { return status_of(cudaStreamDestroy(as_stream(stream))); }
  CudaStatus synchronize_stream(void* stream) override {
    return status_of(cudaStreamSynchronize(as_stream(stream)));
  }

  CudaStatus create_event(void*& event) override {
    cudaEvent_t made = nullptr;
    const CudaStatus status = status_of(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    event = made;
    return status;
  }
  CudaStatus create_timed_event(void*& event) override {
    cudaEvent_t made = nullptr;
    const CudaStatus status = status_of(cudaEventCreate(&made));
    event = made;
    return status;
  }
  CudaStatus elapsed_seconds(void* from, void* to, double& seconds) override {
    float milliseconds = 0;
    const CudaStatus status = status_of(cudaEventElapsedTime(&milliseconds, as_event(from), as_event(to)));
    seconds = static_cast<double>(milliseconds) * 1e-3;
    return status;
  }
  CudaStatus destroy_event(void* event) override { return status_of(cudaEventDestroy(as_event(event))); }
  CudaStatus record_event(void* event, void* stream) override {
    return status_of(cudaEventRecord(as_event(event), as_stream(stream)));
  }
  CudaStatus wait_event(void* stream, void* event) override {
    return status_of(cudaStreamWaitEvent(as_stream(stream), as_event(event), 0));
  }
  CudaStatus synchronize_event(void* event) override {
    return status_of(cudaEventSynchronize(as_event(event)));
  }

  CudaStatus begin_capture(void* stream) override {
    return status_of(cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeThreadLocal));
  }
  CudaStatus end_capture(void* stream, void*& graph) override {
    cudaGraph_t recorded = nullptr;
    CudaStatus status = status_of(cudaStreamEndCapture(as_stream(stream), &recorded));
    if (!status.ok()) return status;
    cudaGraphExec_t executable = nullptr;
    status = status_of(cudaGraphInstantiate(&executable, recorded, 0));
    cudaGraphDestroy(recorded);
    graph = executable;
    return status;
  }
  CudaStatus launch_graph(void* graph, void* stream) override {
    return status_of(cudaGraphLaunch(as_graph(graph), as_stream(stream)));
  }
  CudaStatus destroy_graph(void* graph) override { return status_of(cudaGraphExecDestroy(as_graph(graph))); }

  void push_range(const char* name) override { nvtxRangePushA(name); }
  void pop_range() override { nvtxRangePop(); }

 private:
  static CudaStatus copy(void* to, const void* from, int64_t bytes, cudaMemcpyKind kind, void* stream) {
    return status_of(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, as_stream(stream)));
  }
};

}  // namespace

void register_backend(Registry& registry) {
  register_kernels(registry);
#ifdef MILLRACE_HAVE_CUBLASLT
  add_linear_cublaslt(registry, {.device = "cuda", .finish = linear_finish});
#endif
#ifdef MILLRACE_HAVE_CUDNN
  cudnn::register_conv2d(registry);
#endif
  CudaBackend backend{.name = "cuda", .automatic = true, .driver = std::make_shared<Runtime>()};
#ifdef MILLRACE_HAVE_CUDNN
  backend.libraries = cudnn::found_version;
#endif
  add_cuda_backend(registry, backend);
}

}  // namespace millrace::cuda
