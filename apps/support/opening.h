// A progress bar while a source is opened.
#pragma once

#include <cstdint>
#include <functional>

namespace millrace {

// For SourceOptions::progress: shown in the log until all is opened.
std::function<void(int64_t done, int64_t total)> opening_bar();

}  // namespace millrace
