// Videos and folders of frames that a list names (data/lists.h).
#pragma once

#include <filesystem>

#include "data/lists.h"
#include "data/source.h"

namespace millrace {

// open_source for a spec of which is_list_spec is true.
SourcePtr open_list(const SourceOptions& options);

// What such a spec says, before any of its files is looked for.
struct OpenedList {
  VideoList list;
  std::filesystem::path root;  // where its paths begin
};
OpenedList read_list_of(const SourceOptions& options);

// A file whose name says that it is a list: no video, although libavformat would draw its text.
bool is_list_file(const std::filesystem::path& path);

}  // namespace millrace
