// --kernels and --kernel-cache: a run that goes on has the kernels that it began with.
#include <fstream>
#include <sstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

using Arguments = std::vector<std::string>;

Arguments run_of(const fs::path& out, const std::string& more) {
  return join(join({"--data", "synthetic:", "--out", out.string(), "--iterations", "4"}, tiny()),
              words(more));
}

Result must_work(const Arguments& arguments) {
  const Result result = train(arguments);
  INFO(result.err);
  REQUIRE(result.code == 0);
  return result;
}

// Node -> version, of the one environment that a file knows.
json nodes_of(const fs::path& file) {
  const json choices = json::parse(bytes_of(file)).at("choices");
  REQUIRE(choices.size() == 1);
  return choices.front();
}

bool versions_to_choose(const fs::path& file) {
  if (!json::parse(bytes_of(file)).at("choices").empty()) return true;
  WARN("skipped: without oneDNN no op has two versions");
  return false;
}

// Every choice becomes `version`.
void choose(const fs::path& file, const std::string& version) {
  json all = json::parse(bytes_of(file));
  for (json& environment : all.at("choices"))
    for (json& choice : environment) choice = version;
  std::ofstream(file) << all;
}

json plans_of(const fs::path& run) { return json::parse(bytes_of(run / "env.json")).at("plans"); }

}  // namespace

TEST_CASE("a run takes known kernels, keeps them, and goes on with them") {
  const TemporaryFolder folder;
  const fs::path cache = folder / "cache.json", heuristic = folder / "heuristic", run = folder / "run";
  must_work(run_of(heuristic, ""));
  CHECK(json::parse(bytes_of(heuristic / "kernels.json")).at("choices").empty());
  must_work(run_of(folder / "measured", "--kernels measure --kernel-cache " + cache.string()));
  CHECK(bytes_of(folder / "measured" / "kernels.json") == bytes_of(cache));
  if (!versions_to_choose(cache)) return;
  CHECK(nodes_of(cache).size() > 20);

  // No measurement would choose these everywhere, nor does the heuristic.
  choose(cache, "plain");
  const std::string with_cache = "--kernel-cache " + cache.string();
  must_work(run_of(run, with_cache));
  CHECK(nodes_of(run / "kernels.json") == nodes_of(cache));
  CHECK(plans_of(run) != plans_of(heuristic));
  const Result plan = must_work(run_of(run, with_cache + " --plan"));
  int convolutions = 0;
  std::istringstream lines(plan.out);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("/conv2d") == std::string::npos || line.find("/reorder") != std::string::npos) continue;
    CHECK_THAT(line, Contains(" plain "));
    ++convolutions;
  }
  CHECK(convolutions > 20);
  const std::string fingerprint = plans_of(run).at("step").get<std::string>();
  CHECK_THAT(plan.out, Contains("fingerprint " + fingerprint));

  // The cache may change or go; the run does not ask it again.
  fs::remove(cache);
  const Arguments on{"--resume", "--out", run.string(), "--iterations", "6"};
  const Result resumed_plan = must_work(join(on, {"--plan"}));
  CHECK_THAT(resumed_plan.out, Contains("fingerprint " + fingerprint));
  must_work(on);
  CHECK_FALSE(fs::exists(cache));
  must_work(
      run_of(folder / "again", "--kernel-cache " + (run / "kernels.json").string() + " --iterations 6"));
  for (const char* file : {"model.safetensors", "state.safetensors"})
    CHECK((bytes_of(latest_of(run) / file) == bytes_of(latest_of(folder / "again") / file)));

  // Without its choices it would go on with another plan: that is refused.
  fs::remove(run / "kernels.json");
  require_failure(train({"--resume", "--out", run.string(), "--iterations", "8"}),
                  {.code = 2, .parts = {"plans", fingerprint, "--allow-drift"}});
}

TEST_CASE("what cannot be meant or read is refused before there is a run") {
  const TemporaryFolder folder;
  const fs::path out = folder / "run", cache = folder / "cache.json";
  const std::string with_cache = "--kernel-cache " + cache.string();
  require_failure(train(run_of(out, "--kernels best")),
                  {.code = 2, .parts = {"--kernels", "heuristic or measure", "best"}});
  require_failure(train(run_of(out, with_cache)), {.code = 3, .parts = {cache.string()}});
  // Before anything is measured for it.
  require_failure(train(run_of(out, "--kernels measure --kernel-cache " + (folder / "none/cache").string())),
                  {.code = 2, .parts = {"--kernel-cache", "a folder that exists", "none/cache"}});
  std::ofstream(cache) << "{\"format\": \"millrace kernel choices 1\", \"choices\": 1}";
  for (const char* policy : {"heuristic", "measure"}) {
    require_failure(train(run_of(out, with_cache + " --kernels " + policy)),
                    {.code = 3, .parts = {cache.string(), "choices"}});
  }
  CHECK_FALSE(fs::exists(out));
}
