// The source of machine code, for messages.
#pragma once

#include <string>

namespace millrace::sim {

// "file.cu:12" for an address that a call in it returns to: the innermost line of a file that is no header,
// or "" where the program has no such information. Starts addr2line, which comes with g++'s binutils.
std::string source_line(const void* returned_to);

}  // namespace millrace::sim
