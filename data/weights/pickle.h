// A reader of Python's pickles that runs nothing. A pickle is a program for a stack machine which may call
// any function of Python; this one builds a tree of what it would do, and refuses at once every function or
// class that is not on the caller's list. Protocols 2 to 5. Source: CPython, Lib/pickletools.py.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/weights/byte_range.h"

namespace millrace {

using PickleIndex = uint32_t;

struct PickleItem {
  enum class Kind {
    none,
    boolean,  // integer
    integer,
    long_integer,  // that fits no int64: text has its bytes, little endian
    real,
    text,
    bytes,
    list,    // parts; tuples and sets as well
    dict,    // parts: key, value, key, value, ...
    global,  // text: "torch.FloatStorage"
    call,    // parts: what is called, a tuple of arguments, and then the state that it is given, if any
    storage  // parts: the persistent id, which says where data is that lies outside of the pickle
  };
  Kind kind = Kind::none;
  int64_t integer = 0;
  double real = 0;
  std::string text = {};
  std::vector<PickleIndex> parts = {};
};

struct Pickle {
  // They point at each other by index, in any direction: a pickle can hold itself, and one thing many times.
  std::vector<PickleItem> items;
  PickleIndex root = 0;

  const PickleItem& at(PickleIndex i) const { return items.at(i); }
  // The name of what a call calls; "" for anything else.
  std::string_view callee(const PickleItem& item) const;
};

// One pickle, from the range's first byte to its STOP. `allowed` says whether a global, "module.name", may be
// named. Errors (data) have file and byte; nothing is allocated that the file's size does not pay for.
Pickle read_pickle(ByteRange& in, const std::function<bool(std::string_view global)>& allowed);

}  // namespace millrace
