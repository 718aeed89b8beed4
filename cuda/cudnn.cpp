#include "cuda/cudnn.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "cuda/shared_library.h"

namespace millrace::cudnn {
namespace {

[[noreturn]] void fail_status(const Api& api, cudnnStatus_t status, const std::string& what) {
  std::array<char, 512> words{};
  api.GetLastErrorString(words.data(), words.size());
  fail(ErrorKind::device,
       {"cuDNN " + api.version(), what,
        std::string(api.GetErrorString(status)) + (words[0] ? ": " : "") + words.data(), ""});
}

void check(const Api& api, cudnnStatus_t status, const std::string& what) {
  if (status != CUDNN_STATUS_SUCCESS) fail_status(api, status, what);
}

// A handle as an attribute's value wants to lie at an address.
Descriptor& set_handle(Descriptor& d, cudnnBackendAttributeName_t name, cudnnHandle_t handle) {
  return d.set(name, CUDNN_TYPE_HANDLE, handle);
}

uint32_t hash_of(const std::string& text) {  // FNV-1a
  uint32_t hash = 2166136261u;
  for (const unsigned char c : text) hash = (hash ^ c) * 16777619u;
  return hash;
}

}  // namespace

std::string Api::version() const {
  const size_t v = GetVersion(), major = v / (v < 90000 ? 1000 : 10000);  // up to 8 a digit less
  return fmt::format("{}.{}.{}", major, v / 100 % (v < 90000 ? 10 : 100), v % 100);
}

Api load_api() {
  const SharedLibrary library({.file = fmt::format("libcudnn.so.{}", CUDNN_MAJOR),
                               .variable = "MILLRACE_CUDNN_LIB",
                               .wheel = "nvidia/cudnn/lib"});
  Api api;
  api.path = library.path();
  library.load(api.GetVersion, "cudnnGetVersion");
  library.load(api.GetErrorString, "cudnnGetErrorString");
  library.load(api.GetLastErrorString, "cudnnGetLastErrorString");
  library.load(api.Create, "cudnnCreate");
  library.load(api.Destroy, "cudnnDestroy");
  library.load(api.SetStream, "cudnnSetStream");
  library.load(api.BackendCreateDescriptor, "cudnnBackendCreateDescriptor");
  library.load(api.BackendDestroyDescriptor, "cudnnBackendDestroyDescriptor");
  library.load(api.BackendFinalize, "cudnnBackendFinalize");
  library.load(api.BackendSetAttribute, "cudnnBackendSetAttribute");
  library.load(api.BackendGetAttribute, "cudnnBackendGetAttribute");
  library.load(api.BackendExecute, "cudnnBackendExecute");
  require_version(api);
  return api;
}

void require_version(const Api& api) {
  if (api.GetVersion() / 10000 == CUDNN_MAJOR) return;
  fail(ErrorKind::device, {api.path.string(), fmt::format("cuDNN {}", CUDNN_MAJOR), "cuDNN " + api.version(),
                           "MILLRACE_CUDNN_LIB names the folder of another"});
}

Descriptor::Descriptor(const Api& api, cudnnBackendDescriptorType_t type) : api_(&api) {
  cudnnBackendDescriptor_t made = nullptr;
  check(api, api.BackendCreateDescriptor(type, &made),
        fmt::format("a descriptor {}", static_cast<int>(type)));
  raw_ = {made, [destroy = api.BackendDestroyDescriptor](void* d) { destroy(d); }};
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& value) {
  const cudnnBackendDescriptor_t raw = value.raw();
  return set_many(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
}

Descriptor& Descriptor::set_many(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                 int64_t count, const void* values) {
  check(*api_, api_->BackendSetAttribute(raw(), name, type, count, values),
        fmt::format("attribute {}", static_cast<int>(name)));
  return *this;
}

Descriptor& Descriptor::finalize() {
  check(*api_, api_->BackendFinalize(raw()), "a descriptor to be finalised");
  return *this;
}

int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                        void* values) const {
  int64_t found = 0;
  check(*api_, api_->BackendGetAttribute(raw(), name, type, count, &found, values),
        fmt::format("attribute {}", static_cast<int>(name)));
  return found;
}

Context::Context(Api api) : api_(std::move(api)) { check(api_, api_.Create(&handle_), "a handle"); }

Context::Context(Api api, const std::string& description)
    : api_(std::move(api)), description_(api_, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR) {
  description_
      .set_many(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                static_cast<int64_t>(description.size()), description.data())
      .finalize();
}

Context::~Context() {
  listed.clear();
  built.clear();
  if (handle_) api_.Destroy(handle_);
}

void Context::attach(Descriptor& graph) const {
  if (!described()) set_handle(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle_);
}

std::vector<Config> Context::list(const Descriptor& graph, const Filter& filter) const {
  std::vector<Config> found = list_mode(graph, CUDNN_HEUR_MODE_A, filter);
  for (Config& c : list_mode(graph, CUDNN_HEUR_MODE_FALLBACK, filter)) found.push_back(std::move(c));
  return found;
}

namespace {

template <class Note> std::vector<Note> notes_of(const Descriptor& engine, cudnnBackendAttributeName_t name,
                                                 cudnnBackendAttributeType_t type, size_t most) {
  std::vector<Note> notes(most);
  notes.resize(static_cast<size_t>(engine.get(name, type, static_cast<int64_t>(most), notes.data())));
  return notes;
}

Config describe(const Api& api, const Descriptor& config) {
  Config c{.descriptor = config};
  Descriptor engine(api, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c.engine);
  for (const auto note :
       notes_of<cudnnBackendNumericalNote_t>(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                             CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT)) {
    c.tensor_core = c.tensor_core || note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    c.nondeterministic = c.nondeterministic || note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
  }
  for (const auto note :
       notes_of<cudnnBackendBehaviorNote_t>(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                                            CUDNN_BEHAVIOR_NOTE_TYPE_COUNT)) {
    c.runtime_compiled = c.runtime_compiled || note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
  }
  return c;
}

}  // namespace

std::vector<Config> Context::list_mode(const Descriptor& graph, cudnnBackendHeurMode_t mode,
                                       const Filter& filter) const {
  Descriptor heuristics(api_, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
  if (described()) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, description_);
  try {
    heuristics.finalize();
  } catch (const Error&) {  // so it says that there is no engine
    return {};
  }
  const int64_t count =
      heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < count; ++i) {
    configs.emplace_back(api_, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(configs.back().raw());
  }
  if (count == 0) return {};
  const int64_t got =
      heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, raw.data());
  std::vector<Config> result;
  for (int64_t i = 0; i < got; ++i) {
    Config c = describe(api_, configs[static_cast<size_t>(i)]);
    if (c.nondeterministic || (c.tensor_core && !filter.tensor_cores)) continue;
    result.push_back(std::move(c));
  }
  return result;
}

Plan Context::build(const Config& config, const Filter& filter) const {
  Plan plan{.descriptor = Descriptor(api_, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)};
  plan.name = fmt::format("e{}", config.engine);
  plan.descriptor.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config.descriptor);
  if (described()) {
    if (config.runtime_compiled) return plan;
    plan.descriptor.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, description_);
  } else {
    set_handle(plan.descriptor, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle_);
  }
  plan.descriptor.finalize();
  plan.descriptor.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &plan.workspace_bytes);
  if (plan.workspace_bytes > filter.workspace_bytes) {
    fail(ErrorKind::device, {"cuDNN " + api_.version() + ", " + plan.name,
                             fmt::format("at most {} MiB of workspace", filter.workspace_bytes >> 20),
                             fmt::format("{} MiB", plan.workspace_bytes >> 20), ""});
  }
  std::string json(static_cast<size_t>(plan.descriptor.get(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                                           CUDNN_TYPE_CHAR, 0, nullptr)),
                   '\0');
  if (!json.empty()) {
    plan.descriptor.get(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                        static_cast<int64_t>(json.size()), json.data());
  }
  plan.name += fmt::format(" {:08x}", hash_of(json));
  return plan;
}

void Context::execute(const Plan& plan, const std::vector<int64_t>& ids, const std::vector<void*>& pointers,
                      void* workspace, void* stream) {
  Descriptor pack(api_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set_many(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, static_cast<int64_t>(ids.size()),
                ids.data())
      .set_many(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
                static_cast<int64_t>(pointers.size()), pointers.data())
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace)
      .finalize();
  check(api_, api_.SetStream(handle_, static_cast<cudaStream_t>(stream)), "a stream");
  check(api_, api_.BackendExecute(handle_, plan.descriptor.raw(), pack.raw()), plan.name + " to start");
}

namespace {

std::mutex one_context;
// Never destroyed: at the program's end CUDA may be gone before it.
std::shared_ptr<Context>& the_context = *new std::shared_ptr<Context>;
bool looked_for = false;

}  // namespace

std::shared_ptr<Context> context() {
  const std::lock_guard lock(one_context);
  if (looked_for) return the_context;
  looked_for = true;
  try {
    the_context = std::make_shared<Context>(load_api());
    log_info(fmt::format("convolutions by cuDNN {} ({})", the_context->api().version(),
                         the_context->api().path.string()));
  } catch (const Error& e) {
    log_warning(std::string("convolutions by our own kernels, which are slow, without cuDNN: ") + e.what());
  }
  return the_context;
}

std::string found_version() {
  try {
    const Api api = load_api();
    return fmt::format("cuDNN {} ({})", api.version(), api.path.string());
  } catch (const Error& e) {
    return std::string("no cuDNN: ") + e.what();
  }
}

void set_context(std::shared_ptr<Context> context) {
  const std::lock_guard lock(one_context);
  looked_for = context != nullptr;
  the_context = std::move(context);
}

}  // namespace millrace::cudnn
