// What a person or a shell gets to see: help, progress, and where stdout and stderr are closed or full.
#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/avi.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

std::string command_of(const std::string& program, const std::vector<std::string>& arguments) {
  std::string command = "OMP_WAIT_POLICY=passive '" +
                        (fs::read_symlink("/proc/self/exe").parent_path() / program).string() + "'";
  for (const std::string& argument : arguments) command += " '" + argument + "'";
  return command;
}

int run_by_shell(const std::string& command) {
  const int status = std::system(command.c_str());
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

// By a shell, for its redirections. The exit code.
int shell(const std::string& program, const std::vector<std::string>& arguments,
          const std::string& redirections) {
  return run_by_shell(command_of(program, arguments) + " " + redirections);
}

// The exit code of a program of which `output` ("2>&1", say) goes into a pipe whose reader has ended before.
int shell_without_reader(const TemporaryFolder& folder, const std::string& command,
                         const std::string& output) {
  const std::string code = (folder / "code").string(), ended = (folder / "ended").string();
  run_by_shell("rm -f '" + ended + "'; { while [ ! -e '" + ended + "' ]; do sleep .05; done; " + command +
               " " + output + "; echo $? >'" + code + "'; } | { exec <&-; : >'" + ended + "'; }");
  return std::stoi(bytes_of(code));
}

std::vector<std::string> new_run(const fs::path& out) {
  return join(join({"--data", "synthetic:", "--out", out.string()}, tiny()), {"--iterations", "1"});
}

// From a flag's line to that of the next.
std::string help_of(const std::string& help, const std::string& flag) {
  const size_t begin = std::min(help.find("\n  " + flag + " "), help.find("\n  " + flag + ","));
  INFO(flag);
  REQUIRE(begin != std::string::npos);
  return help.substr(begin, help.find("\n  --", begin + 1) - begin);
}

}  // namespace

TEST_CASE("flag --help says every default, in lines of at most 100 columns") {
  for (const auto& [program, command] :
       std::vector<std::pair<std::string, std::string>>{{"motionnet-train", ""},
                                                        {"motionnet-flow", ""},
                                                        {"millrace-data", "synth"},
                                                        {"millrace-data", "check"},
                                                        {"millrace-data", "inspect"}}) {
    CAPTURE(program, command);
    const std::string help = Process(program, join(words(command), {"--help"})).wait().out;
    CHECK_THAT(help, !Contains("{false}") && !Contains("\n\n\n"));
    const std::string options = help.substr(help.find("\nOptions:"));
    for (const std::string& line : lines_of(options.substr(0, options.find("\n\n")))) {
      CAPTURE(line);
      CHECK(line.size() <= 100);
    }
  }
  const std::string help = train({"--help"}).out;
  for (const std::string& line : lines_of(train({"--print-config"}).out)) {
    const size_t equals = line.find(" = ");
    if (equals == std::string::npos || line.ends_with("\"\"") || line.ends_with("[]")) continue;
    std::string flag = "--" + line.substr(0, equals);
    std::replace(flag.begin(), flag.end(), '_', '-');
    CHECK_THAT(help_of(help, flag), Contains("(default: "));
  }
  CHECK_THAT(help_of(help, "--batch"), Contains("(default: 8)"));
  CHECK_THAT(help_of(help, "--ssim-weights"), Contains("(default: 0.01,0.02,0.04,0.08,0.16)"));
  CHECK_THAT(help_of(flow({"--help"}).out, "--format"), Contains("(default: flo)"));
}

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

TEST_CASE("a run goes on when nobody reads its log any more") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  CHECK(shell_without_reader(folder, command_of("motionnet-train", new_run(run)), "2>&1 >/dev/null") == 0);
  CHECK(json::parse(bytes_of(run / "result.json")).at("steps") == 1);
  CHECK_THAT(bytes_of(run / "log.txt"), Contains("train 1/1") && Contains("step 1: validation loss"));
}

TEST_CASE("results that nobody reads any more are a failure that says so") {
  const TemporaryFolder folder;
  const fs::path err = folder / "err";
  for (const auto& arguments : {std::vector<std::string>{"--print-config"}, {"--help"}}) {
    CAPTURE(arguments);
    const std::string command = command_of("motionnet-train", arguments);
    CHECK(shell_without_reader(folder, command, "2>'" + err.string() + "'") == 1);
    CHECK_THAT(bytes_of(err), Contains("motionnet-train: [stdout]") && Contains("Broken pipe"));
    CHECK(lines_of(bytes_of(err)).size() == 1);
    CHECK(run_by_shell(command + " 2>'" + err.string() + "' | head -1 >/dev/null") == 0);
    CHECK(lines_of(bytes_of(err)).size() <= 1);
  }
}

TEST_CASE("progress names the terms of the loss, and the number of threads is that of the device") {
  const TemporaryFolder folder;
  const Result result = train(join(new_run(folder / "run"), {"--max-seconds", "1000", "--threads", "1"}));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(last_line(result.err), Contains("train 1/1") && Contains("loss ") && Contains(" pixel ") &&
                                        Contains(" smooth ") && Contains(" ssim ") && Contains(" |g| ") &&
                                        !Contains("ETA"));
  CHECK_THAT(result.err, Contains("2 clips for validation") && Contains(", 1 thread\n"));
}

TEST_CASE("with --max-seconds the ETA is of the seconds where they end first") {
  const TemporaryFolder folder;
  const Result result =
      train(join(new_run(folder / "run"), {"--iterations", "1000000", "--max-seconds", ".05"}));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.err, Contains("/1000000 ") && Contains(" ETA 0:00 loss "));
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
