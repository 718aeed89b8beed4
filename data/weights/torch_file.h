// PyTorch's .pth and .pt as torch.save writes them: the zip format of version 1.6 and later, and the stream
// before it. Their pickles are read, never run (data/weights/pickle.h). Every tensor in them is found, in
// nested dicts and lists too, and named by its path: "state_dict.module.features.0.weight". Source:
// pytorch/pytorch, torch/serialization.py and torch/_utils.py.
#pragma once

#include "data/weights/weight_file.h"

namespace millrace {

// Errors (data): also for whole models, whose classes would have to be run, for TorchScript and for
// big-endian files, with what to save instead.
WeightFilePtr open_torch_zip(const std::filesystem::path& path);
WeightFilePtr open_torch_stream(const std::filesystem::path& path);

// Whether the bytes at the front of a file are those of torch.save's stream.
bool begins_like_torch_stream(std::string_view front);

}  // namespace millrace
