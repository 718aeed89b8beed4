#include "optim/flat.h"

namespace millrace {

void detail::check_flat(const char* op, std::span<const Spec> in, size_t flat, Dtype real) {
  std::string got;
  for (const Spec& s : in) got += (got.empty() ? "" : " ") + s.to_string();
  bool fits = in.size() == flat + 4 && in[0].shape.rank() == 1 && in[0].shape[0] % kUpdateBlock == 0;
  for (size_t k = 0; fits && k < in.size(); ++k) {
    Shape shape = {1};
    if (k < flat) shape = in[0].shape;
    if (k == flat) shape = {in[0].shape[0] / kUpdateBlock, 2};
    fits = in[k] == Spec{shape, precise(real)} || (k == 1 && in[k] == Spec{shape, real});
  }
  if (!fits) {
    fail(ErrorKind::runtime,
         {op,
          std::to_string(flat) + " flat vectors (P) of " + std::string(name_of(precise(real))) +
              " with P a multiple of 64, multipliers (P/64,2), rate, norm and loss (1)",
          got, ""});
  }
}

std::vector<CaseInput> detail::flat_inputs(int64_t P, std::vector<Draw> flat, double norm, bool precise) {
  std::vector<CaseInput> in;
  for (Draw& draw : flat) in.push_back({{P}, std::move(draw)});
  // A third of the multipliers are 0: those parameters do not move.
  in.push_back({{P / kUpdateBlock, 2},
                [](Random& r) { return r.integer(0, 2) == 0 ? 0.0 : static_cast<double>(r.integer(1, 2)); }});
  in.push_back({{1}, uniform(.01, .02)});
  in.push_back({{1}, [norm](Random&) { return norm; }});
  in.push_back({{1}});
  for (size_t k = 0; k < in.size(); ++k) in[k].precise = precise || k != 1;
  return in;
}

}  // namespace millrace
