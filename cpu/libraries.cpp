#include "core/libraries.h"

#ifdef MILLRACE_HAVE_ONEDNN
#include <dnnl.h>
#endif

namespace millrace {

std::string library_versions() {
#ifdef MILLRACE_HAVE_ONEDNN
  const dnnl_version_t* v = dnnl_version();
  return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch) + " (" + std::to_string(static_cast<int>(dnnl_get_effective_cpu_isa())) +
         ")";
#else
  return "none";
#endif
}

}  // namespace millrace
