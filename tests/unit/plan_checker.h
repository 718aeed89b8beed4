// Judges where a plan puts values, from the graph's nodes and the plan's places alone: it knows nothing of
// how the planner decides.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/graph.h"
#include "core/plan.h"

namespace millrace::test {

class PlanChecker {
 public:
  // The plan must be the graph's own: made with rewrite = false.
  PlanChecker(const Graph& graph, const Plan& plan) : graph_(graph), plan_(plan) {}

  // One line for each rule broken; none for a right plan.
  std::vector<std::string> complaints() {
    list_values();
    list_workspaces_and_copies();
    for (size_t a = 0; a < contents_.size(); ++a)
      for (size_t b = a + 1; b < contents_.size(); ++b) check_pair(contents_[a], contents_[b]);
    check_updates();
    check_sizes();
    return complaints_;
  }

 private:
  static constexpr int64_t kBefore = -1, kAfter = std::numeric_limits<int64_t>::max();

  // Bytes [begin, end) of a region hold something from step `born` to step `dies`, the last that reads it.
  struct Content {
    std::string what, region;
    int32_t value;  // -1: none of the graph's
    int64_t begin, end, born, dies;
  };

  const Place& place(Value v) const { return plan_.places[static_cast<size_t>(v.id)]; }
  static std::string region_of(const Place& p) {
    if (p.where == Place::Where::arena) return "arena";
    return (p.where == Place::Where::input ? "input " : "state ") + p.region;
  }

  void list_values() {
    for (int32_t id = 0; id < graph_.value_count(); ++id) {
      const Place& p = place(Value{id});
      const ValueInfo& info = graph_.info(Value{id});
      contents_.push_back({"value " + std::to_string(id), region_of(p), id, p.offset,
                           p.offset + info.spec.bytes(), info.node < 0 ? kBefore : info.node,
                           info.node < 0 ? kBefore : info.node});
    }
    for (size_t k = 0; k < graph_.nodes().size(); ++k)
      for (Value v : graph_.nodes()[k].in) outlives(v, static_cast<int64_t>(k));
    for (const auto& [name, v] : graph_.outputs()) outlives(v, kAfter);
  }
  void outlives(Value v, int64_t step) {
    Content& c = contents_[static_cast<size_t>(v.id)];
    c.dies = std::max(c.dies, step);
  }

  void list_workspaces_and_copies() {
    for (size_t k = 0; k < plan_.steps.size(); ++k) {
      const PlanStep& step = plan_.steps[k];
      const auto now = static_cast<int64_t>(k);
      if (const int64_t bytes = step.prepared.workspace_bytes)
        contents_.push_back({"workspace of " + step.name, "arena", -1, step.workspace_offset,
                             step.workspace_offset + bytes, now, now});
      if (k < graph_.nodes().size()) continue;
      outlives(step.in.at(0), now);  // an update that could not be made in place
      Content c = contents_[static_cast<size_t>(step.out.at(0).id)];
      c.what = "update of " + c.what;
      c.value = -1;
      c.born = now, c.dies = kAfter;
      contents_.push_back(c);
    }
    for (const Update& u : graph_.updates()) {
      if (in_place(u)) outlives(u.next, kAfter);
    }
  }

  bool in_place(const Update& u) const {
    return region_of(place(u.next)) == region_of(place(u.state)) &&
           place(u.next).offset == place(u.state).offset;
  }

  void check_pair(const Content& a, const Content& b) {
    if (a.region != b.region || a.begin >= b.end || b.begin >= a.end) return;
    if (a.region.starts_with("state") && a.born == kBefore && b.born == kBefore)
      return;  // two views of old content
    if (a.dies < b.born || b.dies < a.born) return;
    if (a.dies == b.born && licensed(a, b)) return;
    if (b.dies == a.born && licensed(b, a)) return;
    complaints_.push_back(a.what + " and " + b.what + " lie over each other in " + a.region);
  }
  // May the node that makes `out` do so where its input `in` lies?
  bool licensed(const Content& in, const Content& out) const {
    if (in.value < 0 || out.value < 0 || in.born == out.born) return false;
    const Node& node = graph_.nodes()[static_cast<size_t>(out.born)];
    for (const Sharing& s : node.op->sharing()) {
      const int64_t from = out.begin + s.offset * size_of(graph_.spec(Value{in.value}).dtype);
      if (node.in[static_cast<size_t>(s.in)].id == in.value &&
          node.out[static_cast<size_t>(s.out)].id == out.value && in.begin == from && in.end <= out.end)
        return true;
    }
    return false;
  }

  // Each update is made once, in place or by a copy at the end; and nothing else writes into the State.
  void check_updates() {
    size_t copies = 0;
    for (const Update& u : graph_.updates()) {
      if (in_place(u)) continue;
      bool found = false;
      for (size_t k = graph_.nodes().size(); k < plan_.steps.size(); ++k)
        found = found || (plan_.steps[k].in.at(0) == u.next && plan_.steps[k].out.at(0) == u.state);
      if (!found) complaints_.push_back("state " + graph_.info(u.state).name + " is never updated");
      ++copies;
    }
    if (plan_.steps.size() != graph_.nodes().size() + copies)
      complaints_.push_back("steps that nothing asked for");
    for (const Content& c : contents_) {
      if (c.value < 0 || c.born == kBefore || c.region == "arena") continue;
      bool inside = false;
      for (const Update& u : graph_.updates()) {
        const Content& target = contents_[static_cast<size_t>(u.state.id)];
        inside = inside ||
                 (in_place(u) && target.region == c.region && target.begin <= c.begin && c.end <= target.end);
      }
      if (!inside) complaints_.push_back(c.what + " is written into " + c.region);
    }
  }

  void check_sizes() {
    int64_t all = 0, most = 0;
    for (const Content& c : contents_) {
      if (c.region != "arena") continue;
      if (c.begin < 0 || c.end > plan_.arena_bytes) complaints_.push_back(c.what + " leaves the arena");
    }
    for (const ArenaBuffer& b : plan_.buffers) {
      if (b.offset % kAlignment != 0) complaints_.push_back("a buffer at " + std::to_string(b.offset));
      all += align_up(b.bytes);
    }
    for (size_t k = 0; k < plan_.steps.size(); ++k) {
      int64_t live = 0;
      for (const ArenaBuffer& b : plan_.buffers) {
        if (b.first <= static_cast<int64_t>(k) && static_cast<int64_t>(k) <= b.last) live += b.bytes;
      }
      most = std::max(most, live);
    }
    if (plan_.bound_bytes != most) complaints_.push_back("a wrong bound");
    if (plan_.arena_bytes < plan_.bound_bytes) complaints_.push_back("an arena below its bound");
    if (plan_.arena_bytes > all || all > plan_.values_bytes)
      complaints_.push_back("an arena larger than all values");
    if (plan_.arena_bytes % kAlignment != 0) complaints_.push_back("an arena of odd size");
  }

  const Graph& graph_;
  const Plan& plan_;
  std::vector<Content> contents_;
  std::vector<std::string> complaints_;
};

inline std::vector<std::string> plan_complaints(const Graph& graph, const Plan& plan) {
  return PlanChecker(graph, plan).complaints();
}

}  // namespace millrace::test
