// Lists, without a GPU, the engines that the real cuDNN has on an H200 for each convolution of a step: where
// it lists none the plan would fall back to our own slow kernels.
#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "core/log.h"
#include "core/plan.h"
#include "core/reorder.h"
#include "cuda/conv2d_cudnn.h"
#include "cuda/cudnn.h"
#include "cuda/register.h"
#include "layers/conv2d.h"
#include "layers/normalize_image.h"
#include "nets/motion_loss.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

namespace millrace {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;

// As far as cuDNN says what it needs of it; written by hand.
constexpr const char* kH200 = R"(
{
 "cudaDeviceId": 0,
 "deviceName": "NVIDIA H200",
 "deviceVer": 900,
 "driverVer": 13000,
 "isTccDriver": 0,
 "l2CacheSize": 62914560,
 "maxCtasPerSM": 32,
 "maxRegistersPerSM": 65536,
 "maxSharedMemoryPerBlock": 49152,
 "maxSharedMemoryPerBlockOptin": 232448,
 "maxThreadsPerBlock": 1024,
 "maxThreadsPerSM": 2048,
 "memClockRateKHz": 3201000,
 "multiProcessorCount": 132,
 "pciDeviceId": 0,
 "regsPerBlock": 65536,
 "reservedSharedMemoryPerBlock": 1024,
 "smClockRateKHz": 1980000,
 "supportCoopLaunch": 1,
 "totalGlobalMem": 150754820096,
 "warpSize": 32,
 "maxGridSize": [2147483647, 65535, 65535],
 "maxBlockSize": [1024, 1024, 64]
}
)";

void register_once() {
  static const bool registered = [] {
    cuda::register_backend(Registry::mutable_registry());
    return true;
  }();
  (void)registered;
}

// Why the engines of an H200 cannot be listed here; empty: they can.
std::string use_described_h200() {
  register_once();
  // Runtime-compiled engines are listed only where a library of the driver is loaded; the stub serves.
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  for (const char* stub : {MILLRACE_CUDA_STUBS "/libcuda.so", MILLRACE_CUDA_STUBS "/libcuda.so.1"}) {
    if (!driver) driver = dlopen(stub, RTLD_NOW | RTLD_GLOBAL);
  }
  if (!driver) return "neither the driver nor the stub of the toolkit is there";
  try {
    cudnn::set_context(std::make_shared<cudnn::Context>(cudnn::load_api(), kH200));
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

Graph training_graph(ParamStore& params, const MotionNetOptions& net) {
  Graph g;
  const Value images = normalize_image(g, g.input("clip", Spec{{16, 224, 224, 33}, Dtype::u8}));
  const MotionNetFlows flows = motionnet(g, params, images, net);
  const MotionLoss loss = motion_loss(g, images, flows, {.frames = 11});
  g.output("loss", loss.loss);
  train_step(g, loss.loss, params.layout(), OptimizerOptions{});
  return g;
}

}  // namespace

TEST_CASE("each convolution of a training step is done by cuDNN") {
  if (const std::string why = use_described_h200(); !why.empty()) {
    WARN("skipped: " << why);
    return;
  }
  const MotionNetOptions full{}, tiny{.kind = MotionNetKind::tiny}, no_front{.small_displacement = false},
      no_smooth_conv{.smooth_conv = false};
  using Case = std::pair<Precision, MotionNetOptions>;
  const auto [precision, net] = GENERATE_COPY(
      Case{Precision::bf16, full}, Case{Precision::tf32, full}, Case{Precision::fp32, full},
      Case{Precision::bf16, tiny}, Case{Precision::bf16, no_front}, Case{Precision::bf16, no_smooth_conv});
  ParamStore params("cuda", precision);
  const Plan plan = make_plan(training_graph(params, net), {.device = "cuda", .precision = precision});
  std::map<std::string, int> forms;
  double reordered = 0;
  for (const PlanStep& step : plan.steps) {
    const std::string op(step.op->name());
    if (op == Reorder::kName) reordered += step.cost.bytes;
    if (op != Conv2d::kName && op != Conv2dDx::kName && op != Conv2dDw::kName) continue;
    INFO(step.name << " " << op << "{" << step.op->attributes() << "}");
    CHECK_THAT(step.kernel->version, StartsWith("cudnn"));
    CHECK(step.prepared.workspace_bytes <= (int64_t{260} << 20));
    CHECK(step.kernel->tf32 == (precision == Precision::tf32));
    ++forms[op + " " + step.kernel->version];
  }
  fmt::print("{}:", name_of(precision));
  int convolutions = 0;
  for (const auto& [form, nodes] : forms) {
    fmt::print(" {} {},", nodes, form);
    convolutions += nodes;
  }
  fmt::print(" reorders {:.1f} MB of {:.0f}\n", reordered / 1e6, plan.cost.bytes / 1e6);
  CHECK(convolutions >= 30);
  // No copy of a convolution's operands but of small ones, in f32 of the images too (33 channels become 36).
  CHECK(reordered <= (precision == Precision::bf16 ? 1e6 : 230e6));
}

TEST_CASE("engines of one convolution, as counted on this version") {
  if (const std::string why = use_described_h200(); !why.empty()) {
    WARN("skipped: " << why);
    return;
  }
  const std::shared_ptr<cudnn::Context> c = cudnn::context();
  cudnn::GraphBuilder graph(c->api());
  graph.tensor(1, {16, 112, 112, 128}, CUDNN_DATA_FLOAT);
  graph.tensor(2, {128, 3, 3, 128}, CUDNN_DATA_FLOAT);
  graph.tensor(3, {16, 112, 112, 128}, CUDNN_DATA_FLOAT);
  graph.forward({1, 1}, 1, 2, 3);
  const cudnn::Descriptor finished = graph.finish(*c);
  const auto all = c->list(finished, {}), strict = c->list(finished, {.tensor_cores = false});
  CHECK(!strict.empty());
  CHECK(all.size() > strict.size());
  for (const cudnn::Config& config : strict) CHECK_FALSE(config.tensor_core);
  if (c->api().version() == "9.19.0") CHECK(all.size() == 35 + 5);
  for (const cudnn::Config& config : all) {
    if (config.runtime_compiled) continue;
    CHECK(c->build(config, {}).name.size() > 4);
    break;
  }
  CHECK_THROWS_WITH(c->build(all.front(), {.workspace_bytes = -1}), Contains("workspace"));
}

namespace {

cudnnStatus_t no_handle(cudnnHandle_t*) { return CUDNN_STATUS_INTERNAL_ERROR; }
cudnnStatus_t no_descriptor(cudnnBackendDescriptorType_t, cudnnBackendDescriptor_t*) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t no_finalize(cudnnBackendDescriptor_t) { return CUDNN_STATUS_BAD_PARAM; }
cudnnStatus_t a_handle(cudnnHandle_t* handle) {
  static int made;
  *handle = reinterpret_cast<cudnnHandle_t>(&made);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t no_more(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t a_descriptor(cudnnBackendDescriptorType_t, cudnnBackendDescriptor_t* descriptor) {
  static int made;
  *descriptor = &made;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t fine(cudnnBackendDescriptor_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t set(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, int64_t,
                  const void*) {
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t a_stream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t fails(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) {
  return CUDNN_STATUS_EXECUTION_FAILED;
}
const char* words(cudnnStatus_t) { return "CUDNN_STATUS_INJECTED"; }
void no_more_words(char* text, size_t) { *text = 0; }
size_t version_8() { return 8907; }

}  // namespace

TEST_CASE("statuses of cuDNN become errors, and another version is refused") {
  cudnn::Api api;
  api.path = "libcudnn.so";
  api.GetVersion = version_8;
  api.GetErrorString = words;
  api.GetLastErrorString = no_more_words;
  CHECK_THAT(message_of([&] { cudnn::require_version(api); }),
             Contains("libcudnn.so") && Contains("cuDNN 8.9.7"));
  api.Create = no_handle;
  CHECK_THAT(message_of([&] { cudnn::Context{api}; }), Contains("a handle") && Contains("INJECTED"));
  api.BackendCreateDescriptor = no_descriptor;
  CHECK_THAT(message_of([&] { cudnn::Context(api, "{}"); }),
             Contains("a descriptor") && Contains("INJECTED"));
}

TEST_CASE("a plan that does not start is an error that names it") {
  cudnn::Api api;
  api.GetVersion = version_8;
  api.GetErrorString = words;
  api.GetLastErrorString = no_more_words;
  api.Create = a_handle;
  api.Destroy = no_more;
  api.SetStream = a_stream;
  api.BackendCreateDescriptor = a_descriptor;
  api.BackendDestroyDescriptor = fine;
  api.BackendSetAttribute = set;
  api.BackendFinalize = fine;
  api.BackendExecute = fails;
  cudnn::Context context(api);
  const cudnn::Plan plan{
      .descriptor = cudnn::Descriptor(context.api(), CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR),
      .workspace_bytes = 0,
      .name = "e62 1f00ab34"};
  CHECK_THAT(message_of([&] { context.execute(plan, {1}, {nullptr}, nullptr, nullptr); }),
             Contains("e62 1f00ab34 to start") && Contains("INJECTED"));
}

TEST_CASE("a node that cuDNN refuses is done by our own kernels") {
  if (const std::string why = use_described_h200(); !why.empty()) {
    WARN("skipped: " << why);
    return;
  }
  cudnn::Api api = cudnn::load_api();
  auto broken = std::make_shared<cudnn::Context>(api, kH200);
  const_cast<cudnn::Api&>(broken->api()).BackendFinalize = no_finalize;
  cudnn::set_context(broken);
  Graph g;
  const Value x = g.input("x", {2, 16, 16, 8}), w = g.input("w", {16, 3, 3, 8}), b = g.input("b", {16});
  g.output("y", conv2d(g, x, w, b, {.stride = 1, .pad = 1}));
  const Plan plan = make_plan(g, {.device = "cuda"});
  CHECK_THAT(plan.steps.front().kernel->version, !StartsWith("cudnn"));
  cudnn::set_context(nullptr);
}

}  // namespace millrace
