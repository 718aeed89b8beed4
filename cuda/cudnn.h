// cuDNN's graph API through its C backend: a convolution and the pointwise operations round it are one graph,
// for which cuDNN lists engines; a plan is an engine with its settings, ready to run.
//
// The library is loaded when the program runs. It is called through a table of functions, so that tests can
// put statuses there; and instead of a GPU a description of one serves to list engines (cuDNN >= 9.8), which
// needs no driver.
#pragma once

#include <cudnn.h>
#include <cudnn_backend.h>

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/registry.h"

namespace millrace::cudnn {

// cuDNN's functions that are used, under its names without cudnn.
struct Api {
  decltype(&cudnnGetVersion) GetVersion = nullptr;
  decltype(&cudnnGetErrorString) GetErrorString = nullptr;
  decltype(&cudnnGetLastErrorString) GetLastErrorString = nullptr;
  decltype(&cudnnCreate) Create = nullptr;
  decltype(&cudnnDestroy) Destroy = nullptr;
  decltype(&cudnnSetStream) SetStream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) BackendCreateDescriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) BackendDestroyDescriptor = nullptr;
  decltype(&cudnnBackendFinalize) BackendFinalize = nullptr;
  decltype(&cudnnBackendSetAttribute) BackendSetAttribute = nullptr;
  decltype(&cudnnBackendGetAttribute) BackendGetAttribute = nullptr;
  decltype(&cudnnBackendExecute) BackendExecute = nullptr;

  std::filesystem::path path = {};  // of the library
  std::string version() const;      // "9.19.0"
};
// Throws ErrorKind::device where there is none of the version that this program was compiled for.
Api load_api();
// Throws where the version's major number is another.
void require_version(const Api& api);

// A descriptor of the backend, destroyed with the last copy. Throws ErrorKind::device with cuDNN's words.
class Descriptor {
 public:
  Descriptor() = default;
  Descriptor(const Api& api, cudnnBackendDescriptorType_t type);

  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    return set_many(name, type, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value);
  Descriptor& set_many(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                       const void* values);
  Descriptor& finalize();
  // How many there are, where `count` is 0; else up to so many values.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
              void* values) const;
  cudnnBackendDescriptor_t raw() const { return raw_.get(); }

 private:
  const Api* api_ = nullptr;
  std::shared_ptr<void> raw_;
};

// What an engine is for and how it works, in cuDNN's notes.
struct Config {
  Descriptor descriptor;
  int64_t engine = 0;
  bool tensor_core = false;       // f32 factors are rounded to TF32
  bool nondeterministic = false;  // the last bits differ from run to run
  bool runtime_compiled = false;  // takes 0.3 to 4 s to build
};

struct Filter {
  bool tensor_cores = true;  // false: strict f32
  int64_t workspace_bytes = int64_t{256} << 20;
};

struct Plan {
  Descriptor descriptor;
  int64_t workspace_bytes = 0;
  std::string name{};  // "e62 1f00ab34": engine, and a hash of all its settings
};

// cuDNN on one GPU, or for a described one. Used by one thread at a time.
class Context {
 public:
  explicit Context(Api api);                         // of the GPU in use
  Context(Api api, const std::string& description);  // JSON; plans of it cannot be run
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Api& api() const { return api_; }
  bool described() const { return !handle_; }
  // After the filter: those of mode A, best first, then those of the fallback mode.
  std::vector<Config> list(const Descriptor& graph, const Filter& filter) const;
  // Throws where it cannot be built, or wants more than the filter's workspace. For a described GPU a
  // runtime-compiled plan stays unbuilt: that ends in the driver.
  Plan build(const Config& config, const Filter& filter) const;
  // Gives a graph the GPU's handle; a described one has none.
  void attach(Descriptor& graph) const;
  void execute(const Plan& plan, const std::vector<int64_t>& ids, const std::vector<void*>& pointers,
               void* workspace, void* stream);

  // What was listed and built before, by texts of the caller.
  std::map<std::string, std::vector<Config>> listed;
  std::map<std::string, std::shared_ptr<const Plan>> built;

 private:
  std::vector<Config> list_mode(const Descriptor& graph, cudnnBackendHeurMode_t mode,
                                const Filter& filter) const;

  Api api_;
  cudnnHandle_t handle_ = nullptr;
  Descriptor description_;
};

// The operations of a graph, each appended after those whose results it reads. Tensors are known by numbers.
class GraphBuilder {
 public:
  explicit GraphBuilder(const Api& api) : api_(api) {}
  // (N,H,W,C) or (O,kh,kw,I), dense, in cuDNN's order N,C,H,W; virtual: passed on within the graph.
  void tensor(int64_t id, const Shape& shape, cudnnDataType_t type, bool is_virtual = false,
              bool by_value = false);

  struct Convolution {
    int64_t stride, pad;
  };
  void forward(Convolution c, int64_t x, int64_t w, int64_t y);
  void backward_data(Convolution c, int64_t dy, int64_t w, int64_t dx);
  void backward_weights(Convolution c, int64_t x, int64_t dy, int64_t dw);
  void add(int64_t a, int64_t b, int64_t y) { binary(CUDNN_POINTWISE_ADD, a, b, y); }
  void multiply(int64_t a, int64_t b, int64_t y) { binary(CUDNN_POINTWISE_MUL, a, b, y); }
  void leaky_relu(int64_t x, double slope, int64_t y);
  void leaky_relu_dx(int64_t dy, int64_t y, double slope, int64_t dx);
  void sum(int64_t x, int64_t y);  // over the axes where y has extent 1

  Descriptor finish(const Context& context) const;

 private:
  void convolution(cudnnBackendDescriptorType_t kind, Convolution c, const std::array<int64_t, 3>& operands);
  void binary(cudnnPointwiseMode_t mode, int64_t a, int64_t b, int64_t y);

  const Api& api_;
  std::map<int64_t, Descriptor> tensors_;
  std::vector<Descriptor> operations_;
};

// The one of this process; null where cuDNN cannot be used, which the log says once, and why.
std::shared_ptr<Context> context();
// "cuDNN 9.19.0 (/usr/lib/libcudnn.so.9)", whether there is a GPU or not; else "no cuDNN: " and why.
std::string found_version();
// In its place, for tests. Null: looked for anew.
void set_context(std::shared_ptr<Context> context);

}  // namespace millrace::cudnn
