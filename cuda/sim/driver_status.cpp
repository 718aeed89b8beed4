#include "cuda/sim/driver_status.h"

#include <algorithm>
#include <array>

namespace millrace::sim {
namespace {

struct Known {
  int code;
  const char* name;
  const char* text;
};
// CUDA 13's words.
constexpr std::array kKnown = {
    Known{kCudaInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    Known{kCudaOutOfMemory, "cudaErrorMemoryAllocation", "out of memory"},
    Known{kCudaInitializationError, "cudaErrorInitializationError", "initialization error"},
    Known{kCudaStubLibrary, "cudaErrorStubLibrary", "CUDA driver is a stub library"},
    Known{kCudaInsufficientDriver, "cudaErrorInsufficientDriver",
          "CUDA driver version is insufficient for CUDA runtime version"},
    Known{kCudaDevicesUnavailable, "cudaErrorDevicesUnavailable",
          "CUDA-capable device(s) is/are busy or unavailable"},
    Known{kCudaNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    Known{kCudaInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    Known{kCudaNoKernelImage, "cudaErrorNoKernelImageForDevice",
          "no kernel image is available for execution on the device"},
    Known{kCudaEccUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    Known{kCudaUnsupportedPtx, "cudaErrorUnsupportedPtxVersion",
          "the provided PTX was compiled with an unsupported toolchain."},
    Known{kCudaNotReady, "cudaErrorNotReady", "device not ready"},
    Known{kCudaIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    Known{kCudaLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
          "too many resources requested for launch"},
    Known{kCudaLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    Known{kCudaSystemNotReady, "cudaErrorSystemNotReady", "system not yet initialized"},
    Known{kCudaDriverMismatch, "cudaErrorSystemDriverMismatch",
          "system has unsupported display driver / cuda driver combination"},
    Known{kCudaCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
          "operation not permitted when stream is capturing"},
    Known{kCudaCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
          "operation failed due to a previous error during capture"},
    Known{kCudaUnknown, "cudaErrorUnknown", "unknown error"},
};

template <class Find> CudaStatus known_status(Find find) {
  const auto found = std::find_if(kKnown.begin(), kKnown.end(), find);
  return found == kKnown.end() ? CudaStatus{kCudaUnknown, "cudaErrorUnknown", "unknown error"}
                               : CudaStatus{found->code, found->name, found->text};
}

}  // namespace

CudaStatus status_of(int code) {
  return known_status([&](const Known& k) { return k.code == code; });
}
CudaStatus status_named(const std::string& name) {
  return known_status([&](const Known& k) { return name == k.name; });
}

bool ends_context(int code) {
  return code == kCudaIllegalAddress || code == kCudaLaunchFailure || code == kCudaEccUncorrectable;
}

}  // namespace millrace::sim
