// Clips from files: videos and folders of frames.
#pragma once

#include "data/source.h"

namespace millrace {

// open_source for everything on disk.
SourcePtr open_files(const SourceOptions& options);

}  // namespace millrace
