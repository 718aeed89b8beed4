// Finds what a list names below the data's root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>

namespace millrace {

class ListFinder {
 public:
  explicit ListFinder(std::filesystem::path root) : root_(std::move(root)) {}

  // The video, or the folder of its frames; empty when there is none. As the list has it; without the
  // extension, as a folder; the same without the folders before it; and last the list's path with other
  // upper and lower case, where only one thing is called so.
  std::filesystem::path find(const std::string& written);
  int64_t other_case() const { return other_case_; }

 private:
  std::filesystem::path without_case(const std::filesystem::path& path);
  const std::multimap<std::string, std::string>& names_in(const std::filesystem::path& folder);

  std::filesystem::path root_;
  std::unordered_map<std::string, std::multimap<std::string, std::string>> names_;
  int64_t other_case_ = 0;
};

}  // namespace millrace
