// Which values share storage: part of planning (core/plan.cpp).
#pragma once

#include <vector>

#include "core/graph.h"
#include "core/plan.h"

namespace millrace {

struct Storage {
  std::vector<Place> places;         // per value of the graph; arena offsets are relative to the buffer
  std::vector<ArenaBuffer> buffers;  // sizes and live intervals, no offsets yet
  std::vector<Update> copies;        // updates that could not be computed in place
};

Storage assign_storage(const Graph& graph);

// Gives every buffer an offset: largest first, each at the lowest place where no buffer that is live at the
// same time lies. Returns the size of the arena.
int64_t assign_offsets(std::vector<ArenaBuffer>& buffers);

}  // namespace millrace
