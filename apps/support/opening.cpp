#include "apps/support/opening.h"

#include <memory>

#include "core/log.h"

namespace millrace {

std::function<void(int64_t, int64_t)> opening_bar() {
  return [bar = std::shared_ptr<ProgressBar>()](int64_t done, int64_t total) mutable {
    if (!bar) {
      bar = std::make_shared<ProgressBar>(
          log(), ProgressOptions{.title = "opening", .unit = "video", .total = total});
    }
    bar->update(done, "");
    if (done == total) bar.reset();
  };
}

}  // namespace millrace
