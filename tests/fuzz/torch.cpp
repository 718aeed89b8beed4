// PyTorch's files, zip and stream: whatever they say, every tensor taken lies in the file, and nothing is
// run.
#include "data/weights/torch_file.h"
#include "tests/fuzz/weights.h"

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  for (const auto open : {open_torch_zip, open_torch_stream}) {
    WeightFilePtr weights;
    if (fuzz::accepts([&] { weights = open(file.path()); })) fuzz::read_all(*weights);
  }
  return 0;
}
