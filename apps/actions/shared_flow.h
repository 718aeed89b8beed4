// MotionNet once a clip and mirroring on whole frames, instead of once a crop: of 10 crops 2 runs are left.
//
// Frames are brought to StreamSpec::resize and continued over their edges (replicated) to the next size that
// MotionNet takes, 340x256 to 352x256; its flow, as VGG16 takes it (layers/flow_to_input.h), is cut back and
// the crops are cut out of that. What differs from a run on each crop: MotionNet sees across the crop's
// edges, and the dark ring that flow_to_input leaves at the border of each crop is only where the crop's edge
// is the frame's upper or lower one (or another that nothing was continued over).
#pragma once

#include "apps/actions/evaluate_networks.h"

namespace millrace {

// Errors: usage for a stream that is not stacked, or that takes frames as they are (its `resize` is 0x0), and
// of weights as Recognizer's.
std::shared_ptr<ViewNetwork> make_shared_flow_network(const SafetensorsReader& file, const StreamSpec& spec,
                                                      Device& device, const ViewNetworkOptions& options);

// The size that frames are continued to.
Size padded_size(Size frame, MotionNetKind kind);

}  // namespace millrace
