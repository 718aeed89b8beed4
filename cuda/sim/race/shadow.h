// What a detector of races remembers of memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace millrace::sim {

// One access to a byte.
struct Access {
  uint32_t block = 0;  // number of the block, from 1; 0: there was none
  uint32_t thread : 10 = 0;
  uint32_t atomic : 1 = 0;
  uint32_t epoch : 21 = 0;  // barriers that the block had passed
  uint32_t clock = 0;       // of the thread: 1 and the number of its __syncwarp
  int32_t code = 0;         // where it was made, counted from some place in the program
};

// The accesses to a byte that later ones are compared with: the first since the last meeting of its threads,
// and the latest. Of plain writes one would do, for a second thread's is a race; of atomics and reads not.
struct Cell {
  std::array<Access, 2> writes, reads;
};

// Cells of all bytes, empty where none was asked for.
class Shadow {
 public:
  static constexpr uintptr_t kPageBytes = 64;
  using Page = std::array<Cell, kPageBytes>;

  // The cells of the page that holds the address.
  Page& page_of(uintptr_t address) {
    const uintptr_t number = address / kPageBytes;
    Recent& recent = recent_[number % recent_.size()];
    if (recent.page == nullptr || recent.number != number) recent = {number, &find(number)};
    return *recent.page;
  }
  void clear();

 private:
  struct Recent {
    uintptr_t number = 0;
    Page* page = nullptr;
  };
  Page& find(uintptr_t number);

  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  std::vector<std::unique_ptr<Page>> spare_;
  std::array<Recent, 4096> recent_{};
};

}  // namespace millrace::sim
