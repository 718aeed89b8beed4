// Flow as pairs of 8-bit gray JPEGs, as action recognition keeps it: flow_x_00001.jpg holds u of pair 1,
// flow_y_00001.jpg its v. Such a picture does not say what its values mean, so a flow.json beside them does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "data/flow.h"

namespace millrace {

enum class FlowRounding {
  round,     // to the nearest, halves up
  truncate,  // down, as the writer of Hidden Two-Stream's authors has it (with bound 20)
};

// x = (v + bound) * 255 / (2 bound), clamped to [0, 255], then made whole. Zero flow is 127.5: 128 rounded,
// 127 truncated.
struct FlowByteMapping {
  double bound = 20;  // pixels; what is longer is cut to it
  FlowRounding rounding = FlowRounding::round;
  bool operator==(const FlowByteMapping&) const = default;
};

const char* rounding_name(FlowRounding rounding);  // "round" or "truncate"
// Errors (usage): another name.
FlowRounding parse_rounding(const std::string& name);

uint8_t flow_to_byte(double v, const FlowByteMapping& mapping);
// The middle of the values that become this byte: b * 2 bound / 255 - bound where they are rounded, half a
// step more where they are truncated (but 255, which then only values from the bound on become). So inside
// the bound at most half a step, bound / 255, from what was written, and what JPEG itself changes.
float byte_to_flow(uint8_t byte, const FlowByteMapping& mapping);

// What flow.json holds.
struct FlowJpegInfo {
  FlowByteMapping mapping = {};
  Size size = {};      // of every picture
  int64_t flows = 0;   // pairs of pictures in the folder
  int quality = 95;    // of the JPEGs, 1 to 100
  std::string source;  // what it is the flow of, for people
};
std::string flow_json(const FlowJpegInfo& info);
// Errors (data): no JSON, of another format or version, a value that is missing or out of range.
FlowJpegInfo parse_flow_json(std::string_view text, const std::string& name);

constexpr const char* kFlowJsonFile = "flow.json";
struct FlowJpegNames {
  std::string x, y;
};
FlowJpegNames flow_jpeg_names(int64_t number);

// Writes both pictures of pair `number`, each whole or not at all. Errors: flow of another size than the
// info's, or with unknown pixels, for which a byte has no value (data); the disk (runtime).
void write_flow_jpegs(const std::filesystem::path& folder, int64_t number, const Flow& flow,
                      const FlowJpegInfo& info);

// One picture as bytes of u or v, row by row. Errors (data): no JPEG, not gray, of another size than `size`,
// truncated.
std::vector<uint8_t> decode_flow_jpeg(std::string_view bytes, Size size, const std::string& name);

// Its size, by its header alone.
Size flow_jpeg_size(std::string_view bytes, const std::string& name);

// A folder of such pairs.
class FlowJpegFolder {
 public:
  // `given`: what the caller says the mapping is. Without it there must be a flow.json; with both they must
  // agree. Errors (data): that; other numbers of pictures of u and v than flow.json says; no pictures.
  FlowJpegFolder(std::filesystem::path folder, const std::optional<FlowByteMapping>& given);

  const FlowJpegInfo& info() const { return info_; }
  bool has(int64_t number) const;
  Flow read(int64_t number) const;

 private:
  std::filesystem::path folder_;
  FlowJpegInfo info_;
};

}  // namespace millrace
