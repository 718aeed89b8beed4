// From a graph of f32 to the plan's precision. Nets are written in f32; at Precision::bf16 this pass, the
// last before kernels are chosen, decides of each value whether it is bf16, from what ops say
// (Op::bf16_operands):
//
// 1. A value is bf16 when its producer can write that and no reader needs f32. Inputs and outputs of the
//    graph and updates of the State are f32.
// 2. A value with readers of both kinds is f32 and rounded once for the others, by a `cast` node; but what is
//    made of no real numbers (normalize_image) is made in both types.
// 3. A producer whose output must be f32 does so on bf16 operands if there is such an op
//    (Op::with_precise_output: the convolution that ends in a flow), else computes in f32. So do ops that are
//    not worth a cast of an operand (Bf16Operands::rounds): the sum of an f32 and a bf16 gradient is f32.
// 4. Weights are read from the buffer kParamsBf16 of the State, which the optimizer writes beside the
//    parameters (Op::with_copy) and ParamStore fills; frozen ones from kFrozenBf16, which nobody else writes.
//
// A device without bf16 kernels emulates: all is f32, and `round_bf16` nodes stand where a value would be
// bf16 and where weights are read. Products of bf16 numbers are exact in f32, so that results differ from the
// real thing only by the order of sums.
#pragma once

#include <string>

#include "core/graph.h"
#include "core/precision.h"

namespace millrace {

// Whether plans of Precision::bf16 for that device hold bf16 values, or emulate them.
bool has_bf16(const std::string& device);
// What a user of that device should know of the precision; empty where it is what it says.
std::string precision_note(const std::string& device, Precision precision);

Graph to_bf16(const Graph& graph, const std::string& device);

}  // namespace millrace
