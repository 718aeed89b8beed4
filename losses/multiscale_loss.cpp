#include "losses/multiscale_loss.h"

#include "layers/warp.h"
#include "losses/border.h"

namespace millrace {
namespace {

// Frames far from each other in every pixel, warped or not: even ones in [.3, .6], odd ones in [-.6, -.3],
// and what is warped in from outside is 0. The penalty bends within epsilon / beta of an error of 0.
Draw distant_frames(int64_t frames) {
  return [=, element = int64_t{0}](Random& r) mutable {
    const int64_t frame = element++ / 3 % frames;
    return (frame % 2 ? -1 : 1) * r.uniform(.3, .6);
  };
}

// Flows that sample away from integers, where interpolation bends, and far from those of the pixels beside,
// above and below, for smoothness bends where they are equal.
Draw flow_of_pixels(int64_t width, int64_t pairs, int64_t reach, double flow_scale) {
  return [=, element = int64_t{0}](Random& r) mutable {
    const int64_t pixel = element++ / (2 * pairs), low = (pixel / width + pixel % width) % 2 ? -reach : 0;
    return (static_cast<double>(r.integer(low, low + reach - 1)) + r.uniform(.05, .95)) / flow_scale;
  };
}

MultiscaleLevel paper_level(int64_t height, int64_t width, int64_t pairs, double flow_scale) {
  const Border border = border_of(height, width);
  const auto normalizer = static_cast<double>(16 * 3 * pairs * valid_pixels(height, width));
  MultiscaleLevel level{.flow_scale = flow_scale, .ssim_weight = .16 / flow_scale};
  for (CharbonnierAttrs* penalty : {&level.pixel, &level.smoothness}) {
    penalty->border_y = border.y;
    penalty->border_x = border.x;
    penalty->normalizer = normalizer;
  }
  level.smoothness.beta = flow_scale;
  level.dssim = level.ssim_weight;
  return level;
}

struct CaseLevel {
  int64_t height, width;
  MultiscaleLevel level;
};

Case make_case(const char* name, int64_t batch, int64_t pairs, int64_t reach,
               const std::vector<CaseLevel>& levels) {
  Case c{.name = name, .op = nullptr, .in = {}};
  MultiscaleLossAttrs attrs;
  for (const CaseLevel& l : levels) {
    attrs.levels.push_back(l.level);
    c.in.push_back({.shape = {batch, l.height, l.width, 2 * pairs},
                    .draw = flow_of_pixels(l.width, pairs, reach, l.level.flow_scale),
                    .precise = true});
    c.in.push_back({.shape = {batch, l.height, l.width, 3 * (pairs + 1)},
                    .draw = distant_frames(pairs + 1),
                    .precise = true});
  }
  c.op = make_op<MultiscaleLoss>(std::move(attrs));
  return c;
}

}  // namespace

std::string MultiscaleLevel::to_string() const {
  std::ostringstream out;
  out.precision(17);
  const detail::AttrPrinter print{out};
  print("flow_scale", flow_scale);
  if (has_pixel) {
    print("dpixel", dpixel);
    pixel.visit(print);
  }
  if (has_smoothness) {
    print("dsmooth_u", dsmooth_u);
    print("dsmooth_v", dsmooth_v);
    smoothness.visit(print);
  }
  if (has_ssim) {
    print("dssim", dssim);
    print("ssim_weight", ssim_weight);
    ssim.visit(print);
  }
  return "{" + out.str() + "}";
}

std::vector<Spec> MultiscaleLoss::infer(std::span<const Spec> in, Dtype real) const {
  const std::vector<MultiscaleLevel>& levels = attrs.levels;
  if (levels.empty() || levels.size() > kMaxLevels || in.size() != 2 * levels.size()) {
    fail(ErrorKind::runtime,
         {kName, "one to " + std::to_string(kMaxLevels) + " levels, a flow and images for each",
          std::to_string(levels.size()) + " levels, " + std::to_string(in.size()) + " inputs", ""});
  }
  std::vector<Spec> out;
  for (size_t l = 0; l < levels.size(); ++l) {
    const Shape &f = in[2 * l].shape, &x = in[2 * l + 1].shape;
    const bool fits = f.rank() == 4 && x.rank() == 4 && f[0] == x[0] && f[1] == x[1] && f[2] == x[2] &&
                      f.count() > 0 && f[3] % 2 == 0 && x[3] == 3 * (f[3] / 2 + 1) &&
                      f[0] == in[0].shape[0] && f[3] == in[0].shape[3] && in[2 * l].dtype == precise(real) &&
                      in[2 * l + 1].dtype == precise(real);
    if (!fits) {
      fail(ErrorKind::runtime, {kName, "flow (N,H,W,2K) and images (N,H,W,3(K+1)), N and K the same for all",
                                in[2 * l].to_string() + " and " + in[2 * l + 1].to_string(), ""});
    }
    for (const CharbonnierAttrs* penalty : {&levels[l].pixel, &levels[l].smoothness}) {
      const Border border{.y = penalty->border_y, .x = penalty->border_x};
      if (!border.fits(f) || !(penalty->epsilon >= 1e-12) || !(penalty->normalizer > 0)) {
        fail(ErrorKind::runtime,
             {kName, "borders inside of " + f.to_string() + ", epsilon >= 1e-12, normalizer > 0",
              levels[l].to_string(), ""});
      }
    }
    for (size_t term = 0; term < kTerms; ++term) out.push_back({{1}, precise(real)});
    out.push_back(in[2 * l]);
  }
  return out;
}

// Of a pixel and pair: three warped colours with their slopes as 60 FLOP, three powers and the sums of SSIM
// and its gradient as 150, two flows with two powers each as 80.
Cost MultiscaleLoss::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  for (size_t l = 0; l < attrs.levels.size(); ++l)
    cost.flop += 290.0 * static_cast<double>(in[2 * l].shape.count() / 2);
  return cost;
}

std::vector<Case> MultiscaleLoss::cases() {
  MultiscaleLevel smooth{.flow_scale = 2.5,
                         .pixel = {.alpha = .4, .beta = 2, .epsilon = .5, .border_y = 1, .normalizer = 5},
                         .smoothness = {.alpha = .3, .beta = 2.5, .epsilon = .5, .border_x = 2},
                         .ssim = {.c1 = .02, .c2 = .1},
                         .ssim_weight = .5,
                         .dpixel = 2,
                         .dsmooth_u = .7,
                         .dsmooth_v = -.3,
                         .dssim = .25};
  MultiscaleLevel pixel = smooth, ssim = smooth, both = smooth;
  pixel.has_smoothness = pixel.has_ssim = false;
  ssim.has_pixel = ssim.has_smoothness = false;
  both.has_smoothness = false;
  std::vector<CaseLevel> paper;
  for (const int64_t r : {112, 56, 28, 14, 7})
    paper.push_back({r, r, paper_level(r, r, 10, 10.0 * static_cast<double>(r) / 112)});
  std::vector<Case> cases = {
      make_case("small", 2, 2, 2, {{9, 12, paper_level(9, 12, 2, 5)}, {5, 7, smooth}}),
      make_case("one pixel", 1, 1, 1, {{1, 1, paper_level(1, 1, 1, .625)}}),
      make_case("some terms", 1, 3, 3, {{8, 8, pixel}, {4, 9, ssim}, {3, 6, both}}),
      make_case("whole windows", 1, 10, 2, {{16, 24, paper_level(16, 24, 10, 10)}}),
      make_case("cut windows, many pairs", 1, 13, 9, {{7, 14, paper_level(7, 14, 13, 2.5)}, {3, 9, smooth}}),
      make_case("benchmark", 4, 10, 2, paper)};
  cases.back().benchmark = true;
  // A column near 100 has an error of 8e-6 px in float, one near 20 of 2e-6 px.
  for (Case& c : cases) c.parity_tolerance = 1e-4;
  return cases;
}

}  // namespace millrace
