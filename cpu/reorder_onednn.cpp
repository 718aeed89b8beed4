#include "core/reorder.h"
#include "cpu/onednn_program.h"
#include "cpu/versions.h"

namespace millrace::cpu {
namespace {

std::optional<Prepared> prepare(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  const ReorderAttrs& a = static_cast<const Reorder&>(op).attrs;
  if (!a.from.pads.empty() || !a.to.pads.empty()) return {};
  const auto from = onednn::describe({in[0].shape, in[0].dtype, a.from}),
             to = onednn::describe({in[0].shape, in[0].dtype, a.to});
  try {
    return onednn::prepare<dnnl::reorder>(
        {onednn::engine(), from, onednn::engine(), to, onednn::user_scratchpad()},
        {{.argument = DNNL_ARG_FROM, .output = false, .index = 0},
         {.argument = DNNL_ARG_TO, .output = true, .index = 0}},
        in, out);
  } catch (const dnnl::error&) {  // oneDNN has no code for this: the plain loops do it
    return {};
  }
}

}  // namespace

void register_reorder_onednn(Registry& r) {
  r.add_kernel({.op = Reorder::kName,
                .device = "cpu",
                .version = "onednn",
                .dtype = Dtype::f32,
                .run = onednn::run,
                .prepare = prepare,
                .preference = 1});
}

}  // namespace millrace::cpu
