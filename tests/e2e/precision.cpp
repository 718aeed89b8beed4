// --precision from the command line to the numbers: on the CPU, which emulates bf16, and on the simulated
// GPU.
#include <iostream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

std::vector<std::string> devices() {
  const json all = parse_only_line(Process("millrace-data", {"inspect", "--device", "--json"}).wait().out);
  for (const json& found : all["backends"]) {
    if (found["name"] == "cuda-sim") return {"cpu", "cuda-sim"};
  }
  std::cout << "on the CPU alone: cuda-sim is not in this build\n";
  return {"cpu"};
}

std::vector<std::string> run_of(const std::string& device, const std::string& precision,
                                const fs::path& out) {
  const std::vector<std::string> where{"--data",      "synthetic:", "--device", device,
                                       "--precision", precision,    "--out",    out.string()};
  return join(join(where, tiny()),
              words("--iterations 4 --checkpoint-every 2 --validate-every 0 --pictures-every 0"));
}

Result done(const Result& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
  return result;
}

std::string model_of(const fs::path& run) { return bytes_of(latest_of(run) / "model.safetensors"); }

}  // namespace

TEST_CASE("a bf16 run that goes on ends as one that was never stopped, and never in another precision") {
  for (const std::string& device : devices()) {
    INFO(device);
    const TemporaryFolder folder;
    const fs::path whole = folder / "whole", cut = folder / "cut", exact = folder / "exact";
    const Result first = done(train(run_of(device, "bf16", whole)));
    CHECK((first.err.find("emulated") != std::string::npos) == (device == "cpu"));
    done(train(join(run_of(device, "bf16", cut), {"--iterations", "2"})));
    const std::vector<std::string> resume{"--resume", "--out", cut.string(), "--threads", "1"};
    require_failure(train(join(resume, {"--precision", "fp32"})),
                    {.code = 2, .parts = {"precision", "bf16"}});
    done(train(join(resume, {"--iterations", "4"})));
    CHECK((model_of(cut) == model_of(whole)));
    done(train(run_of(device, "fp32", exact)));
    CHECK((model_of(exact) != model_of(whole)));
    CHECK(json::parse(bytes_of(exact / "env.json")).at("plans") !=
          json::parse(bytes_of(whole / "env.json")).at("plans"));
  }
}

TEST_CASE("validation and flow in bf16 are near those in fp32, from the same weights") {
  const TemporaryFolder folder;
  const std::string weights = small_run(folder, "run").string();
  for (const std::string& device : devices()) {
    INFO(device);
    std::vector<double> losses, errors;
    for (const std::string precision : {"fp32", "bf16"}) {
      const std::vector<std::string> how{"--weights",   weights,   "--device", device,
                                         "--precision", precision, "--json"};
      const Result validated = done(train(
          join(join({"--validate", "--data", "synthetic:count=2", "--validation-clips", "2"}, tiny()), how)));
      losses.push_back(parse_only_line(validated.out).at("loss"));
      const Result flowed = done(flow(join({"--data", "synthetic:count=1,size=64x64"}, how)));
      errors.push_back(parse_only_line(flowed.out).at("epe"));
    }
    CHECK(losses[0] != losses[1]);
    CHECK(losses[1] == Approx(losses[0]).epsilon(.02));
    CHECK(errors[0] != errors[1]);
    CHECK(errors[1] == Approx(errors[0]).epsilon(.02));
  }
}

TEST_CASE("tf32 on a CPU is fp32, which the log says, and another precision is refused") {
  const TemporaryFolder folder;
  const Result tf32 = done(train(run_of("cpu", "tf32", folder / "tf32")));
  CHECK_THAT(tf32.err, Contains("it is fp32"));
  done(train(run_of("cpu", "fp32", folder / "fp32")));
  CHECK((model_of(folder / "tf32") == model_of(folder / "fp32")));
  require_failure(train(run_of("cpu", "fp16", folder / "fp16")),
                  {.code = 2, .parts = {"--precision", "fp32, tf32 or bf16"}});
  CHECK(!fs::exists(folder / "fp16"));
}
