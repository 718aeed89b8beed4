// Stored flow of a video as frames of two bytes: what a temporal network reads instead of computing it.
#pragma once

#include <filesystem>
#include <optional>

#include "data/frame_folder.h"
#include "data/image.h"

namespace millrace {

// The flow files in a folder, numbered without a gap from any start (motionnet-flow and the papers' tools
// begin at 1; number k is the flow from frame k to k + 1):
//
//   flow_x_00001.jpg, flow_y_00001.jpg   gray pairs, as motionnet-flow --format jpg and TSN's and the hidden
//   x_00001.jpg, y_00001.jpg             two-stream paper's tools write them; as older tools do
//   flow_00001.flo                       motionnet-flow --format flo
//   kitti_00001.png                      motionnet-flow --format kitti
//
// Of several kinds the first in this order. Nothing where there is none. Errors (data): a number missing, a
// picture of u or v without the other; other numbers of pairs than a flow.json beside them says.
std::optional<FrameFolder> list_flow(const std::filesystem::path& folder);

// Flow k of such a folder: 2 channels, u and v as bytes by FlowByteMapping with `bound`. Bytes of pairs are
// taken as they are, unless flow.json says that they were written with another bound: then they are brought
// to this one. Without flow.json they are taken to be of this bound. Errors (data): a broken file, pictures
// of different sizes, unknown flow.
void read_flow_bytes(const FrameFolder& folder, size_t k, double bound, Image& result);

}  // namespace millrace
