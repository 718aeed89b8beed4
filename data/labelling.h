// Labels of what open_source opens, numbered as SourceOptions says.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/files_source.h"
#include "data/lists.h"
#include "data/source.h"

namespace millrace {

// Gives every entry its label from 0 and the list its classes' names. `folder` is where the list lies. Errors
// (data): number_labels'; an entry of a class that SourceOptions::class_names or classes_file do not have.
void label_list(const SourceOptions& options, const std::filesystem::path& folder, VideoList& list);

// The same for items below the folder options.spec, whose names are paths from there. Returns the classes'
// names. Errors (data): an item that lies in no folder; as above.
std::vector<std::string> label_items(const SourceOptions& options, std::vector<FileItem>& items);

}  // namespace millrace
