// Kernels are often local to their file, so that the dynamic linker does not know them: their names are read
// from the program's own ELF symbol table.
#include "cuda/sim/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "cuda/sim/simulator.h"

namespace millrace::sim {

namespace {

template <class T> std::vector<T> read_array(std::ifstream& file, uint64_t offset, uint64_t bytes) {
  std::vector<T> items(bytes / sizeof(T));
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(items.data()), static_cast<std::streamsize>(items.size() * sizeof(T)));
  return file ? items : std::vector<T>();
}

// The symbol of the function at `address` (relative to the file's load address), or "".
std::string find_symbol(const std::string& path, uint64_t address) {
  std::ifstream file(path, std::ios::binary);
  const auto header = read_array<ElfW(Ehdr)>(file, 0, sizeof(ElfW(Ehdr)));
  if (header.empty()) return "";
  const auto sections =
      read_array<ElfW(Shdr)>(file, header[0].e_shoff, header[0].e_shnum * sizeof(ElfW(Shdr)));
  for (const auto& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    const auto& names_section = sections[section.sh_link];
    const auto names = read_array<char>(file, names_section.sh_offset, names_section.sh_size);
    for (const auto& symbol : read_array<ElfW(Sym)>(file, section.sh_offset, section.sh_size)) {
      const bool is_function = ELF64_ST_TYPE(symbol.st_info) == STT_FUNC;
      if (is_function && symbol.st_value == address && symbol.st_name < names.size())
        return names.data() + symbol.st_name;
    }
  }
  return "";
}

void erase_all(std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at))
    text.erase(at, part.size());
}

}  // namespace

CodePlace place_of(const void* code) {
  Dl_info info{};
  link_map* object = nullptr;
  if (dladdr1(code, &info, reinterpret_cast<void**>(&object), RTLD_DL_LINKMAP) == 0 || object == nullptr)
    return {};
  const bool is_program = object->l_name == nullptr || object->l_name[0] == '\0';
  std::error_code none;
  return {
      .file = is_program ? std::filesystem::read_symlink("/proc/self/exe", none).string() : object->l_name,
      .address = reinterpret_cast<uint64_t>(code) - object->l_addr};
}

std::string kernel_name(const void* function) {
  const CodePlace place = place_of(function);
  const std::string symbol = find_symbol(place.file, place.address);
  if (symbol.empty()) return "unknown kernel";

  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  if (status != 0) return symbol;
  std::string name = demangled.get();
  erase_all(name, "(anonymous namespace)::");
  for (const char* scope : {"millrace::cuda_sim::", "millrace::cuda_race::"}) erase_all(name, scope);
  name.erase(std::min(name.find('('), name.size()));
  if (name.starts_with("void ")) name.erase(0, 5);  // only templates' names carry their result
  return name;
}

}  // namespace millrace::sim
