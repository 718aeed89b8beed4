#include "core/device.h"

#include <omp.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "core/registry.h"

namespace millrace {
namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

constexpr size_t kHugePage = size_t{2} << 20;

// Memory of many huge pages is asked for as such: convolutions walk through tens of MiB in strides of rows,
// and with pages of 4 KiB wait for the tables that say where those lie.
void* allocate_pages(size_t bytes) {
  const bool huge = bytes >= 4 * kHugePage;
  void* memory = nullptr;
  if (::posix_memalign(&memory, huge ? kHugePage : kAlignment, bytes) != 0) return nullptr;
  if (huge)
    ::madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // where it is not to be had, without
  return memory;
}

class CpuDevice final : public Device {
 public:
  std::string name() const override { return "cpu"; }
  std::string description() const override {
    const int threads = omp_get_max_threads();
    return processor_name() + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  }
  void* allocate(int64_t bytes) override {
    void* memory = allocate_pages(static_cast<size_t>(align_up(bytes)));
    if (!memory) {
      fail(ErrorKind::device, {"cpu", std::to_string(bytes) + " bytes of memory", "none",
                               "a smaller --batch, --height and --width, or --channels need less"});
    }
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void upload(void* to, const void* from, int64_t bytes) override { copy(to, from, bytes); }
  void download(void* to, const void* from, int64_t bytes) override { copy(to, from, bytes); }
  void fill_bytes(void* memory, uint8_t value, int64_t bytes) override {
    if (bytes) std::memset(memory, value, static_cast<size_t>(bytes));
  }
  void synchronize() override {}

 private:
  static void copy(void* to, const void* from, int64_t bytes) {
    if (bytes) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
};

}  // namespace

namespace cpu {

void register_device(Registry& registry) {
  registry.add_backend(
      {.name = "cpu",
       .find =
           [] {
             return FoundDevices{.devices = {{.name = "cpu", .description = CpuDevice().description()}}};
           },
       .make = [](std::optional<int>) -> std::unique_ptr<Device> { return std::make_unique<CpuDevice>(); }});
}

}  // namespace cpu
}  // namespace millrace
