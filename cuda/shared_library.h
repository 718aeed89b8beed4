// A library that a program looks for and loads when it runs, so that it also starts where there is none.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

struct LibrarySearch {
  std::string file;      // "libcudnn.so.9"
  std::string variable;  // of the environment: the library's folder or file; nothing else is tried then
  std::string wheel;     // folder of a Python package inside site-packages: "nvidia/cudnn/lib"
};

// Where the library may be, most wanted first: what the variable says, else what the loader finds by the
// file's name, the CUDA toolkit, Python's packages. Only files that exist, but for the bare name.
std::vector<std::filesystem::path> library_places(const LibrarySearch& search);

// Stays loaded as long as the program runs: what it made is destroyed late, and CUDA's libraries are not
// meant to be unloaded.
class SharedLibrary {
 public:
  // Throws ErrorKind::device, which says where it was looked for and what the loader said.
  explicit SharedLibrary(const LibrarySearch& search);

  // The file that was loaded.
  const std::filesystem::path& path() const { return path_; }
  // Throws ErrorKind::device where the library has none of that name.
  template <class F> void load(F*& function, const char* name) const {
    function = reinterpret_cast<F*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  void* handle_ = nullptr;
  std::filesystem::path path_;
};

}  // namespace millrace
