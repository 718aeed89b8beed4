// Versions of the libraries that compute.
#pragma once

#include <string>

namespace millrace {

// "oneDNN 2.6.3", or "none".
std::string library_versions();

}  // namespace millrace
