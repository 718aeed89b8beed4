// Files that are whole or not there: each write goes to a temporary name beside the file, is synced, then
// renamed. Errors name the path; ErrorKind::runtime when the machine fails (disk full, no permission to
// write), data when a file that should be read is missing or too large.
//
// Everything that changes a disk goes through here, so that tests can let it fail: with
// MILLRACE_FAIL_WRITE=<n> or <n>:<errno> in its environment a process says "injected: <path>" on stderr at
// its n-th change (opening a file to write, write, sync, rename, new folder; counted from 1), and that and
// all later ones fail, of a full disk (ENOSPC) or of what the number says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// An open file descriptor, closed on destruction.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int fd) : fd_(fd) {}
  FileHandle(FileHandle&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileHandle& operator=(FileHandle&& other) noexcept;
  ~FileHandle();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Writes `<path>.tmp.<pid>.<n>` and makes it `path` in commit(). Without commit() the file at `path` is
// untouched and the temporary one removed. A symbolic link at `path` is replaced, not followed. Not for use
// by two threads at once.
class AtomicFile {
 public:
  // `expected_bytes` of free space are asked for at once: a disk that is too small fails before the work.
  explicit AtomicFile(std::filesystem::path path, uint64_t expected_bytes = 0);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void seek(uint64_t offset);  // the next write goes there
  void commit();               // sync, rename, sync the folder; once

  uint64_t bytes_written() const { return written_; }
  const std::filesystem::path& temporary_path() const { return temporary_; }

 private:
  void open();
  void flush();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  FileHandle file_;
  std::vector<std::byte> buffer_;
  uint64_t written_ = 0;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// The whole file; fails when it is no regular file or holds more than `max_bytes`.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes);

// Opens a file to write behind its end, made where it is not there; it can be read as well.
FileHandle open_for_appending(const std::filesystem::path& path);

// Opens a regular file for reading; the messages tell a missing file, a folder and a lack of permission
// apart.
FileHandle open_for_reading(const std::filesystem::path& path);
uint64_t file_size_of(const std::filesystem::path& path);

// Reads up to bytes.size() from `offset`; fewer only at the end of the file.
size_t read_at(const FileHandle& file, const std::filesystem::path& path, uint64_t offset,
               std::span<std::byte> bytes);

// Writes all bytes at the descriptor's position; `path` is for the message.
void write_all(const FileHandle& file, const std::filesystem::path& path, std::span<const std::byte> bytes);

// Bytes that a user without privileges can still write where `path` is, or will be.
uint64_t free_space(const std::filesystem::path& path);
void require_free_space(const std::filesystem::path& path, uint64_t bytes);

// mkdir -p.
void make_folders(const std::filesystem::path& path);

void sync_file(const FileHandle& file, const std::filesystem::path& path);
void sync_folder(const std::filesystem::path& path);
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
void remove_path(const std::filesystem::path& path);  // a file that need not be there

// Removes what AtomicFile left in `folder` when its process was killed; a file that is being written is
// locked, and stays. Returns the number removed.
int64_t remove_stale_temporary_files(const std::filesystem::path& folder);

// "1.5 GB"
std::string bytes_text(uint64_t bytes);

}  // namespace millrace
