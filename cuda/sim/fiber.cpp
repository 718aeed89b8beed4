#include "cuda/sim/fiber.h"

#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace millrace::sim {

namespace {

// Untouched pages of a stack cost nothing; ASan's guards round local variables need more room.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif

// ASan must know on which stack it is: leave() before a switch, arrive() first thing after it.
class AsanSwitch {
 public:
  void leave([[maybe_unused]] const StackRange& to, [[maybe_unused]] bool for_good = false) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, to.bottom, to.bytes);
#endif
  }
  // Returns the stack that control came from.
  StackRange arrive() {
    StackRange from;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack_, &from.bottom, &from.bytes);
    fake_stack_ = nullptr;
#endif
    return from;
  }

 private:
  [[maybe_unused]] void* fake_stack_ = nullptr;
};

}  // namespace

struct Fiber::Stacks {
  boost::context::fiber inside, outside;  // whichever is not running
  StackRange inside_range, outside_range;
  AsanSwitch inside_switch, outside_switch;
};

Fiber::Fiber(std::function<void(Fiber&)> function) : stacks_(std::make_unique<Stacks>()) {
  boost::context::protected_fixedsize_stack allocator(kStackBytes);
  const boost::context::stack_context stack = allocator.allocate();
  stacks_->inside_range = {static_cast<const char*>(stack.sp) - stack.size, stack.size};
  // Boost enters the new stack once already now. Unless ASan knows, it takes the frame there for one of the
  // stack here, and for gone when an exception passes here.
  AsanSwitch entering;
  entering.leave(stacks_->inside_range);
  stacks_->inside = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), allocator,
      [this, function = std::move(function)](boost::context::fiber&& outside) {
        stacks_->outside_range = stacks_->inside_switch.arrive();
        stacks_->outside = std::move(outside);
        function(*this);
        stacks_->inside_switch.leave(stacks_->outside_range, true);
        return std::move(stacks_->outside);
      });
  entering.arrive();
}

Fiber::~Fiber() = default;

StackRange Fiber::stack() const { return stacks_->inside_range; }

void Fiber::resume() {
  stacks_->outside_switch.leave(stacks_->inside_range);
  stacks_->inside = std::move(stacks_->inside).resume();
  stacks_->outside_switch.arrive();
}

void Fiber::suspend() {
  stacks_->inside_switch.leave(stacks_->outside_range);
  stacks_->outside = std::move(stacks_->outside).resume();
  stacks_->outside_range = stacks_->inside_switch.arrive();
}

}  // namespace millrace::sim
