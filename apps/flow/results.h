// What motionnet-flow found, of each pair and in all.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/flow_error.h"

namespace millrace {

struct PairError {
  int64_t number = 0;  // of the pair, from 1
  FlowError error;
};

// Of one video, as done.json keeps it.
struct ItemResult {
  std::string name;
  int64_t flows = 0;
  std::vector<PairError> pairs = {};  // those with truth

  nlohmann::json to_json() const;
  // Throws ErrorKind::data, naming `where`, for JSON that to_json() does not make.
  static ItemResult from_json(const std::string& name, const nlohmann::json& json, const std::string& where);
};

struct FlowReport {
  std::vector<ItemResult> items;
  int64_t found_finished = 0;  // of the items, made by an earlier run
  struct Bad {
    std::string name, reason;
  };
  std::vector<Bad> bad;

  FlowError total() const;
  std::string json() const;  // one line
  // For people; `out` is the folder that was written to, or empty.
  std::string text(const std::string& out) const;
};

}  // namespace millrace
