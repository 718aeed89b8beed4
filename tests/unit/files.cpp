#include "core/files.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/file_size_limit.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using millrace::test::FileSizeLimit;
using millrace::test::TemporaryFolder;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;

namespace {

int64_t entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

// Runs `call`, which must throw an Error, and returns it.
template <class F> Error error_of(F&& call) {
  try {
    call();
  } catch (const Error& e) {
    return e;
  }
  FAIL("no error");
  throw 0;
}

}  // namespace

TEST_CASE("a committed file replaces the old one, and nothing else stays") {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.txt";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new ");
    file.write(std::string(1 << 19, 'x'));
    file.write("end");
    CHECK(read_file(path, 100) == "old");
    CHECK(file.bytes_written() == (1 << 19) + 7);
    file.commit();
  }
  CHECK(read_file(path, 1 << 20) == "new " + std::string(1 << 19, 'x') + "end");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a file that is not committed leaves the old one and no trace") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a.txt", "old");
  {
    AtomicFile file(folder / "a.txt");
    file.write("new");
    CHECK(entries(folder.path()) == 2);
  }
  CHECK(read_file(folder / "a.txt", 100) == "old");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("two writers of one path do not mix") {
  const TemporaryFolder folder;
  AtomicFile a(folder / "a.txt"), b(folder / "a.txt");
  a.write("aaaa");
  b.write("b");
  b.commit();
  CHECK(read_file(folder / "a.txt", 100) == "b");
  a.commit();
  CHECK(read_file(folder / "a.txt", 100) == "aaaa");
}

TEST_CASE("a full disk is an error that names path, need and free space, and keeps the old file") {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.bin";
  write_file_atomically(path, "old");
  {
    const FileSizeLimit limit(100000);
    AtomicFile file(path);
    file.write(std::string(1000, 'x'));
    const Error e = error_of([&] { file.write(std::string(1 << 20, 'y')); });
    CHECK(e.kind() == ErrorKind::runtime);
    CHECK_THAT(e.what(), Contains(path.string()) && Contains("room for") && Contains("free"));

    // What fits the buffer is found at the commit.
    AtomicFile small(path);
    small.write(std::string(150000, 'y'));
    CHECK(error_of([&] { small.commit(); }).kind() == ErrorKind::runtime);
  }
  CHECK(read_file(path, 100) == "old");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a need beyond the free space fails before anything is written") {
  const TemporaryFolder folder;
  const Error e = error_of([&] { AtomicFile(folder / "a.bin", uint64_t{1} << 62); });
  CHECK(e.kind() == ErrorKind::runtime);
  CHECK_THAT(e.what(), Contains("4.6 EB") && Contains("free"));
  CHECK(entries(folder.path()) == 0);
}

TEST_CASE("writing into no folder, a file or over a folder is an error with the path") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "x");
  fs::create_directory(folder / "sub");
  for (const char* name : {"none/a", "file/a", "sub", "sub/"}) {
    const Error e = error_of([&] { write_file_atomically(folder / name, "y"); });
    CHECK_THAT(e.what(), Contains(folder.path().string()));
  }
  CHECK(entries(folder.path()) == 2);
}

TEST_CASE("reading is bounded and says what is wrong") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a", "12345");
  CHECK(read_file(folder / "a", 5) == "12345");
  CHECK_THAT(error_of([&] { read_file(folder / "a", 4); }).what(), Contains("at most 4 bytes, got 5 bytes"));
  const Error missing = error_of([&] { read_file(folder / "b", 4); });
  CHECK(missing.kind() == ErrorKind::data);
  CHECK_THAT(missing.what(), Contains("no such file"));
  CHECK_THAT(error_of([&] { read_file(folder.path(), 4); }).what(), Contains("a folder"));
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_THAT(error_of([&] { read_file(folder / "fifo", 4); }).what(), Contains("no regular file"));
  write_file_atomically(folder / "empty", "");
  CHECK(read_file(folder / "empty", 0).empty());
  CHECK(file_size_of(folder / "a") == 5);
}

TEST_CASE("folders are made, also twice, and a file in the way is an error") {
  const TemporaryFolder folder;
  make_folders(folder / "a/b/c");
  make_folders(folder / "a/b/c");
  CHECK(fs::is_directory(folder / "a/b/c"));
  write_file_atomically(folder / "file", "");
  CHECK_THROWS_AS(make_folders(folder / "file"), Error);
  CHECK_THROWS_AS(make_folders(folder / "file/sub"), Error);
}

TEST_CASE("free space is known for paths that do not exist yet") {
  const TemporaryFolder folder;
  CHECK(free_space(folder / "x/y/z") > 0);
  CHECK_NOTHROW(require_free_space(folder / "x", 1));
}

TEST_CASE("temporary files of killed processes are removed, those in use and others are not") {
  const TemporaryFolder folder;
  AtomicFile in_use(folder / "model.safetensors");
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(folder / "model.safetensors");
    file.write("half");
    ::kill(::getpid(), SIGKILL);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  for (const char* name : {"notes.tmp", "a.tmp.12", "a.tmp.12.", "a.tmp.x.1", "tmp.1.2", "1.2"}) {
    std::ofstream(folder / name) << "mine";
  }
  REQUIRE(entries(folder.path()) == 8);
  CHECK(remove_stale_temporary_files(folder.path()) == 1);
  CHECK(entries(folder.path()) == 7);
  CHECK(fs::exists(in_use.temporary_path()));
  CHECK(remove_stale_temporary_files(folder / "none") == 0);
}

TEST_CASE("sizes are readable") {
  CHECK(bytes_text(0) == "0 bytes");
  CHECK(bytes_text(999) == "999 bytes");
  CHECK(bytes_text(1000) == "1.0 kB");
  CHECK(bytes_text(1500000000) == "1.5 GB");
  CHECK(bytes_text(999960) == "1.0 MB");
}
