#include "core/copy.h"
#include "core/fill.h"
#include "core/pack.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

// One stretch of the flat buffer that must be written: a slice that does not lie there yet, or a gap.
template <class T> struct Stretch {
  const T* from;  // null: zeros
  T* to;
  int64_t count;
};

// visit(stretch) for each, in order. Slices that were computed in their places are none.
template <class T, class F> void for_each_stretch(const KernelArgs& args, F visit) {
  const PackAttrs& attrs = args.attrs<Pack>();
  T* out = args.out[0].as<T>();
  int64_t end = 0;
  for (size_t i = 0; i < args.in.size(); ++i) {
    const T* slice = args.in[i].as<const T>();
    const int64_t begin = attrs.offsets[i], count = attrs.count(i, args.in[i].shape);
    if (begin > end) visit(Stretch<T>{nullptr, out + end, begin - end});
    if (slice != out + begin) visit(Stretch<T>{slice, out + begin, count});
    end = begin + count;
  }
  if (attrs.total > end) visit(Stretch<T>{nullptr, out + end, attrs.total - end});
}

// A launch for each stretch. Bytes per element: one written, and of slices one read.
template <class T> void pack_plain(const KernelArgs& args) {
  for_each_stretch<T>(args, [&](const Stretch<T>& s) {
    const LaunchShape shape{.grid = blocks_for(s.count, kPointwiseBlock), .block = kPointwiseBlock};
    if (s.from)
      launch(pointwise_elements<T, CopyFormula, T>, shape, args.stream, CopyFormula{}, s.count, s.to, s.from);
    else
      launch(pointwise_elements<T, FillFormula<float>>, shape, args.stream, FillFormula<float>{0}, s.count,
             s.to);
  });
}

// A net has some fifty slices and as many gaps, most of them a few hundred bytes: one launch
// writes kStretches of them. They travel by value, in the 4 KiB that a kernel's arguments may have.
constexpr int kStretches = 96;
constexpr int kVectorsOfThread = 4;

template <class T> constexpr int kLanesOf = kVectorBytes / sizeof(T);
template <class T> constexpr int kChunk = kPointwiseBlock* kVectorsOfThread* kLanesOf<T>;  // of a block

template <class T> struct StretchTable {
  Stretch<T> stretch[kStretches];
  unsigned block_end[kStretches];  // blocks of the stretches up to this one
  int used;
};
static_assert(sizeof(StretchTable<float>) < 4096);

// Each block finds its stretch by bisection, alike for all threads, and writes a chunk of it: in vectors
// where source and place allow it.
template <class T> __global__ void __launch_bounds__(kPointwiseBlock) pack_stretches(StretchTable<T> table) {
  int low = 0, high = table.used - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (blockIdx.x < table.block_end[middle])
      high = middle;
    else
      low = middle + 1;
  }
  const Stretch<T> s = table.stretch[low];
  const unsigned chunk = blockIdx.x - (low > 0 ? table.block_end[low - 1] : 0);
  const int64_t begin = int64_t{chunk} * kChunk<T>;
  const auto count = static_cast<int>(min(s.count - begin, int64_t{kChunk<T>}));
  const T* from = s.from ? s.from + begin : nullptr;
  T* to = s.to + begin;

  const bool aligned =
      (reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to)) % kVectorBytes == 0;
  const int vectors = aligned ? count / kLanesOf<T> : 0;
  for (int v = threadIdx.x; v < vectors; v += kPointwiseBlock) {
    Vec<T, kLanesOf<T>> value{};
    if (from) value = load_vec<kLanesOf<T>>(from + v * kLanesOf<T>);
    store_vec(to + v * kLanesOf<T>, value);
  }
  for (int k = vectors * kLanesOf<T> + threadIdx.x; k < count; k += kPointwiseBlock)
    to[k] = from ? from[k] : T{};
}

template <class T> void pack_table(const KernelArgs& args) {
  StretchTable<T> table{};
  unsigned blocks = 0;
  const auto flush = [&] {
    if (table.used > 0)
      launch(pack_stretches<T>, {.grid = blocks, .block = kPointwiseBlock}, args.stream, table);
    table.used = 0;
    blocks = 0;
  };
  for_each_stretch<T>(args, [&](const Stretch<T>& s) {
    if (table.used == kStretches) flush();
    blocks += blocks_for(s.count, kChunk<T>);
    table.stretch[table.used] = s;
    table.block_end[table.used++] = blocks;
  });
  flush();
}

std::optional<Prepared> prepare(const Op& op, std::span<const Spec>, std::span<const Spec>) {
  const std::vector<Layout>& layouts = static_cast<const Pack&>(op).attrs.layouts;
  if (layouts.empty()) return Prepared{};
  return Prepared{.state = {}, .workspace_bytes = 0, .implementation = {}, .layouts = {layouts, {Layout{}}}};
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Pack::kName, .dtype = kDtype, .run = pack_plain<T>, .prepare = prepare});
  add_cuda_kernel(r, {.op = Pack::kName,
                      .version = "table",
                      .dtype = kDtype,
                      .run = pack_table<T>,
                      .prepare = prepare,
                      .preference = 1});
}

}  // namespace

void register_pack(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
