#include "layers/flow_to_input.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void flow_to_input(const KernelArgs& args) {
  const View4<const T> x(args.in[0]);
  const View4<T> y(args.out[0]);
  const FlowToInputFormula<T> normalise(args.attrs<FlowToInput>());
  const T shift = static_cast<T>(args.attrs<FlowToInput>().shift);
  const bool replicate = args.attrs<FlowToInput>().replicate;
  parallel_rows(y.N * y.H, args.out[0].count(), [=](int64_t row) {
    const int64_t n = row / y.H, i = row % y.H;
    const int64_t near_row = i / 2, far_row = i % 2 ? near_row + 1 : near_row - 1;
    for (int64_t j = 0; j < y.W; ++j) {
      const int64_t near_column = j / 2, far_column = j % 2 ? near_column + 1 : near_column - 1;
      for (int64_t c = 0; c < y.C; ++c) {
        const auto z = [&](int64_t p, int64_t q) {
          if (replicate) p = std::clamp<int64_t>(p, 0, x.H - 1), q = std::clamp<int64_t>(q, 0, x.W - 1);
          return x.inside(p, q) ? normalise(x(n, p, q, c)) : T(0);
        };
        const T near = T(.75) * z(near_row, near_column) + T(.25) * z(near_row, far_column);
        const T far = T(.75) * z(far_row, near_column) + T(.25) * z(far_row, far_column);
        y(n, i, j, c) = T(.75) * near + T(.25) * far - shift;
      }
    }
  });
}

template <class T> void flow_to_input_dx(const KernelArgs& args) {
  constexpr T kWeights[4] = {T(.25), T(.75), T(.75), T(.25)};
  const View4<const T> dy(args.in[0]), x(args.in[1]);
  const View4<T> dx(args.out[0]);
  const FlowToInputFormula<T> normalise(args.attrs<FlowToInputDx>());
  const bool replicate = args.attrs<FlowToInputDx>().replicate;
  parallel_rows(x.N * x.H, args.in[0].count(), [=](int64_t row) {
    const int64_t n = row / x.H, i = row % x.H;
    for (int64_t j = 0; j < x.W; ++j) {
      for (int64_t c = 0; c < x.C; ++c) {
        T sum = 0;
        for (int64_t a = 0; a < 4; ++a) {
          for (int64_t b = 0; b < 4; ++b) {
            int64_t p = 2 * i - 1 + a, q = 2 * j - 1 + b;
            // The ring of y that a border pixel reaches twice: once itself, once continued.
            if (replicate) p = std::clamp<int64_t>(p, 0, dy.H - 1), q = std::clamp<int64_t>(q, 0, dy.W - 1);
            if (dy.inside(p, q)) sum += kWeights[a] * kWeights[b] * dy(n, p, q, c);
          }
        }
        dx(n, i, j, c) = normalise.slope(x(n, i, j, c)) * sum;
      }
    }
  });
}

}  // namespace

void register_flow_to_input(Registry& r) {
  add_cpu_kernel(r, FlowToInput::kName, flow_to_input<float>, flow_to_input<double>);
  add_cpu_kernel(r, FlowToInputDx::kName, flow_to_input_dx<float>, flow_to_input_dx<double>);
}

}  // namespace millrace::cpu
