#include "core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 18;

// What MILLRACE_FAIL_WRITE asks for.
struct WriteFault {
  int64_t first = 0;  // 0: none
  int code = ENOSPC;
};

WriteFault fault_from_environment() {
  WriteFault fault;
  if (const char* text = std::getenv("MILLRACE_FAIL_WRITE")) {
    char* rest = nullptr;
    fault.first = std::strtoll(text, &rest, 10);
    if (*rest == ':') fault.code = static_cast<int>(std::strtol(rest + 1, nullptr, 10));
  }
  return fault;
}

// Before each change of the disk: whether a test wants it to fail, for the reason in errno then.
bool fails_for_test(const fs::path& path) {
  static const WriteFault fault = fault_from_environment();
  static std::atomic<int64_t> changes{0};
  if (fault.first == 0) return false;
  const int64_t change = ++changes;
  if (change < fault.first) return false;
  if (change == fault.first) std::fprintf(stderr, "injected: %s\n", path.c_str());
  errno = fault.code;
  return true;
}

std::string reason(int code) { return std::generic_category().message(code); }

[[noreturn]] void fail_write(const fs::path& path, uint64_t bytes, int code) {
  if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
    std::error_code ignored;
    const auto space = fs::space(path.has_parent_path() ? path.parent_path() : fs::path("."), ignored);
    fail(ErrorKind::runtime,
         {.where = path.string(),
          .expected = bytes == 0 ? "room to write" : "room for " + bytes_text(bytes) + " more",
          .got = fmt::format("{} ({} free)", reason(code), ignored ? "unknown" : bytes_text(space.available)),
          .hint = "Free some space, or write elsewhere"});
  }
  fail(ErrorKind::runtime, {.where = path.string(), .expected = "to write", .got = reason(code), .hint = {}});
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

FileHandle open_retrying(const fs::path& path, int flags) {
  int fd = -1;
  if ((flags & O_CREAT) != 0 && fails_for_test(path)) return {};
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  return FileHandle(fd);
}

// "<anything>.tmp.<digits>.<digits>"
bool is_temporary_name(const std::string& name) {
  const auto digits_after = [&](size_t end) {
    size_t begin = end;
    while (begin > 0 && name[begin - 1] >= '0' && name[begin - 1] <= '9') --begin;
    return begin;
  };
  const size_t counter = digits_after(name.size());
  if (counter == name.size() || counter == 0 || name[counter - 1] != '.') return false;
  const size_t pid = digits_after(counter - 1);
  return pid != counter - 1 && pid > 5 && name.compare(pid - 5, 5, ".tmp.") == 0;
}

}  // namespace

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileHandle::~FileHandle() {
  if (fd_ >= 0) ::close(fd_);
}

AtomicFile::AtomicFile(fs::path path, uint64_t expected_bytes) : path_(std::move(path)) {
  if (!path_.has_filename()) {
    fail(ErrorKind::usage,
         {.where = path_.string(), .expected = "the name of a file", .got = "a folder", .hint = {}});
  }
  if (expected_bytes > 0) require_free_space(path_, expected_bytes);
  buffer_.reserve(kBufferBytes);
  open();
}

void AtomicFile::open() {
  static std::atomic<uint64_t> counter{0};
  // The lock says that the file is in use. A cleaner may remove it between open and lock, hence the loop.
  for (;;) {
    temporary_ = path_;
    temporary_ += fmt::format(".tmp.{}.{}", ::getpid(), counter++);
    file_ = open_retrying(temporary_, O_WRONLY | O_CREAT | O_EXCL);
    if (!file_ && errno == EEXIST) continue;
    if (!file_) fail_write(path_, 0, errno);
    struct stat info {};
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0 && ::fstat(file_.get(), &info) == 0 &&
        info.st_nlink == 0)
      continue;
    return;
  }
}

AtomicFile::~AtomicFile() {
  if (file_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  written_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    write_all(file_, path_, bytes);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
}

void AtomicFile::flush() {
  write_all(file_, path_, buffer_);
  buffer_.clear();
}

void AtomicFile::seek(uint64_t offset) {
  flush();
  if (::lseek(file_.get(), static_cast<off_t>(offset), SEEK_SET) < 0) fail_write(path_, 0, errno);
}

void AtomicFile::commit() {
  flush();
  sync_file(file_, path_);
  rename_path(temporary_, path_);
  file_ = FileHandle();
  sync_folder(folder_of(path_));
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  AtomicFile file(path, text.size());
  file.write(text);
  file.commit();
}

FileHandle open_for_appending(const fs::path& path) {
  FileHandle file = open_retrying(path, O_RDWR | O_CREAT | O_APPEND);
  if (!file) fail_write(path, 0, errno);
  return file;
}

FileHandle open_for_reading(const fs::path& path) {
  // O_NONBLOCK: a FIFO without a writer would block here for ever.
  FileHandle file = open_retrying(path, O_RDONLY | O_NONBLOCK);
  const std::string expected = "a readable file";
  if (!file) {
    const std::string got = errno == ENOENT ? "no such file" : reason(errno);
    fail(ErrorKind::data, {.where = path.string(), .expected = expected, .got = got, .hint = {}});
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    const std::string got = S_ISDIR(info.st_mode) ? "a folder" : "something that is no regular file";
    fail(ErrorKind::data, {.where = path.string(), .expected = expected, .got = got, .hint = {}});
  }
  return file;
}

uint64_t file_size_of(const fs::path& path) {
  const FileHandle file = open_for_reading(path);
  struct stat info {};
  ::fstat(file.get(), &info);
  return static_cast<uint64_t>(info.st_size);
}

size_t read_at(const FileHandle& file, const fs::path& path, uint64_t offset, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::pread(file.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail(ErrorKind::data,
           {.where = path.string(), .expected = "to read", .got = reason(errno), .hint = {}});
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

void write_all(const FileHandle& file, const fs::path& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = fails_for_test(path) ? -1 : ::write(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path, bytes.size(), errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

std::string read_file(const fs::path& path, uint64_t max_bytes) {
  const FileHandle file = open_for_reading(path);
  struct stat info {};
  ::fstat(file.get(), &info);
  const auto size = static_cast<uint64_t>(info.st_size);
  std::string text;
  // A file of /proc says 0 and may hold more; a file may grow: hence reading on to the end.
  for (uint64_t chunk = std::min(size, max_bytes) + 1;; chunk = kBufferBytes) {
    const size_t before = text.size();
    text.resize(before + chunk);
    const size_t n = read_at(file, path, before, std::as_writable_bytes(std::span(text)).subspan(before));
    text.resize(before + n);
    if (text.size() > max_bytes) {
      fail(ErrorKind::data, {.where = path.string(),
                             .expected = "a file of at most " + bytes_text(max_bytes),
                             .got = size > max_bytes ? bytes_text(size) : "more",
                             .hint = {}});
    }
    if (n < chunk) return text;
  }
}

uint64_t free_space(const fs::path& path) {
  std::error_code code;
  fs::path existing = fs::absolute(path, code);
  while (!code && !fs::exists(existing, code) && existing.has_relative_path())
    existing = existing.parent_path();
  struct statvfs info {};
  if (::statvfs(existing.c_str(), &info) != 0) {
    fail(ErrorKind::runtime,
         {.where = path.string(), .expected = "a file system", .got = reason(errno), .hint = {}});
  }
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

void require_free_space(const fs::path& path, uint64_t bytes) {
  const uint64_t available = free_space(path);
  if (available >= bytes) return;
  fail(ErrorKind::runtime, {.where = path.string(),
                            .expected = "room for " + bytes_text(bytes),
                            .got = bytes_text(available) + " free",
                            .hint = "Free some space, or write elsewhere"});
}

void make_folders(const fs::path& path) {
  std::error_code code;
  if (fs::is_directory(path, code)) return;
  if (fails_for_test(path))
    code.assign(errno, std::generic_category());
  else
    fs::create_directories(path, code);
  if (!code && fs::is_directory(path, code)) return;
  fail(ErrorKind::runtime, {.where = path.string(),
                            .expected = "a folder that exists or can be made",
                            .got = code ? code.message() : "a file of that name",
                            .hint = {}});
}

void sync_file(const FileHandle& file, const fs::path& path) {
  if (fails_for_test(path) || ::fsync(file.get()) != 0) fail_write(path, 0, errno);
}

void sync_folder(const fs::path& path) {
  const FileHandle folder = open_retrying(path, O_RDONLY | O_DIRECTORY);
  // EINVAL: a file system that cannot sync folders.
  if (!folder || fails_for_test(path) || (::fsync(folder.get()) != 0 && errno != EINVAL))
    fail_write(path, 0, errno);
}

void rename_path(const fs::path& from, const fs::path& to) {
  std::error_code code;
  if (fails_for_test(to))
    code.assign(errno, std::generic_category());
  else
    fs::rename(from, to, code);
  if (!code) return;
  fail(ErrorKind::runtime, {.where = to.string(),
                            .expected = "to rename " + from.filename().string() + " to it",
                            .got = code.message(),
                            .hint = {}});
}

void remove_path(const fs::path& path) {
  std::error_code code;
  fs::remove(path, code);
  if (!code) return;
  fail(ErrorKind::runtime,
       {.where = path.string(), .expected = "to remove it", .got = code.message(), .hint = {}});
}

int64_t remove_stale_temporary_files(const fs::path& folder) {
  int64_t removed = 0;
  std::error_code code;
  for (auto it = fs::directory_iterator(folder, code); !code && it != fs::directory_iterator();
       it.increment(code)) {
    if (!is_temporary_name(it->path().filename().string())) continue;
    const FileHandle file = open_retrying(it->path(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    struct stat info {};
    if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (::unlink(it->path().c_str()) == 0) ++removed;
  }
  return removed;
}

std::string bytes_text(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"kB", "MB", "GB", "TB", "PB", "EB"}) {
    if (value < 999.95 && *unit != 0) break;
    value /= 1000;
    unit = next;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

}  // namespace millrace
