// Libraries that are loaded when a program runs: where they are looked for, and what is said where they are
// not.
#include "cuda/shared_library.h"

#include <cstdlib>
#include <fstream>

#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

namespace millrace {
namespace {

using Catch::Matchers::Contains;
using test::message_of;

// A variable of the environment, as it was afterwards.
class Variable {
 public:
  Variable(const char* name, const std::string& value)
      : name_(name), old_(std::getenv(name) ? std::getenv(name) : "") {
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { old_.empty() ? unsetenv(name_) : setenv(name_, old_.c_str(), 1); }

 private:
  const char* name_;
  std::string old_;
};

const LibrarySearch kNone{
    .file = "libmillrace-none.so.9", .variable = "MILLRACE_TEST_LIB", .wheel = "none/lib"};

}  // namespace

TEST_CASE("a library that is nowhere: the message names it, the loader's words and the variable") {
  const std::string message = message_of([] { SharedLibrary{kNone}; });
  CHECK_THAT(message,
             Contains("libmillrace-none.so.9") && Contains("No such file") && Contains("MILLRACE_TEST_LIB"));
}

TEST_CASE("wheels and toolkits are looked through, a variable is obeyed alone") {
  const test::TemporaryFolder folder;
  const std::filesystem::path root = folder / "env";
  const std::filesystem::path wheel = root / "lib/python3.11/site-packages/none/lib";
  std::filesystem::create_directories(wheel);
  std::ofstream(wheel / kNone.file) << "not a library";
  const Variable environment("VIRTUAL_ENV", root.string());
  CHECK(library_places(kNone) == std::vector<std::filesystem::path>{kNone.file, wheel / kNone.file});
  const std::string message = message_of([] { SharedLibrary{kNone}; });
  CHECK_THAT(message, Contains((wheel / kNone.file).string()));  // found, and what is wrong with it

  const Variable given("MILLRACE_TEST_LIB", (folder / "elsewhere.so").string());
  CHECK(library_places(kNone) == std::vector<std::filesystem::path>{folder / "elsewhere.so"});
  const Variable directory("MILLRACE_TEST_LIB", root.string());
  CHECK(library_places(kNone) == std::vector<std::filesystem::path>{root / kNone.file});
}

TEST_CASE("functions come by name, and one that is missing is named") {
  const SharedLibrary math({.file = "libm.so.6", .variable = "MILLRACE_TEST_LIB", .wheel = "none/lib"});
  double (*root)(double) = nullptr;
  math.load(root, "sqrt");
  CHECK(root(9) == 3);
  CHECK(math.path() == "libm.so.6");
  CHECK_THAT(message_of([&] { math.load(root, "no_such_root"); }),
             Contains("no_such_root") && Contains("libm.so.6"));
}

}  // namespace millrace
