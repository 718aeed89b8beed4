// The flow.json beside flow as JPEGs. One that is taken holds what can be meant, and comes back when it is
// written.
#include <cmath>
#include <cstdint>

#include "data/flow_jpeg.h"
#include "tests/fuzz/support.h"

using namespace millrace;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FlowJpegInfo info;
  if (!fuzz::accepts([&] { info = parse_flow_json(fuzz::text_of(data, size), "flow.json"); })) return 0;
  const FlowByteMapping& mapping = info.mapping;
  require(mapping.bound > 0 && mapping.bound <= 1e6, "the bound is a length");
  require(info.size.height > 0 && info.size.width > 0, "pictures have pixels");
  require(info.flows >= 0 && info.quality >= 1 && info.quality <= 100, "numbers are in their ranges");
  for (const double v : {-mapping.bound, 0., mapping.bound / 3, mapping.bound}) {
    if (mapping.bound < 1e-30) break;  // float has no such values
    const float back = byte_to_flow(flow_to_byte(v, mapping), mapping);
    require(std::fabs(static_cast<double>(back) - v) <= mapping.bound * (1 / 255. + 1e-6),
            "flow comes back within half a step");
  }
  const FlowJpegInfo again = parse_flow_json(flow_json(info), "copy.json");
  require(again.mapping == mapping && again.size == info.size && again.flows == info.flows &&
              again.quality == info.quality && again.source == info.source,
          "all values come back");
  return 0;
}
