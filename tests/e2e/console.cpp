// What a person or a shell gets to see: where stdout and stderr are closed or full.
#include <cstdlib>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

// By a shell, for its redirections. The exit code.
int shell(const std::string& program, const std::vector<std::string>& arguments,
          const std::string& redirections) {
  std::string command = "OMP_WAIT_POLICY=passive '" +
                        (fs::read_symlink("/proc/self/exe").parent_path() / program).string() + "'";
  for (const std::string& argument : arguments) command += " '" + argument + "'";
  const int status = std::system((command + " " + redirections).c_str());
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

std::vector<std::string> new_run(const fs::path& out) {
  return join(join({"--data", "synthetic:", "--out", out.string()}, tiny()), {"--iterations", "1"});
}

}  // namespace

TEST_CASE("stdout and stderr that are closed: no file of the run gets their lines") {
  const TemporaryFolder folder;
  for (const char* closed : {">/dev/null 2>&-", ">&- 2>/dev/null", "<&- >&- 2>&-"}) {
    CAPTURE(closed);
    const fs::path run = folder / "run";
    CHECK(shell("motionnet-train", join(new_run(run), {"--json"}), closed) == 0);
    CHECK(bytes_of(run / "lock").find_first_not_of("0123456789\n") == std::string::npos);
    CHECK(json::parse(bytes_of(run / "result.json")).at("steps") == 1);
    fs::remove_all(run);
  }
}

TEST_CASE("results that stdout does not take are a failure that says so") {
  const TemporaryFolder folder;
  const std::string err = (folder / "err").string(), to_full = ">/dev/full 2>'" + err + "'";
  const auto refused = [&](const std::string& program, const std::vector<std::string>& arguments) {
    CAPTURE(program, arguments);
    CHECK(shell(program, arguments, to_full) == 1);
    CHECK_THAT(last_line(bytes_of(err)), Contains(program + ": [stdout]") && Contains("No space left"));
  };
  refused("motionnet-train", {"--help"});
  refused("motionnet-train", {"--print-config"});
  refused("motionnet-train", join({"--plan", "--data", "synthetic:"}, tiny()));
  refused("motionnet-train", join(new_run(folder / "run"), {"--json"}));
  refused("motionnet-flow",
          {"--weights", (folder / "run").string(), "--data", "synthetic:size=64x64,count=1", "--json"});
  refused("millrace-data", {"inspect", (folder / "run").string()});
}

