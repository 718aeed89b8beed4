// A .flo file that is taken comes back to the last byte, and hostile vectors hurt nothing that follows.
#include <cstdint>
#include <cstring>

#include "core/files.h"
#include "data/flow.h"
#include "data/picture.h"
#include "tests/fuzz/support.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  Flow flow;
  if (!fuzz::accepts([&] { flow = decode_flo(bytes, "fuzz.flo"); })) return 0;
  require(static_cast<int64_t>(flow.uv.size()) == 2 * flow.height * flow.width, "every pixel has a vector");
  static const test::TemporaryFolder folder;
  write_flo(folder / "copy.flo", flow);
  require(read_file(folder / "copy.flo", size) == bytes, "a .flo file comes back");

  Flow turned = flow;
  mirror(turned);
  mirror(turned);
  require(std::memcmp(turned.uv.data(), flow.uv.data(), flow.uv.size() * sizeof(float)) == 0,
          "mirrored twice is not mirrored");
  const Flow resized = resize_flow(flow, {3, 5});
  require(end_point_error(resized, resized).mean == 0, "flow does not differ from itself");
  flow_picture(flow, flow_radius(flow));
  flow_to_color(flow);
  return 0;
}
