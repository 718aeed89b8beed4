// The numbers that a step computes in (PlanOptions::precision). Parameters, moments, flows, losses,
// coordinates and sums are f32 in each of them.
#pragma once

#include <string>

namespace millrace {

enum class Precision {
  fp32,  // all of it
  tf32,  // products of convolutions and matrices may round their factors to 10 bits, where a device can
  bf16,  // activations, their gradients, and copies of the weights are bf16
};

std::string name_of(Precision precision);
// "fp32", "tf32" or "bf16"; else throws ErrorKind::usage, which names `option`.
Precision parse_precision(const std::string& text, const std::string& option);

}  // namespace millrace
