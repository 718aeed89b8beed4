// Which GPUs there are, whether they can be used, and why not.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "core/error.h"
#include "core/registry.h"
#include "cuda/device.h"

namespace millrace {
namespace {

struct Meaning {
  std::string what, hint;
};

constexpr const char* kRestart = "This process cannot use the GPU any more";

Meaning meaning_of(const CudaFailure& f) {
  switch (f.status.code) {
    case kCudaInsufficientDriver:
      if (f.driver <= 0) return {"no NVIDIA driver", "The driver brings libcuda.so.1"};
      return {fmt::format("a driver for CUDA {}, older than this program's {}", cuda_version(f.driver),
                          cuda_version(f.runtime)),
              "A newer driver is needed"};
    case kCudaNoDevice:
      return {"none", "nvidia-smi lists them; CUDA_VISIBLE_DEVICES may hide them"};
    case kCudaInvalidDevice:
      return {"none of this number", "millrace-data inspect --device lists them"};
    case kCudaDevicesUnavailable:
      return {"one that another process has for itself", "nvidia-smi shows which"};
    case kCudaOutOfMemory:
      return {"no memory left on it", "nvidia-smi shows by which processes"};
    case kCudaNoKernelImage:
    case kCudaUnsupportedPtx:
      return {"no kernels that were compiled for it", "-DCMAKE_CUDA_ARCHITECTURES=native builds them"};
    case kCudaSystemNotReady:
      return {"a driver or fabric manager that has not started", "Try again later"};
    case kCudaDriverMismatch:
      return {"a driver whose module and library are of different versions", "A reboot loads the new module"};
    case kCudaStubLibrary:
      return {"the toolkit's stub in place of the driver's library",
              "Take the folder of stubs out of LD_LIBRARY_PATH"};
    case kCudaIllegalAddress:
      return {"a kernel that accessed memory outside of its own", kRestart};
    case kCudaLaunchFailure:
      return {"a kernel that failed while it ran", kRestart};
    case kCudaEccUncorrectable:
      return {"a failure of the GPU's memory", kRestart};
    default:
      return {};
  }
}

struct Versions {
  int driver = -1, runtime = -1;
};

// The GPU's properties, after its context was made. Throws where it cannot be used.
CudaProperties try_device(CudaDriver& driver, const std::string& name, int number, Versions versions) {
  std::string where = fmt::format("{}:{}", name, number);
  const auto check = [&](const CudaStatus& status) {
    if (!status.ok()) {
      fail_cuda({.where = where,
                 .expected = "a GPU that can be used",
                 .status = status,
                 .driver = versions.driver,
                 .runtime = versions.runtime});
    }
  };
  CudaProperties p;
  check(driver.properties(number, p));
  where += " (" + p.name + ")";
  if (!has_code_for(driver.architectures(), p.major, p.minor)) {
    fail(ErrorKind::device,
         {where, "kernels compiled for compute capability " + fmt::format("{}.{}", p.major, p.minor),
          "kernels for " + driver.architectures(),
          fmt::format("-DCMAKE_CUDA_ARCHITECTURES={}{} builds them", p.major, p.minor)});
  }
  check(driver.use_device(number));
  return p;
}

// Throws where there is none.
int count_devices(CudaDriver& driver, const std::string& name, Versions& versions) {
  driver.versions(versions.driver, versions.runtime);  // what is not known stays -1
  int count = 0;
  CudaStatus status = driver.device_count(count);
  if (status.ok() && count == 0) status = {kCudaNoDevice, "cudaErrorNoDevice", "no device was counted"};
  if (!status.ok()) {
    fail_cuda({.where = name,
               .expected = "a GPU",
               .status = status,
               .driver = versions.driver,
               .runtime = versions.runtime});
  }
  return count;
}

// The first that can be used; throws the error of the first where none can.
int first_usable(CudaDriver& driver, const std::string& name) {
  Versions versions;
  const int count = count_devices(driver, name, versions);
  std::optional<Error> first;
  for (int number = 0; number < count; ++number) {
    try {
      try_device(driver, name, number, versions);
      return number;
    } catch (const Error& e) {
      if (!first) first = e;
    }
  }
  throw Error(*first);
}

std::string version_or_none(int version) { return version > 0 ? cuda_version(version) : ""; }

}  // namespace

std::string cuda_version(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

bool has_code_for(const std::string& architectures, int major, int minor) {
  std::istringstream words(architectures);
  for (std::string word; std::getline(words, word, ';');) {
    const size_t digits = std::min(word.find_first_not_of("0123456789"), word.size());
    int number = 0;
    std::from_chars(word.data(), word.data() + digits, number);
    const std::string kind = word.substr(digits);
    if (digits == 0) return true;
    const bool own_only = kind.starts_with("a");  // "90a": that one and no other
    const int of_major = number / 10, of_minor = number % 10;
    const bool same = major == of_major && minor == of_minor;
    const bool real = major == of_major && minor >= of_minor;
    const bool by_virtual =
        !kind.ends_with("-real") && std::pair(major, minor) >= std::pair(of_major, of_minor);
    if (own_only ? same : real || by_virtual) return true;
  }
  return false;
}

void fail_cuda(const CudaFailure& failure) {
  const Meaning meaning = meaning_of(failure);
  const std::string status = failure.status.name + ": " + failure.status.text;
  fail(ErrorKind::device,
       {failure.where, failure.expected,
        meaning.what.empty() ? status : fmt::format("{} ({})", meaning.what, status), meaning.hint});
}

FoundDevices find_cuda_devices(CudaDriver& driver, const std::string& name) {
  FoundDevices found{.code = driver.architectures()};
  Versions versions;
  int count = 0;
  try {
    count = count_devices(driver, name, versions);
  } catch (const Error& e) {
    found.trouble = e.what();
  }
  found.driver = version_or_none(versions.driver);
  found.runtime = version_or_none(versions.runtime);
  for (int number = 0; number < count; ++number) {
    FoundDevice device{.name = fmt::format("{}:{}", name, number), .description = "unknown"};
    CudaProperties p;
    if (driver.properties(number, p).ok()) {
      device.description = p.name;
      device.multiprocessors = p.multiprocessors;
      device.memory_bytes = p.memory_bytes;
      device.capability = fmt::format("{}.{}", p.major, p.minor);
    }
    try {
      try_device(driver, name, number, versions);
      int64_t total = 0;
      driver.memory_info(device.free_bytes, total);
    } catch (const Error& e) {
      device.trouble = e.what();
    }
    found.devices.push_back(device);
  }
  const bool none = std::none_of(found.devices.begin(), found.devices.end(),
                                 [](const FoundDevice& d) { return d.trouble.empty(); });
  if (none && !found.devices.empty()) found.trouble = found.devices.front().trouble;
  return found;
}

void add_cuda_backend(Registry& registry, const CudaBackend& backend) {
  const auto in_use = std::make_shared<std::optional<int>>();
  registry.add_backend({.name = backend.name,
                        .automatic = backend.automatic,
                        .find = [backend] { return find_cuda_devices(*backend.driver, backend.name); },
                        .make = [backend, in_use](std::optional<int> number) -> std::unique_ptr<Device> {
                          if (!number)
                            number = *in_use ? *in_use : first_usable(*backend.driver, backend.name);
                          Versions versions;
                          count_devices(*backend.driver, backend.name, versions);
                          try_device(*backend.driver, backend.name, *number, versions);
                          auto device = std::make_unique<CudaDevice>(backend.driver, backend.name, *number);
                          *in_use = *number;
                          return device;
                        },
                        .libraries = backend.libraries});
}

}  // namespace millrace
