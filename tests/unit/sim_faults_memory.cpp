// Deliberately wrong kernels, which must show: indices out of bounds (in the sanitizer build), shared memory
// that was not written, results that depend on the order of threads, and steps that cannot be captured.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "tests/catch.h"
#include "tests/unit/sim_support.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 64;

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// --- out of bounds

// Thread `t` of block 1 reads one too far, past `places` floats.
__global__ void read_past_global(const float* x, float* out, int places) {
  const bool last = blockIdx.x == 1 && threadIdx.x == 9;
  out[global_thread()] = x[last ? places : 0];
}

__global__ void write_past_global(float* out, int places) {
  if (blockIdx.x == 1 && threadIdx.x == 9) out[places] = 1.0f;
}

// By a pointer, as a device helper would: the array's bound is not known to the compiler.
template <int kBlocks> __global__ void write_past_static_shared(float*, int places) {
  __shared__ float tile[kBlock];
  float* p = tile;
  if (blockIdx.x == kBlocks - 1 && threadIdx.x == 9) p[places] = 1.0f;
}

// By an index that the compiler knows the bound of.
__global__ void index_past_static_shared(float* out, int places) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = 1.0f;
  __syncthreads();
  if (blockIdx.x == 1 && threadIdx.x == 9) out[0] = tile[places];
}

__global__ void write_past_dynamic_shared(float*, int places) {
  if (blockIdx.x == 1 && threadIdx.x == 9) dynamic_shared<float>()[places] = 1.0f;
}

struct Ending {
  bool normal;
  std::string stderr_text;
};

// What happens to a process that does this.
template <class F> Ending in_child(F&& work) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    work();
    ::_exit(0);
  }
  ::close(ends[1]);
  Ending ending;
  char part[4096];
  for (ssize_t n = ::read(ends[0], part, sizeof part); n > 0; n = ::read(ends[0], part, sizeof part))
    ending.stderr_text.append(part, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  ending.normal = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return ending;
}

TEST_CASE("an index out of bounds ends a sanitized program, which names kernel, block and thread") {
  if (!kSanitized) {
    std::cout << "skipped: built without AddressSanitizer\n";
    return;
  }
  const auto x = std::make_unique<float[]>(kBlock), out = std::make_unique<float[]>(2 * kBlock);
  const LaunchShape shape{.grid = 2, .block = kBlock, .shared_bytes = kBlock * sizeof(float)};
  const auto check = [&](const char* kernel, const auto& start, int places, const char* finder) {
    const Ending right = in_child([&] { start(places - 1); });
    CHECK(right.normal);
    const Ending wrong = in_child([&] { start(places); });
    CHECK_FALSE(wrong.normal);
    contains(wrong.stderr_text, finder);
    contains(wrong.stderr_text, std::string("[") + kernel + " launched at ");
    contains(wrong.stderr_text, ", block (1,0,0), thread (9,0,0)]");
  };
  const auto with_out = [&](void (*kernel)(float*, int)) {
    return [&out, &shape, kernel](int places) { launch(kernel, shape, nullptr, out.get(), places); };
  };
  const char* asan = "AddressSanitizer";
  check(
      "read_past_global",
      [&](int places) { launch(read_past_global, shape, nullptr, x.get(), out.get(), places); }, kBlock,
      asan);
  check("write_past_global", with_out(write_past_global), 2 * kBlock, asan);
  check("write_past_static_shared<2>", with_out(write_past_static_shared<2>), kBlock, asan);
  check("index_past_static_shared", with_out(index_past_static_shared), kBlock,
        "runtime error: index 64 out of bounds");
  check("write_past_dynamic_shared", with_out(write_past_dynamic_shared), kBlock, asan);
}

// --- shared memory that was not written

__global__ void read_unwritten(float* out) {
  __shared__ float tile[kBlock];
  if (threadIdx.x == 0) tile[0] = 1.0f;
  __syncthreads();
  out[global_thread()] = tile[threadIdx.x] + dynamic_shared<float>()[threadIdx.x];
}

// Static shared memory of a template is a case of its own for g++.
template <int kRead> __global__ void read_unwritten_in_template(float* out) {
  __shared__ float tile[kBlock];
  if (threadIdx.x == kRead) tile[0] = 1.0f;
  __syncthreads();
  out[global_thread()] = tile[1];
}

__global__ void fill_then_read(float* out) {
  __shared__ float tile[kBlock];
  tile[threadIdx.x] = 1.0f;
  dynamic_shared<float>()[threadIdx.x] = 1.0f;
  __syncthreads();
  out[global_thread()] = tile[kBlock - 1 - threadIdx.x] + dynamic_shared<float>()[kBlock - 1 - threadIdx.x];
}

TEST_CASE("shared memory read before the block wrote it is NaN, in every block") {
  std::vector<float> out(3 * kBlock, 0.0f);
  const LaunchShape shape{.grid = 3, .block = kBlock, .shared_bytes = kBlock * sizeof(float)};
  launch(fill_then_read, shape, nullptr, out.data());
  CHECK(out == std::vector<float>(3 * kBlock, 2.0f));
  for (const auto kernel : {read_unwritten, read_unwritten_in_template<0>, read_unwritten_in_template<1>}) {
    std::fill(out.begin(), out.end(), 0.0f);
    launch(kernel, shape, nullptr, out.data());
    for (const float value : out) CHECK(std::isnan(value));
  }
}

// --- the order of threads

__global__ void sum_as_they_come(const float* x, float* sum) { atomicAdd(sum, x[global_thread()]); }

__global__ void last_one_wins(const float* x, float* sum) {
  if (x[global_thread()] > 0) *sum = x[global_thread()];
}

__global__ void sum_in_order(const float* x, float* sum) {
  __shared__ float shared[kBlock / kLanes];
  const float total = block_sum<kBlock>(x[threadIdx.x] + x[threadIdx.x + kBlock], shared);
  if (threadIdx.x == 0) *sum = total;
}

// The results of one kernel in many orders.
std::set<float> results(void (*kernel)(const float*, float*), unsigned blocks) {
  const std::vector<float> x = ramp(2 * kBlock);
  std::set<float> sums;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const OrderSeed order(seed);
    float sum = 0;
    launch(kernel, {.grid = blocks, .block = kBlock}, nullptr, x.data(), &sum);
    sums.insert(sum);
  }
  return sums;
}

TEST_CASE("what depends on the order of threads differs between orders") {
  CHECK(results(sum_as_they_come, 2).size() > 1);
  CHECK(results(last_one_wins, 2).size() > 1);
  CHECK(results(sum_in_order, 1).size() == 1);
}

// --- capture

__global__ void step_down(float* w, const float* rate) { w[threadIdx.x] -= *rate; }
__global__ void step_down_by(float* w, float rate) { w[threadIdx.x] -= rate; }

struct Step {
  std::vector<float> w = std::vector<float>(4, 10.0f);
  float rate = 1.0f;
  bool baked;

  void run() {
    if (baked)
      launch(step_down_by, {.grid = 1, .block = 4}, nullptr, w.data(), rate);
    else
      launch(step_down, {.grid = 1, .block = 4}, nullptr, w.data(), &rate);
  }
};

// Whether a captured step does what the step itself does when the rate changes after the capture.
bool can_be_captured(bool baked) {
  Step eager{.baked = baked}, captured{.baked = baked};
  sim::begin_recording();
  captured.run();
  const sim::Recording recording = sim::end_recording();
  CHECK(captured.w[0] == 10.0f);  // it was recorded, not run
  for (const float rate : {1.0f, 0.5f, 0.25f}) {
    eager.rate = captured.rate = rate;
    eager.run();
    recording.replay();
  }
  CHECK(eager.w == std::vector<float>(4, 8.25f));
  return captured.w == eager.w;
}

TEST_CASE("a host value baked into a captured step shows when the value changes") {
  CHECK(can_be_captured(false));
  CHECK_FALSE(can_be_captured(true));
}

TEST_CASE("a recording holds copies of arguments and other work, in order, and can be replayed") {
  std::vector<float> w(4, 1.0f);
  {
    float* pointer = w.data();
    float rate = 2.0f;
    sim::begin_recording();
    CHECK(sim::recording());
    launch(step_down_by, {.grid = 1, .block = 4}, nullptr, pointer, rate);
    sim::submit([&w] { w[1] *= 10; });
    pointer = nullptr;
    rate = 100.0f;
  }
  const sim::Recording recording = sim::end_recording();
  CHECK_FALSE(sim::recording());
  CHECK(recording.size() == 2);
  recording.replay();
  CHECK(w == std::vector<float>{-1, -10, -1, -1});
  recording.replay();
  CHECK(w == std::vector<float>{-3, -120, -3, -3});

  contains(refusal([] { sim::end_recording(); }), "[end_recording]");
  sim::begin_recording();
  contains(refusal([] { sim::begin_recording(); }), "[begin_recording]");
  contains(refusal([&] { launch(step_down_by, {.grid = 1, .block = 1025}, nullptr, w.data(), 1.0f); }),
           "[step_down_by launched at ");
  CHECK(sim::end_recording().size() == 0);
}

// --- launches that fail on request

void refuse_launch(const sim::Launch& launch) {
  fail(ErrorKind::device,
       {.where = sim::kernel_name(launch.kernel), .expected = "a launch", .got = "none", .hint = ""});
}

TEST_CASE("a hook may refuse launches") {
  std::vector<float> w(4, 1.0f);
  const auto start = [&] { launch(step_down_by, {.grid = 1, .block = 4}, nullptr, w.data(), 1.0f); };
  sim::before_launch = refuse_launch;
  const std::string message = refusal(start);
  sim::before_launch = nullptr;
  CHECK(message == "[step_down_by] expected a launch, got none");
  CHECK(w[0] == 1.0f);
  start();
  CHECK(w[0] == 0.0f);
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
