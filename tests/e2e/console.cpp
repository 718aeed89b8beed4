// What a person or a shell gets to see: progress, and where stdout and stderr are closed or full.
#include <cstdlib>
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/avi.h"

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

TEST_CASE("progress names the terms of the loss, and the seconds that are left") {
  const TemporaryFolder folder;
  const Result result = train(join(new_run(folder / "run"), {"--max-seconds", "1000"}));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(last_line(result.err), Contains("train 1/1") && Contains("at most 16:40 left") &&
                                        Contains("loss ") && Contains(" pixel ") && Contains(" smooth ") &&
                                        Contains(" ssim ") && Contains(" |g| "));
  CHECK_THAT(result.err, Contains("2 clips for validation"));
}

TEST_CASE("of many videos only those that are validated on are decoded") {
  if (!video_built_in()) return;
  const TemporaryFolder folder;
  std::vector<Image> frames;
  for (int64_t k = 0; k < 10; ++k) frames.push_back(frame(k, {64, 64}));
  const std::string whole = make_avi(frames, 10);
  fs::create_directories(folder / "videos");
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    std::ofstream(folder / "videos" / (std::string(name) + ".avi"), std::ios::binary)
        << (*name == 'b' ? whole.substr(0, whole.size() * 6 / 10) : whole);
  }
  const auto warned = [&](const char* clips) {
    const fs::path run = folder / "run";
    fs::remove_all(run);
    const Result result = train(
        join(new_run(run), {"--validation", (folder / "videos").string(), "--validation-clips", clips}));
    INFO(result.err);
    CHECK(result.code == 0);
    return result.err.find("b.avi") != std::string::npos;
  };
  CHECK(warned("6"));
  CHECK_FALSE(warned("2"));
}
