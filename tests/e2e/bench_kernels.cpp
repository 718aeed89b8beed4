// bench_kernels and check_kernels, as scripts read them.
#include <iostream>
#include <set>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

Result run(const std::string& program, const std::string& arguments) {
  return Process(program, words(arguments)).wait();
}

}  // namespace

TEST_CASE("times of kernels, as JSON: every version at every benchmark case of the ops that match") {
  const Result result = run("bench_kernels", "--op ^(fill|sub)$ --device cpu --seconds 0.001 --json");
  INFO(result.err);
  REQUIRE(result.code == 0);
  const json rows = json::parse(result.out);
  REQUIRE(rows.size() == 2);
  std::set<std::string> ops;
  for (const json& row : rows) {
    ops.insert(row.at("op").get<std::string>());
    CHECK(row.at("version") == "plain");
    CHECK(row.at("device") == "cpu");
    CHECK(row.at("dtype") == "f32");
    CHECK(row.at("case").is_string());
    const double seconds = row.at("seconds").get<double>(), share = row.at("copy_share").get<double>();
    CHECK(seconds > 0);
    CHECK(share > 0);
    CHECK(row.at("bytes").get<double>() > 0);
    CHECK(row.at("flop").get<double>() > 0);
  }
  CHECK(ops == std::set<std::string>{"fill", "sub"});
}

TEST_CASE("times of kernels, as a table, and how they are measured") {
  const Result table = run("bench_kernels", "--op fill --device cpu --seconds 0.001");
  CHECK(table.code == 0);
  CHECK_THAT(table.out, Contains("a copy moves") && Contains("GB/s") && Contains("% of the copy"));
  const Result help = run("bench_kernels", "--help");
  CHECK(help.code == 0);
  CHECK_THAT(help.out, Contains("--op") && Contains("--device") && Contains("256 MiB"));
}

TEST_CASE("counts of bytes and FLOP need no run") {
  const Result result = run("bench_kernels", "--device cuda-sim --counts --op ^sub$ --json");
  INFO(result.err);
  if (result.code == 4) {
    std::cout << "skipped: this build has no simulated device\n";
    return;
  }
  REQUIRE(result.code == 0);
  const json rows = json::parse(result.out);
  REQUIRE(rows.size() > 1);
  for (const json& row : rows) {
    CHECK(row.at("seconds").is_null());
    CHECK(row.at("copy_share").is_null());
    CHECK(row.at("bytes").get<double>() > 0);
  }
}

TEST_CASE("what bench_kernels cannot time is refused with its reason") {
  const auto refused = [](const std::string& arguments, int code, const std::string& reason) {
    const Result result = run("bench_kernels", arguments);
    INFO(result.err);
    CHECK(result.code == code);
    CHECK_THAT(result.err, Contains(reason));
    CHECK(result.out.empty());
  };
  refused("--device cuda-sim", 2, "a device whose times mean something");
  refused("--device cpu --op [", 2, "a regular expression");
  refused("--device abacus", 4, "abacus");
  refused("--seconds 0", 2, "--seconds");
  refused("--seconds", 2, "a value");
  refused("--fast", 2, "'--fast'");
  const Result none = run("bench_kernels", "--device cpu --seconds 0.001 --op nothing");
  CHECK(none.code == 2);
  CHECK_THAT(none.err, Contains("'nothing'"));
}

TEST_CASE("check_kernels says of each kernel whether it agrees with the CPU") {
  const Result result = run("check_kernels", "--device cpu --op fill");
  CHECK(result.code == 0);
  CHECK_THAT(result.out, Contains("ok    fill plain f32") && Contains("1 of 1 kernels agree"));
  CHECK(run("check_kernels", "--device cpu --op nothing").code == 2);
  CHECK(run("check_kernels", "--device abacus").code == 4);
  CHECK(run("check_kernels", "--fast").code == 2);
}
