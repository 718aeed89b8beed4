// Finds what a list names below the data's root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>

#include "data/lists.h"

namespace millrace {

class ListFinder {
 public:
  // `folders_only`: files are not looked at, only the folders called like them.
  explicit ListFinder(std::filesystem::path root, bool folders_only = false)
      : root_(std::move(root)), folders_only_(folders_only) {}

  // The video, or the folder of its frames; empty when there is none. As the list has it; without the
  // extension, as a folder; the same without the folders before it; and last the list's path with other
  // upper and lower case, where only one thing is called so.
  // Of an entry's several paths the first that is there so; other upper and lower case comes after all.
  std::filesystem::path find(const ListEntry& entry);
  int64_t other_case() const { return other_case_; }

 private:
  std::filesystem::path existing(const std::filesystem::path& path) const;
  std::filesystem::path as_written(const std::string& written) const;
  std::filesystem::path in_other_case(const std::string& written);
  std::filesystem::path without_case(const std::filesystem::path& path);
  const std::multimap<std::string, std::string>& names_in(const std::filesystem::path& folder);

  std::filesystem::path root_;
  bool folders_only_;
  std::unordered_map<std::string, std::multimap<std::string, std::string>> names_;
  int64_t other_case_ = 0;
};

}  // namespace millrace
