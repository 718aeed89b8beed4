#include "core/storage.h"

#include <algorithm>
#include <numeric>

#include "core/device.h"

namespace millrace {
namespace {

constexpr int64_t kEnd = int64_t{1} << 40;  // after every step: results are read then

class StorageAssigner {
 public:
  explicit StorageAssigner(const Graph& graph)
      : g_(graph), last_use_(static_cast<size_t>(graph.value_count()), -1), placed_(last_use_.size()) {
    result_.places.resize(last_use_.size());
  }

  Storage run() {
    find_last_uses();
    place_sources();
    // Backwards, so that a consumer's place is known before its producer's: then "input lies inside output"
    // is one rule for in-place ops, for slices of a pack, and for updates of the state.
    for (const Update& u : g_.updates()) place_update(u);
    for (size_t k = g_.nodes().size(); k-- > 0;) place_node(static_cast<int64_t>(k));
    return std::move(result_);
  }

 private:
  struct Range {
    int64_t begin, end;
    bool overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
  };

  static size_t at(Value v) { return static_cast<size_t>(v.id); }
  Place& place(Value v) { return result_.places[at(v)]; }
  Range range(Value v) { return {place(v).offset, place(v).offset + g_.spec(v).bytes()}; }

  void find_last_uses() {
    for (size_t k = 0; k < g_.nodes().size(); ++k) {
      for (Value v : g_.nodes()[k].in) last_use_[at(v)] = static_cast<int64_t>(k);
    }
    for (const auto& [name, v] : g_.outputs()) last_use_[at(v)] = kEnd;
  }

  void place_sources() {
    for (int32_t id = 0; id < g_.value_count(); ++id) {
      const ValueInfo& info = g_.info(Value{id});
      if (info.node >= 0) continue;
      placed_[static_cast<size_t>(id)] = true;
      if (info.state) {
        place(Value{id}) = {.where = Place::Where::state,
                            .region = info.state->buffer,
                            .offset = info.state->offset * size_of(info.spec.dtype)};
      } else {
        place(Value{id}) = {.where = Place::Where::input, .region = info.name};
      }
    }
  }

  void place_update(const Update& u) {
    if (placed_[at(u.next)] || !may_overwrite_state(u.next, place(u.state))) {
      result_.copies.push_back(u);
      last_use_[at(u.next)] = kEnd;
      return;
    }
    place(u.next) = place(u.state);
    placed_[at(u.next)] = true;
  }

  // May `next` be computed right in the state? Only when nobody reads the old content from its producer on,
  // except the producer itself where it has a licence to work in place.
  bool may_overwrite_state(Value next, const Place& target) {
    const int64_t producer = g_.info(next).node;
    const Range written{target.offset, target.offset + g_.spec(next).bytes()};
    for (size_t k = static_cast<size_t>(producer); k < g_.nodes().size(); ++k) {
      const Node& node = g_.nodes()[k];
      for (size_t i = 0; i < node.in.size(); ++i) {
        const Value v = node.in[i];
        if (!g_.info(v).state || place(v).region != target.region || !range(v).overlaps(written)) continue;
        const bool same_place = range(v).begin == written.begin && range(v).end == written.end;
        const bool licensed = static_cast<int64_t>(k) == producer && same_place &&
                              has_licence(node, static_cast<int>(i), g_.info(next).output);
        if (!licensed) return false;
      }
    }
    return true;
  }

  static bool has_licence(const Node& node, int in, int out) {
    for (const Sharing& s : node.op->sharing()) {
      if (s.in == in && s.out == out && s.offset == 0) return true;
    }
    return false;
  }

  void place_node(int64_t k) {
    const Node& node = g_.nodes()[static_cast<size_t>(k)];
    for (Value v : node.out) {
      if (!placed_[at(v)]) {
        place(v) = {.where = Place::Where::arena,
                    .region = {},
                    .offset = 0,
                    .buffer = static_cast<int32_t>(result_.buffers.size())};
        placed_[at(v)] = true;
        result_.buffers.push_back({.bytes = g_.spec(v).bytes(), .offset = 0, .first = k, .last = k});
      }
      extend(v, k);
    }
    std::vector<std::pair<int, Range>> taken;  // parts of outputs that an input lies in already
    for (const Sharing& s : node.op->sharing()) {
      const Value in = node.in[static_cast<size_t>(s.in)], out = node.out[static_cast<size_t>(s.out)];
      const int64_t begin = s.offset * size_of(g_.spec(in).dtype);
      const Range part{begin, begin + g_.spec(in).bytes()};
      const bool fits = part.end <= g_.spec(out).bytes();
      const bool dies_here = last_use_[at(in)] == k && std::count(node.in.begin(), node.in.end(), in) == 1;
      const bool free = std::none_of(taken.begin(), taken.end(), [&](const auto& t) {
        return t.first == s.out && t.second.overlaps(part);
      });
      if (placed_[at(in)] || !fits || !dies_here || !free) continue;
      Place target = place(out);
      target.offset += begin;
      if (target.where == Place::Where::state && !may_overwrite_state(in, target)) continue;
      place(in) = target;
      placed_[at(in)] = true;
      taken.push_back({s.out, part});
    }
  }

  // The buffer of v lives while v does.
  void extend(Value v, int64_t producer) {
    if (place(v).where != Place::Where::arena) return;
    ArenaBuffer& buffer = result_.buffers[static_cast<size_t>(place(v).buffer)];
    buffer.first = std::min(buffer.first, producer);
    buffer.last = std::max(buffer.last, last_use_[at(v)]);
  }

  const Graph& g_;
  std::vector<int64_t> last_use_;
  std::vector<bool> placed_;
  Storage result_;
};

}  // namespace

Storage assign_storage(const Graph& graph) { return StorageAssigner(graph).run(); }

int64_t assign_offsets(std::vector<ArenaBuffer>& buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  int64_t total = 0;
  std::vector<size_t> done;  // by offset
  for (size_t k : order) {
    ArenaBuffer& b = buffers[k];
    int64_t offset = 0;
    for (size_t j : done) {
      const ArenaBuffer& other = buffers[j];
      if (b.first > other.last || other.first > b.last) continue;
      if (offset + align_up(b.bytes) <= other.offset) break;
      offset = std::max(offset, other.offset + align_up(other.bytes));
    }
    b.offset = offset;
    total = std::max(total, offset + align_up(b.bytes));
    done.insert(std::upper_bound(done.begin(), done.end(), k,
                                 [&](size_t a, size_t c) { return buffers[a].offset < buffers[c].offset; }),
                k);
  }
  return total;
}

}  // namespace millrace
