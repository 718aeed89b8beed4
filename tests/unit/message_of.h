// What an error says, for tests of its words.
#pragma once

#include <functional>
#include <string>

#include "core/error.h"

namespace millrace::test {

// Of the Error that f throws; "no error" when it throws none.
inline std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace millrace::test
