// The trace as its viewers read it, and the sums of a step's report.
#include "core/trace.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "core/step_report.h"
#include "layers/conv2d.h"
#include "layers/scale.h"
#include "layers/warp.h"
#include "optim/norm.h"
#include "tests/catch.h"

namespace millrace {
namespace {

using nlohmann::json;
using std::chrono::nanoseconds;

HostClock::time_point at(int64_t ns) { return HostClock::time_point(nanoseconds(ns)); }

PlanStep step_of(std::shared_ptr<const Op> op, const std::string& name, const Kernel* kernel) {
  PlanStep step;
  step.op = std::move(op);
  step.name = name;
  step.kernel = kernel;
  return step;
}

}  // namespace

TEST_CASE("a trace is JSON with a name for each track, times from 0, and nesting to the nanosecond") {
  Trace trace("a \"process\"", {"host", "device"});
  trace.note("device", json_text("a\nb"));
  const int64_t start = 7'000'000'000'001;
  trace.add({.track = 1, .name = "outer", .begin = at(start), .end = at(start + 3333)});
  trace.add({.track = 1,
             .name = "inner \\ \xff",
             .category = "c",
             .begin = at(start + 1111),
             .end = at(start + 3333),
             .values = {{"n", json_number(1.5)}, {"inf", json_number(1. / 0.)}}});
  const json parsed = json::parse(trace.to_json());
  CHECK(parsed["otherData"]["device"] == "a\nb");
  std::map<std::string, json> spans;
  std::vector<std::string> tracks;
  for (const json& event : parsed["traceEvents"]) {
    if (event["ph"] == "X") spans[event["name"].get<std::string>().substr(0, 5)] = event;
    if (event["name"] == "thread_name") tracks.push_back(event["args"]["name"]);
    if (event["name"] == "process_name") CHECK(event["args"]["name"] == "a \"process\"");
  }
  CHECK(tracks == std::vector<std::string>{"host", "device"});
  REQUIRE(spans.size() == 2);
  CHECK(spans["outer"]["ts"] == 0);
  CHECK(spans["outer"]["dur"].get<double>() == 3.333);
  CHECK(spans["inner"]["ts"].get<double>() == 1.111);
  CHECK(spans["inner"]["dur"].get<double>() == 2.222);
  CHECK(spans["inner"]["tid"] == 1);
  CHECK(spans["inner"]["args"]["n"] == 1.5);
  CHECK(spans["inner"]["args"]["inf"].is_null());
}

TEST_CASE("a trace without spans is JSON too") {
  CHECK(json::parse(Trace("p", {}).to_json())["traceEvents"].size() == 1);
  CHECK(json_number(std::numeric_limits<double>::quiet_NaN()) == "null");
  CHECK(json::parse(json_number(1e-300)) == 1e-300);
}

TEST_CASE("kinds of nodes") {
  const auto kind = [](std::shared_ptr<const Op> op, const std::string& name) {
    return name_of(node_kind(step_of(std::move(op), name, nullptr)));
  };
  CHECK(kind(make_op<Conv2d>(), "motionnet/conv1/conv2d") == "conv");
  CHECK(kind(make_op<Conv2dDw>(), "motionnet/conv1/d/conv2d_dw") == "conv");
  CHECK(kind(make_op<Norm>(), "norm") == "optimizer");
  CHECK(kind(make_op<Warp>(), "warp") == "loss");
  CHECK(kind(make_op<Scale>(), "loss2/scale") == "loss");
  CHECK(kind(make_op<Scale>(), "motionnet/scale") == "other");
}

TEST_CASE("a floor is the larger of computing and moving, with the peak of the kernel's numbers") {
  const Peaks peaks{.fp32 = 10, .tf32 = 100, .bf16 = 1000, .bytes = 5};
  const auto floor = [&](Cost cost, Dtype dtype, bool tf32) {
    const Kernel kernel{.op = "conv2d", .device = "cpu", .version = "v", .dtype = dtype, .tf32 = tf32};
    PlanStep step = step_of(make_op<Conv2d>(), "c", &kernel);
    step.cost = cost;
    return floor_seconds(step, peaks);
  };
  CHECK(floor({.flop = 200, .bytes = 10}, Dtype::f32, false) == 20);
  CHECK(floor({.flop = 200, .bytes = 5}, Dtype::f32, true) == 2);
  CHECK(floor({.flop = 200, .bytes = 0}, Dtype::bf16, false) == .2);
  CHECK(floor({.flop = 10, .bytes = 10}, Dtype::f32, false) == 2);

  NodeTime sum;
  const Kernel kernel{.op = "conv2d", .device = "cpu", .version = "v", .dtype = Dtype::f32};
  PlanStep step = step_of(make_op<Conv2d>(), "c", &kernel);
  step.cost = {.flop = 20, .bytes = 5};
  for (const double seconds : {3., 4.}) sum += node_time(step, seconds, peaks);
  CHECK(sum.nodes == 2);
  CHECK(sum.seconds == 7);
  CHECK(sum.floor == 4);
  CHECK(sum.flop == 40);
  CHECK(sum.bytes == 10);
}

}  // namespace millrace
