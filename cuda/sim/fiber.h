// A second stack to run a function on, that can stop halfway and go on later; known to ASan.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace millrace::sim {

struct StackRange {
  const void* bottom = nullptr;
  size_t bytes = 0;
};

class Fiber {
 public:
  // The function is handed its fiber and starts at the first resume(). It must return before the fiber is
  // destroyed, and let no exception out.
  explicit Fiber(std::function<void(Fiber&)> function);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();   // from outside: runs the function until it calls suspend() or returns
  void suspend();  // from inside: goes back to the caller of resume()
  StackRange stack() const;

 private:
  struct Stacks;
  std::unique_ptr<Stacks> stacks_;
};

}  // namespace millrace::sim
