// A .caffemodel, whatever its lengths say.
#include "data/weights/caffemodel.h"

#include "tests/fuzz/weights.h"

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  WeightFilePtr weights;
  if (fuzz::accepts([&] { weights = open_caffemodel(file.path()); })) fuzz::read_all(*weights);
  return 0;
}
