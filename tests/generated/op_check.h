// What the registry's ops must satisfy, as functions that give a list of complaints: the tests assert that
// there are none, and the checker's own tests that deliberately wrong ops get some.
#pragma once

#include <string>
#include <vector>

#include "core/registry.h"

namespace millrace::check {

using Complaints = std::vector<std::string>;

constexpr double kGradientTolerance =
    1e-6;  // relative to the largest derivative: central differences in double
constexpr double kParityTolerance32 = 1e-5;  // relative to the largest reference value
constexpr double kParityTolerance64 = 1e-12;

// Gradients of every element of every differentiable input against central differences, in double on the CPU,
// on a planned arena in which every dead byte is NaN. L = sum(r * out) with random r.
Complaints gradient(const Case& test);

// One kernel against the plain double kernel of the CPU on the same inputs, in buffers with sentinels round
// them; the same inputs twice must give the same bits, unless the kernel says that it is not repeatable. A
// kernel that can go along with other layouts is tried with blocked ones too. `ran` tells whether the kernel
// accepts the case at all.
Complaints parity(const Case& test, const Kernel& kernel, bool& ran);

// The op's inputs, drawn once and representable as float.
std::vector<std::vector<double>> draw_inputs(const Case& test);

}  // namespace millrace::check
