// The devices beside the CPU that this build has.
#pragma once

namespace millrace {

// To be called once, before anything is planned.
void register_backends();

// Of --device.
inline constexpr const char* kDeviceHelp =
    "auto: a GPU where one can be used, else the CPU; cpu; cuda or cuda:<number>: a GPU, with convolutions "
    "by "
    "cuDNN where it is found; cuda-sim: a GPU simulated on the CPU, to find faults, very slow";

inline constexpr const char* kPrecisionHelp =
    "fp32; tf32: factors of products are rounded to 10 bits, on a GPU; bf16: activations and copies of the "
    "weights are "
    "bf16, for a GPU (the CPU emulates it, slower than fp32)";

inline constexpr const char* kWaitForNodesHelp =
    "wait for the device after each node, so that its fault names the node; slow";

inline constexpr const char* kCaptureHelp =
    "record a step once, where the device can, and start it as a whole from then on; the same results "
    "without";

}  // namespace millrace
