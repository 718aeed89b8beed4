#include "core/precision.h"

#include "core/error.h"

namespace millrace {

std::string name_of(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return "fp32";
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
  }
  return "?";
}

Precision parse_precision(const std::string& text, const std::string& option) {
  for (const Precision p : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    if (text == name_of(p)) return p;
  }
  fail(ErrorKind::usage, {option, "fp32, tf32 or bf16", "'" + text + "'", ""});
}

}  // namespace millrace
