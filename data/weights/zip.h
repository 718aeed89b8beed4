// Where the entries of a zip archive lie that only stores, as PyTorch writes them. Source: PKWARE's
// APPNOTE.TXT 6.3, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (its end,
// zip64).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "core/files.h"

namespace millrace {

struct ZipEntry {
  uint64_t begin = 0;  // of its data in the file
  uint64_t bytes = 0;  // there
  bool stored = true;  // as it is: neither compressed nor encrypted
  uint32_t crc = 0;    // CRC-32 of the data; 0 where the writer left it out
};

// By name. Errors (data): no archive, cut off, an entry that lies outside of the file, or whose name comes
// twice.
std::map<std::string, ZipEntry> read_zip(const FileHandle& file, const std::filesystem::path& path);

// Throws ErrorKind::data unless the entry is stored and its data has its checksum.
void check_data(const FileHandle& file, const std::filesystem::path& path, const std::string& name,
                const ZipEntry& entry);

}  // namespace millrace
