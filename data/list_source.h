// Videos and folders of frames that a list names (data/lists.h).
#pragma once

#include "data/source.h"

namespace millrace {

// open_source for a spec of which is_list_spec is true.
SourcePtr open_list(const SourceOptions& options);

}  // namespace millrace
