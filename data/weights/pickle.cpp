#include "data/weights/pickle.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "data/weights/pickle_opcodes.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

using namespace pickle_opcodes;
using Kind = PickleItem::Kind;

// A list takes one byte of a pickle and a hundred of memory. The largest pickles of real checkpoints, those
// of optimisers, hold some ten thousands of items.
constexpr size_t kMaxItems = 2'000'000;
constexpr uint64_t kMaxBytes = uint64_t{64} << 20;

class Machine {
 public:
  Machine(ByteRange& in, const std::function<bool(std::string_view)>& allowed)
      : in_(in), allowed_(allowed), first_(in.at()) {}

  Pickle run() {
    while (step()) {
    }
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void broken(const std::string& expected, const std::string& got) const {
    fail(ErrorKind::data, {in_.where(), expected, got, "The pickle in this file is broken"});
  }

  PickleItem& item(PickleIndex i) { return pickle_.items[i]; }

  void push(PickleItem item) {
    if (pickle_.items.size() >= kMaxItems)
      broken(fmt::format("a pickle of at most {} items", kMaxItems), "more");
    stack_.push_back(static_cast<PickleIndex>(pickle_.items.size()));
    pickle_.items.push_back(std::move(item));
  }
  void push_integer(int64_t value) { push({.kind = Kind::integer, .integer = value}); }
  void push_text(Kind kind, uint64_t length) {
    push({.kind = kind, .text = in_.read_text(length, "a string")});
  }

  PickleIndex pop() {
    if (stack_.size() <= floor()) broken("a value on the pickle's stack", "none");
    const PickleIndex top = stack_.back();
    stack_.pop_back();
    return top;
  }
  PickleIndex top() {
    const PickleIndex top = pop();
    stack_.push_back(top);
    return top;
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  // What lies above the last mark, and the mark gone.
  std::vector<PickleIndex> pop_to_mark() {
    if (marks_.empty()) broken("a mark on the pickle's stack", "none");
    const auto begin = stack_.begin() + static_cast<ptrdiff_t>(marks_.back());
    std::vector<PickleIndex> parts(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return parts;
  }

  std::vector<PickleIndex> pop_some(size_t n) {
    std::vector<PickleIndex> parts(n);
    for (size_t i = n; i > 0; --i) parts[i - 1] = pop();
    return parts;
  }

  void add_to(Kind kind, const std::vector<PickleIndex>& parts) {
    PickleItem& target = item(top());
    if (target.kind != kind) broken(kind == Kind::dict ? "a dict" : "a list", "something else, to add to");
    if (kind == Kind::dict && parts.size() % 2 != 0) broken("a value for each key", "one key without");
    // An item can be added any number of times by a byte each.
    entries_ += parts.size();
    if (entries_ > 8 * kMaxItems) broken("fewer entries", "more than any checkpoint has");
    target.parts.insert(target.parts.end(), parts.begin(), parts.end());
  }

  void remember(uint64_t key) { memo_[key] = top(); }
  void recall(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) broken("something remembered", fmt::format("number {}, which is nothing", key));
    stack_.push_back(found->second);
    if (stack_.size() > 8 * kMaxItems) broken("a smaller stack", "one that no checkpoint needs");
  }

  void push_long(uint64_t length) {
    const std::string bytes = in_.read_text(length, "an integer");
    if (length > 8) return push({.kind = Kind::long_integer, .text = bytes});
    const bool negative = length > 0 && (bytes.back() & 0x80) != 0;
    uint64_t value = negative && length < 8 ? ~uint64_t{0} << (8 * length) : 0;
    for (size_t i = 0; i < length; ++i)
      value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
    push_integer(static_cast<int64_t>(value));
  }

  void push_real() {
    auto bits = in_.read_number<uint64_t>("a number");  // big endian
    push({.kind = Kind::real, .real = std::bit_cast<double>(__builtin_bswap64(bits))});
  }

  std::string read_line() {
    std::string line;
    for (char c = 0; (c = static_cast<char>(in_.read_byte("a line"))) != '\n';) {
      if (line.size() == 1000) broken("a name of at most 1000 bytes", "a longer one");
      line += c;
    }
    return line;
  }

  void push_global(const std::string& module, const std::string& name) {
    std::string full = module + "." + name;
    if (!allowed_(full)) {
      fail(ErrorKind::data, {in_.where(), "a pickle of tensors and plain values",
                             fmt::format("one that wants to run {}, which is not done", in_quotes(full)),
                             "Nothing of it was run. If you trust the file, load it in PyTorch and save "
                             "model.state_dict() alone"});
    }
    push({.kind = Kind::global, .text = std::move(full)});
  }

  // collections.OrderedDict() is a dict here, with the pairs of a list that it is given.
  void reduce() {
    const PickleIndex arguments = pop(), callee = pop();
    if (item(callee).kind != Kind::global) broken("a function to call", "something else");
    if (item(arguments).kind != Kind::list) broken("a tuple of arguments", "something else");
    if (item(callee).text != "collections.OrderedDict")
      return push({.kind = Kind::call, .parts = {callee, arguments}});
    PickleItem dict{.kind = Kind::dict};
    if (!item(arguments).parts.empty()) {
      const PickleItem pairs = item(item(arguments).parts[0]);
      for (const PickleIndex pair : pairs.parts) {
        if (pairs.kind != Kind::list || item(pair).kind != Kind::list || item(pair).parts.size() != 2)
          broken("pairs of key and value", "something else");
        dict.parts.insert(dict.parts.end(), item(pair).parts.begin(), item(pair).parts.end());
        ++entries_;
      }
      if (entries_ > 8 * kMaxItems) broken("fewer entries", "more than any checkpoint has");
    }
    push(std::move(dict));
  }

  // An object's attributes. Those of a dict (a state_dict's _metadata) say nothing that is needed.
  void build() {
    const PickleIndex state = pop();
    PickleItem& target = item(top());
    if (target.kind == Kind::call && target.parts.size() == 2) target.parts.push_back(state);
  }

  bool step();
  bool step_stack(uint8_t op);
  bool step_value(uint8_t op);
  bool step_container(uint8_t op);
  bool step_object(uint8_t op);

  ByteRange& in_;
  const std::function<bool(std::string_view)>& allowed_;
  const uint64_t first_;
  Pickle pickle_;
  std::vector<PickleIndex> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleIndex> memo_;
  size_t entries_ = 0;
};

// False at the pickle's end.
bool Machine::step() {
  if (in_.at() - first_ > kMaxBytes)
    broken(fmt::format("a pickle of at most {} bytes", kMaxBytes), "a longer one");
  const uint8_t op = in_.read_byte("an instruction of a pickle");
  if (op == kStop) {
    pickle_.root = pop();
    return false;
  }
  if (step_stack(op) || step_value(op) || step_container(op) || step_object(op)) return true;
  fail(ErrorKind::data, {in_.where(), "an instruction that torch.save writes", fmt::format("0x{:02x}", op),
                         "Is the file whole? Else save it again with pickle_protocol=2"});
}

bool Machine::step_stack(uint8_t op) {
  switch (op) {
    case kProto: {
      const uint8_t protocol = in_.read_byte("a protocol");
      if (protocol < 2 || protocol > 5)
        broken("a pickle of protocol 2 to 5", fmt::format("protocol {}", protocol));
      return true;
    }
    case kFrame:  // how long the next part is, for readers that fetch it at once
      in_.skip(8, "a frame");
      return true;
    case kMark:
      marks_.push_back(stack_.size());
      if (marks_.size() > kMaxItems) broken("fewer marks", "more than any checkpoint has");
      return true;
    case kPop:
      if (stack_.size() > floor() || marks_.empty()) {
        pop();
      } else {
        marks_.pop_back();
      }
      return true;
    case kPopMark:
      pop_to_mark();
      return true;
    case kDup: {
      stack_.push_back(top());
      if (stack_.size() > 8 * kMaxItems) broken("a smaller stack", "one that no checkpoint needs");
      return true;
    }
    case kBinPut:
      remember(in_.read_byte("a number"));
      return true;
    case kLongBinPut:
      remember(in_.read_number<uint32_t>("a number"));
      return true;
    case kMemoize:
      remember(memo_.size());
      return true;
    case kBinGet:
      recall(in_.read_byte("a number"));
      return true;
    case kLongBinGet:
      recall(in_.read_number<uint32_t>("a number"));
      return true;
    default:
      return false;
  }
}

bool Machine::step_value(uint8_t op) {
  const char* length = "a length";
  switch (op) {
    case kNone:
      return push({}), true;
    case kNewTrue:
    case kNewFalse:
      return push({.kind = Kind::boolean, .integer = op == kNewTrue}), true;
    case kBinInt:
      return push_integer(in_.read_number<int32_t>("an integer")), true;
    case kBinInt1:
      return push_integer(in_.read_byte("an integer")), true;
    case kBinInt2:
      return push_integer(in_.read_number<uint16_t>("an integer")), true;
    case kLong1:
      return push_long(in_.read_byte(length)), true;
    case kLong4:
      return push_long(in_.read_number<uint32_t>(length)), true;
    case kBinFloat:
      return push_real(), true;
    case kShortBinString:
    case kShortBinUnicode:
      return push_text(Kind::text, in_.read_byte(length)), true;
    case kBinString:
    case kBinUnicode:
      return push_text(Kind::text, in_.read_number<uint32_t>(length)), true;
    case kBinUnicode8:
      return push_text(Kind::text, in_.read_number<uint64_t>(length)), true;
    case kShortBinBytes:
      return push_text(Kind::bytes, in_.read_byte(length)), true;
    case kBinBytes:
      return push_text(Kind::bytes, in_.read_number<uint32_t>(length)), true;
    case kBinBytes8:
    case kByteArray8:
      return push_text(Kind::bytes, in_.read_number<uint64_t>(length)), true;
    default:
      return false;
  }
}

bool Machine::step_container(uint8_t op) {
  switch (op) {
    case kEmptyList:
    case kEmptyTuple:
    case kEmptySet:
      return push({.kind = Kind::list}), true;
    case kEmptyDict:
      return push({.kind = Kind::dict}), true;
    case kTuple1:
    case kTuple2:
    case kTuple3:
      return push({.kind = Kind::list, .parts = pop_some(size_t{op} - kTuple1 + 1)}), true;
    case kTuple:
    case kList:
    case kFrozenSet:
      return push({.kind = Kind::list, .parts = pop_to_mark()}), true;
    case kDict: {
      const std::vector<PickleIndex> parts = pop_to_mark();
      push({.kind = Kind::dict});
      return add_to(Kind::dict, parts), true;
    }
    case kAppend:
      return add_to(Kind::list, pop_some(1)), true;
    case kAppends:
    case kAddItems:
      return add_to(Kind::list, pop_to_mark()), true;
    case kSetItem:
      return add_to(Kind::dict, pop_some(2)), true;
    case kSetItems:
      return add_to(Kind::dict, pop_to_mark()), true;
    default:
      return false;
  }
}

bool Machine::step_object(uint8_t op) {
  switch (op) {
    case kGlobal: {
      const std::string module = read_line();
      return push_global(module, read_line()), true;
    }
    case kInst: {  // of protocol 0; the name of what it wants to run is worth telling
      const std::string module = read_line();
      push_global(module, read_line());
      broken("a pickle of protocol 2 to 5", "an instruction of protocol 0");
    }
    case kStackGlobal: {
      const PickleIndex name = pop(), module = pop();
      if (item(name).kind != Kind::text || item(module).kind != Kind::text)
        broken("two strings that name a global", "something else");
      return push_global(item(module).text, item(name).text), true;
    }
    case kReduce:
    case kNewObj:
      return reduce(), true;
    case kBuild:
      return build(), true;
    case kBinPersid: {
      const PickleIndex id = pop();
      if (item(id).kind != Kind::list || item(id).parts.size() > 6)
        broken("a tuple that names a storage", "something else");
      return push({.kind = Kind::storage, .parts = item(id).parts}), true;
    }
    default:
      return false;
  }
}

}  // namespace

std::string_view Pickle::callee(const PickleItem& item) const {
  if (item.kind != Kind::call) return {};
  return at(item.parts.front()).text;
}

Pickle read_pickle(ByteRange& in, const std::function<bool(std::string_view)>& allowed) {
  return Machine(in, allowed).run();
}

}  // namespace millrace
