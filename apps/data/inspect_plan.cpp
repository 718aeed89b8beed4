#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "apps/data/inspectors.h"
#include "core/error.h"
#include "core/files.h"

namespace millrace {
namespace {

using nlohmann::ordered_json;

// Of Plan::to_string().
struct PlanText {
  ordered_json json;
  std::map<std::string, std::pair<int64_t, double>> kernels;  // nodes, MFLOP

  void add(const std::string& line) {
    static const std::regex node(R"((\S+)\s+(\S.*?)\s+(\S+)\s+([0-9.]+)\s+([0-9.]+)  \S.*)"),
        nodes(R"((\d+) nodes on (.*), ([0-9.]+) GFLOP, ([0-9.]+) MiB read and written)"),
        memory(R"((state \S+|inputs|arena|in all)\s+([0-9.]+) MiB.*)"), fingerprint(R"(fingerprint (\S+))");
    std::smatch m;
    if (std::regex_match(line, m, nodes)) {
      json["nodes"] = std::stoll(m[1]);
      json["device"] = m[2];
      json["gflop"] = std::stod(m[3]);
      json["mib_moved"] = std::stod(m[4]);
    } else if (std::regex_match(line, m, memory)) {
      json["mib"][m[1].str()] = std::stod(m[2]);
    } else if (std::regex_match(line, m, fingerprint)) {
      json["fingerprint"] = m[1];
    } else if (std::regex_match(line, m, node)) {
      auto& [count, mflop] = kernels[m[2]];
      ++count;
      mflop += std::stod(m[4]);
    }
  }

  ordered_json finish() {
    json["kernels"] = ordered_json::array();
    for (const auto& [name, sums] : kernels)
      json["kernels"].push_back({{"kernel", name}, {"nodes", sums.first}, {"mflop", sums.second}});
    return json;
  }
};

}  // namespace

ordered_json inspect_plans(const InspectOptions& options) {
  std::istringstream text(read_file(options.path, 1 << 26));
  ordered_json plans = ordered_json::array();
  PlanText plan;
  const auto end = [&] {
    if (plan.json.is_null()) return;
    if (!plan.json.contains("fingerprint") || !plan.json.contains("nodes")) {
      fail(ErrorKind::data, {options.path.string(), "plans as --plan prints them, each to its fingerprint",
                             "plan \"" + plan.json["name"].get<std::string>() + "\" without an end", ""});
    }
    plans.push_back(plan.finish());
  };
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("# ")) {
      end();
      plan = {};
      plan.json["name"] = line.substr(2);
    } else if (!plan.json.is_null()) {
      plan.add(line);
    }
  }
  end();
  return {{"kind", "plans"}, {"path", options.path.string()}, {"plans", std::move(plans)}};
}

void print_plans(const ordered_json& json) {
  for (const auto& plan : json["plans"]) {
    fmt::print("plan {}: {} nodes on {}, {} GFLOP, fingerprint {}\n", plan["name"].get<std::string>(),
               plan["nodes"].dump(), plan["device"].get<std::string>(), plan["gflop"].dump(),
               plan["fingerprint"].get<std::string>());
    if (plan.contains("mib")) {
      for (const auto& [what, mib] : plan["mib"].items())
        fmt::print("  {:<20} {:>10.2f} MiB\n", what, mib.get<double>());
    }
    for (const auto& kernel : plan["kernels"])
      fmt::print("  {:<32} {:>4} nodes {:>12.2f} MFLOP\n", kernel["kernel"].get<std::string>(),
                 kernel["nodes"].dump(), kernel["mflop"].get<double>());
  }
}

}  // namespace millrace
