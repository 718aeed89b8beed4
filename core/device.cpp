#include "core/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/log.h"
#include "core/registry.h"

namespace millrace {
namespace {

const Backend* find_backend(const std::string& name) {
  for (const Backend& backend : Registry::get().backends()) {
    if (backend.name == name) return &backend;
  }
  return nullptr;
}

std::string known_names() {
  std::string names = "auto";
  for (const Backend& backend : Registry::get().backends())
    names += ", " + backend.name + (backend.automatic ? " or " + backend.name + ":<number>" : "");
  return names;
}

[[noreturn]] void refuse(const std::string& name) {
  fail(ErrorKind::device, {"--device", known_names(), "'" + name + "'",
                           find_backend("cuda") ? "" : "this build has no CUDA: nvcc was not found"});
}

std::unique_ptr<Device> make_automatic() {
  for (const Backend& backend : Registry::get().backends()) {
    if (!backend.automatic) continue;
    try {
      return backend.make({});
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::device) throw;
      log_info(fmt::format("no GPU is used, the CPU is: {}", e.what()));
    }
  }
  return find_backend("cpu")->make({});
}

class HostReadback final : public Readback {
 public:
  HostReadback(Device& device, int64_t bytes) : device_(device), copy_(static_cast<size_t>(bytes)) {}
  void queue(const void* from, int64_t bytes) override { device_.download(copy_.data(), from, bytes); }
  const void* wait() override { return copy_.data(); }

 private:
  Device& device_;
  std::vector<char> copy_;
};

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

std::unique_ptr<Readback> Device::make_readback(int64_t bytes) {
  return std::make_unique<HostReadback>(*this, bytes);
}

void Device::note_queued(const std::shared_ptr<const std::string>& what) {
  if (std::find(queued_.begin(), queued_.end(), what) == queued_.end()) queued_.push_back(what);
}

std::string Device::queued_words() const {
  std::string words;
  for (const auto& what : queued_) words += (words.empty() ? "" : ", or ") + *what;
  return words;
}

std::unique_ptr<Device> make_device(const std::string& name) {
  if (name == "auto") return make_automatic();
  const size_t colon = name.find(':');
  const Backend* backend = find_backend(name.substr(0, colon));
  if (!backend) refuse(name);
  std::optional<int> number;
  if (colon != std::string::npos) {
    const char *begin = name.data() + colon + 1, *end = name.data() + name.size();
    const auto read = std::from_chars(begin, end, number.emplace());
    if (read.ec != std::errc() || read.ptr != end || *number < 0 || !backend->automatic) refuse(name);
  }
  if (!backend->automatic) return backend->make(number);
  try {
    return backend->make(number);
  } catch (const Error& e) {
    throw Error(e.kind(), std::string(e.what()) + ". --device cpu computes without it");
  }
}

void require_memory(const Device& device, const MemoryNeed& need) {
  const std::optional<int64_t> available = device.available_bytes();
  if (!available || need.total() <= *available) return;
  fail(
      ErrorKind::device,
      {device.description(),
       fmt::format("{:.0f} MiB of free memory (activations {:.0f}, parameters and optimizer {:.0f}, inputs "
                   "{:.0f})",
                   mib(need.total()), mib(need.arena), mib(need.state), mib(need.inputs + need.staging)),
       fmt::format("{:.0f} MiB", mib(*available)),
       "a smaller --batch, --height and --width, or --channels need less; --accumulate keeps the batch of an "
       "update"});
}

}  // namespace millrace
