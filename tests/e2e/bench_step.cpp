// bench_step: the keys that scripts read, and numbers that must agree with each other and with the plan.
#include <iostream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;

namespace {

json bench(const std::string& more) {
  const Result result = Process("bench_step", join({"--preset", "tiny", "--channels", ".0625", "--batch", "2",
                                                    "--threads", "1", "--json", "--peaks", "1,2,4,.01"},
                                                   words(more)))
                            .wait();
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

double sum_of(const json& rows, const char* key) {
  double sum = 0;
  for (const json& row : rows) sum += row[key].get<double>();
  return sum;
}

void check_sums(const json& r) {
  for (const char* key : {"flop", "bytes", "floor_seconds"}) {
    INFO(key);
    CHECK(sum_of(r["layers"], key) == Approx(r[key].get<double>()));
    CHECK(sum_of(r["kinds"], key) == Approx(r[key].get<double>()));
  }
  CHECK(sum_of(r["layers"], "seconds") == Approx(r["sum_of_nodes"].get<double>()));
  CHECK(sum_of(r["kinds"], "seconds") == Approx(r["sum_of_nodes"].get<double>()));
  CHECK(sum_of(r["layers"], "nodes") == sum_of(r["kinds"], "nodes"));
  CHECK(r["seconds"].get<double>() >= r["fastest_seconds"].get<double>());
  CHECK(r["fastest_seconds"].get<double>() > 0);
  CHECK(r["peak_bytes"].get<double>() > r["arena_bytes"].get<double>());
  CHECK(r["plan_seconds"]["cold"].get<double>() > 0);
  CHECK(r["plan_seconds"]["cached"].get<double>() > 0);
  CHECK(r["clips_per_second"].get<double>() ==
        Approx(r["batch"].get<double>() / r["seconds_apart"].get<double>()));
}

}  // namespace

TEST_CASE("bench_step's sums by layer, by kind and of the plan agree") {
  const json r = bench("--repeats 2");
  check_sums(r);
  CHECK(r["work"] == "training");
  CHECK(r["precision"] == "fp32");
  CHECK(r["captured"] == false);
  CHECK(r["peaks"]["bf16"] == 4e12);
  CHECK(r["kinds"].size() == 4);
  for (const json& kind : r["kinds"]) CHECK(kind["nodes"].get<int64_t>() > 0);

  // The same step as motionnet-train has it.
  const Result plan = train({"--plan", "--preset", "tiny", "--channels", ".0625", "--batch", "2", "--threads",
                             "1", "--data", "synthetic:"});
  REQUIRE(plan.code == 0);
  double nodes = 0;
  for (const std::string& line : lines_of(plan.out)) {
    if (line.find(" arena+") != std::string::npos || line.find("grads+") != std::string::npos ||
        line.find("params+") != std::string::npos)
      ++nodes;
  }
  const json by_node = bench("--repeats 1 --nodes");
  CHECK(sum_of(by_node["layers"], "nodes") >= nodes);
  CHECK(sum_of(by_node["layers"], "nodes") == sum_of(r["layers"], "nodes"));
  CHECK(by_node["layers"].size() > r["layers"].size());
}

TEST_CASE("bench_step of the flow alone has neither losses nor an optimizer") {
  const json r = bench("--repeats 1 --inference");
  check_sums(r);
  CHECK(r["work"] == "inference");
  for (const json& kind : r["kinds"]) {
    const bool none = kind["name"] == "loss" || kind["name"] == "optimizer";
    CHECK((kind["nodes"] == 0) == none);
  }
  CHECK(r["flop"].get<double>() < bench("--repeats 1")["flop"].get<double>() / 2);
}

TEST_CASE("bench_step knows the options of motionnet-train, other nets and precisions") {
  CHECK(bench("--repeats 1 --net tiny-motionnet")["net"] == "tiny-motionnet");
  CHECK(bench("--repeats 1 --no-smooth-conv")["smooth_conv"] == false);
  const json bf16 = bench("--repeats 1 --precision bf16");
  CHECK(bf16["precision"] == "bf16");
  check_sums(bf16);
}

TEST_CASE("bench_step on the simulated GPU: recorded or not") {
  const Result found = Process("millrace-data", {"inspect", "--device", "--json"}).wait();
  if (found.out.find("\"cuda-sim\"") == std::string::npos) {
    std::cout << "skipped: cuda-sim is not in this build\n";
    return;
  }
  const json recorded = bench("--repeats 1 --device cuda-sim");
  check_sums(recorded);
  CHECK(recorded["captured"] == true);
  CHECK(bench("--repeats 1 --device cuda-sim --no-capture")["captured"] == false);
}

TEST_CASE("bench_step measures peaks itself, and prints a table") {
  const Result r = Process("bench_step", {"--preset", "tiny", "--channels", ".0625", "--batch", "1",
                                          "--threads", "1", "--repeats", "1", "--peaks", "measure"})
                       .wait();
  INFO(r.err);
  REQUIRE(r.code == 0);
  using Catch::Matchers::Contains;
  CHECK_THAT(r.out, Contains("motionnet/conv1 ") && Contains("all of kind optimizer") &&
                        Contains("TFLOP/s (fp32, tf32, bf16)") && Contains("measured here"));
}

TEST_CASE("what bench_step is not given rightly is a usage error") {
  for (const char* wrong : {"--repeats 0", "--accumulate 2", "--peaks 1,2,3", "--peaks 1,2,3,4,",
                            "--peaks fast", "--peaks 1,2,-3,4", "--precision fp8", "--peaks nan,1,1,1"}) {
    INFO(wrong);
    const Result result = Process("bench_step", join({"--preset", "tiny"}, words(wrong))).wait();
    CHECK(result.code == 2);
    CHECK_THAT(last_line(result.err), Catch::Matchers::Contains("bench_step: ["));
  }
}
