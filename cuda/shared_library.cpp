#include "cuda/shared_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string last_error() {
  const char* text = dlerror();
  return text ? text : "an unknown error";
}

// <prefix>/lib/python3.*/{site,dist}-packages/<wheel>, the newest Python first.
std::vector<fs::path> wheels_in(const fs::path& prefix, const std::string& wheel) {
  std::vector<fs::path> found;
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(prefix / "lib", none)) {
    if (!entry.path().filename().string().starts_with("python3")) continue;
    for (const char* packages : {"site-packages", "dist-packages"})
      found.push_back(entry.path() / packages / wheel);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

}  // namespace

std::vector<fs::path> library_places(const LibrarySearch& search) {
  if (const std::string given = variable(search.variable.c_str()); !given.empty()) {
    return {fs::is_directory(given) ? fs::path(given) / search.file : fs::path(given)};
  }
  std::vector<fs::path> folders;
  for (const char* toolkit : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string root = variable(toolkit); !root.empty())
      folders.push_back(fs::path(root) / "lib64");
  }
  folders.push_back("/usr/local/cuda/lib64");
  std::vector<fs::path> prefixes;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string root = variable(name); !root.empty()) prefixes.push_back(root);
  }
  if (const std::string home = variable("HOME"); !home.empty()) prefixes.push_back(fs::path(home) / ".local");
  prefixes.insert(prefixes.end(), {"/usr/local", "/usr"});
  for (const fs::path& prefix : prefixes) {
    const std::vector<fs::path> wheels = wheels_in(prefix, search.wheel);
    folders.insert(folders.end(), wheels.begin(), wheels.end());
  }
  std::vector<fs::path> places{search.file};
  std::error_code none;
  for (const fs::path& folder : folders) {
    if (fs::exists(folder / search.file, none)) places.push_back(folder / search.file);
  }
  return places;
}

SharedLibrary::SharedLibrary(const LibrarySearch& search) {
  std::string troubles;
  for (const fs::path& place : library_places(search)) {
    handle_ = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_) {
      path_ = place;
      return;
    }
    troubles += (troubles.empty() ? "" : "; ") + last_error();
  }
  fail(ErrorKind::device, {search.file, "the library on the loader's path, in the CUDA toolkit or in a wheel",
                           troubles, search.variable + " names its folder"});
}

void* SharedLibrary::symbol(const char* name) const {
  void* found = dlsym(handle_, name);
  if (!found) {
    fail(ErrorKind::device, {path_.string(), "a function " + std::string(name), last_error(),
                             "Another version of it is needed"});
  }
  return found;
}

}  // namespace millrace
