// The loss ops of MotionNet against the constants of the reference (section 10), values worked out by hand,
// and plain recomputations.
#include <omp.h>

#include <cmath>

#include "cpu/power.h"
#include "losses/charbonnier.h"
#include "losses/smoothness.h"
#include "losses/ssim.h"
#include "losses/weighted_sum.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

constexpr int64_t kExtents[] = {7, 14, 28, 56, 112};

double rho(double z, double alpha) { return std::pow(z * z + 1e-6, alpha); }

double charbonnier_of(const Numbers& x, Shape shape, const CharbonnierAttrs& attrs) {
  return run_op(make_op<Charbonnier>(attrs), {{shape, x}}).front().front();
}

double ssim_of(const Numbers& x, const Numbers& y, Shape shape) {
  return run_op(make_op<Ssim>(), {{shape, x}, {shape, y}}).front().front();
}

}  // namespace

TEST_CASE("border widths and valid pixels of the paper's levels") {
  const int64_t widths[] = {1, 1, 3, 6, 11}, valid[] = {25, 144, 484, 1936, 8100};
  for (size_t l = 0; l < 5; ++l) {
    CHECK(border_width(kExtents[l]) == widths[l]);
    CHECK(valid_pixels(kExtents[l], kExtents[l]) == valid[l]);
  }
}

TEST_CASE("borders round half up, each axis by itself, and leave something of any extent") {
  CHECK(border_width(4) == 0);
  CHECK(border_width(5) == 1);
  CHECK(border_width(15) == 2);
  CHECK(border_width(25) == 3);
  CHECK(border_of(10, 16) == Border{.y = 1, .x = 2});
  CHECK(valid_pixels(10, 16) == 8 * 12);
  for (int64_t extent = 1; extent < 2000; ++extent) {
    REQUIRE(border_width(extent) == static_cast<int64_t>(std::floor(static_cast<double>(extent) / 10 + .5)));
    REQUIRE(2 * border_width(extent) < extent);
  }
}

TEST_CASE("Charbonnier's divisor is Caffe's when the batch is n_ref") {
  const int64_t n16[] = {192000, 1105920, 3717120, 14868480, 62208000};
  for (size_t l = 0; l < 5; ++l) {
    for (const int64_t N : {16, 8}) {
      const int64_t r = kExtents[l], b = border_width(r);
      const CharbonnierAttrs attrs{.alpha = .4,
                                   .beta = 255,
                                   .border_y = b,
                                   .border_x = b,
                                   .normalizer = static_cast<double>(N * 30 * valid_pixels(r, r))};
      CHECK(static_cast<double>(N) * attrs.normalizer == static_cast<double>(n16[l]) / (N == 16 ? 1 : 4));
      if (r > 14) continue;
      // x = 0: 30 N V times rho(0) over D is rho(0) / N.
      const Numbers zero(static_cast<size_t>(N * r * r * 30));
      CHECK(charbonnier_of(zero, {N, r, r, 30}, attrs) ==
            Approx(rho(0, .4) / static_cast<double>(N)).epsilon(1e-12));
    }
  }
}

TEST_CASE("rho(0)") {
  CHECK(charbonnier_of({0}, {1, 1, 1, 1}, {.alpha = .4}) == Approx(3.98e-3).epsilon(1e-3));
  CHECK(charbonnier_of({0}, {1, 1, 1, 1}, {.alpha = .3}) == Approx(1.585e-2).epsilon(1e-3));
}

TEST_CASE("Charbonnier sums what lies inside its border") {
  const CharbonnierAttrs attrs{.alpha = .4, .beta = 255, .border_y = 1, .border_x = 2, .normalizer = 3};
  const Shape shape{2, 3, 5, 2};
  Numbers x = draw(shape.count(), -1, 1, 1);
  double sum = 0;
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t c = 0; c < 2; ++c)
      sum += rho(255 * x[static_cast<size_t>(((n * 3 + 1) * 5 + 2) * 2 + c)], .4);
  }
  CHECK(charbonnier_of(x, shape, attrs) == Approx(sum / 2 / 3).epsilon(1e-12));
  // Nothing of the border is read: not even what is no number.
  for (int64_t p = 0; p < shape.count() / 2; ++p) {
    if (p % 15 == 7) continue;
    x[static_cast<size_t>(2 * p)] = std::nan("");
  }
  CHECK(charbonnier_of(x, shape, attrs) == Approx(sum / 2 / 3).epsilon(1e-12));
  const Numbers dx = run_op(make_op<CharbonnierDx>(attrs), {{{1}, {1}}, {shape, x}}).front();
  for (int64_t e = 0; e < shape.count(); ++e) {
    const bool valid = e / 2 % 15 == 7;
    const double at = x[static_cast<size_t>(e)];
    const double want =
        valid ? 2 * .4 * 255 * 255 * at * std::pow(255 * 255 * at * at + 1e-6, -.6) / 2 / 3 : 0;
    CHECK(dx[static_cast<size_t>(e)] == Approx(want).epsilon(1e-12));
  }
}

TEST_CASE("Charbonnier is flat at zero and steep beside it") {
  const CharbonnierAttrs attrs{.alpha = .4, .beta = 255};
  for (const Dtype real : {Dtype::f64, Dtype::f32}) {
    const Numbers dx =
        run_op(make_op<CharbonnierDx>(attrs), {{{1}, {1}}, {{1, 1, 3, 1}, {0, 1e-6, -1e-6}}}, real).front();
    CHECK(dx[0] == 0);
    CHECK(dx[1] == Approx(.8 * 255 * 255e-6 * std::pow(255e-6 * 255e-6 + 1e-6, -.6)).epsilon(1e-5));
    CHECK(dx[2] == -dx[1]);
  }
}

TEST_CASE("what is not a number in the valid part shows in the loss") {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    for (const Dtype real : {Dtype::f64, Dtype::f32}) {
      const OpInput x{{1, 1, 2, 1}, {1, bad}};
      CHECK_FALSE(std::isfinite(run_op(make_op<Charbonnier>(), {x}, real).front().front()));
      const OpInput flow{{1, 1, 2, 2}, {1, 2, bad, bad}};
      for (const Numbers& loss : run_op(make_op<Smoothness>(CharbonnierAttrs{.alpha = .3}), {flow}, real)) {
        CHECK_FALSE(std::isfinite(loss.front()));
      }
      CHECK_FALSE(std::isfinite(run_op(make_op<Ssim>(), {x, {{1, 1, 2, 1}, {1, 1}}}, real).front().front()));
    }
  }
}

TEST_CASE("smoothness takes forward differences: a pixel less its right neighbour, and the one below") {
  // Of 3x3 only the middle is valid.
  const CharbonnierAttrs attrs{.alpha = .3, .beta = 2.5, .border_y = 1, .border_x = 1, .normalizer = 4};
  const Shape shape{1, 3, 3, 2};
  const Numbers flow = draw(shape.count(), -1, 1, 2);
  auto f = [&](int64_t i, int64_t j, int64_t c) { return flow[static_cast<size_t>((i * 3 + j) * 2 + c)]; };
  const std::vector<Numbers> loss = run_op(make_op<Smoothness>(attrs), {{shape, flow}});
  for (int64_t c = 0; c < 2; ++c) {
    const double want =
        (rho(2.5 * (f(1, 1, c) - f(1, 2, c)), .3) + rho(2.5 * (f(1, 1, c) - f(2, 1, c)), .3)) / 4;
    CHECK(loss[static_cast<size_t>(c)].front() == Approx(want).epsilon(1e-12));
  }
  // The middle, its right neighbour and the one below have a gradient, and no other.
  const Numbers d = run_op(make_op<SmoothnessDflow>(attrs), {{shape, flow}, {{1}, {1}}, {{1}, {-3}}}).front();
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t c = 0; c < 2; ++c) {
        const double at = d[static_cast<size_t>((i * 3 + j) * 2 + c)];
        const bool right = i == 1 && j == 2, below = i == 2 && j == 1;
        if (right || below) {
          const double delta = f(1, 1, c) - f(i, j, c);
          const double slope =
              2 * .3 * 2.5 * 2.5 * delta * std::pow(2.5 * 2.5 * delta * delta + 1e-6, -.7) / 4;
          CHECK(at == Approx(-slope * (c ? -3 : 1)).epsilon(1e-10));
        } else if (i != 1 || j != 1) {
          CHECK(at == 0);
        }
      }
    }
  }
  for (size_t c = 0; c < 2; ++c) CHECK(d[8 + c] == Approx(-d[10 + c] - d[14 + c]).epsilon(1e-12));
}

TEST_CASE("smoothness without a border: the last column and row count rho(0)") {
  // u is 3 in the last column of 2x2; v is constant. Four positions have two differences each.
  const Numbers flow = {0, 7, 3, 7, 0, 7, 3, 7};
  const std::vector<Numbers> loss =
      run_op(make_op<Smoothness>(CharbonnierAttrs{.alpha = .3}), {{{1, 2, 2, 2}, flow}});
  CHECK(loss[0].front() == Approx(2 * rho(3, .3) + 6 * rho(0, .3)).epsilon(1e-12));
  CHECK(loss[1].front() == Approx(8 * rho(0, .3)).epsilon(1e-12));
}

TEST_CASE("smoothness of a constant flow in Caffe's normalisation: 2/3 of rho(0) over n_ref") {
  const CharbonnierAttrs attrs{
      .alpha = .3, .beta = 1.25, .border_y = 1, .border_x = 1, .normalizer = 16.0 * 30 * 144};
  const Numbers flow(3 * 14 * 14 * 20, .5);
  for (const Numbers& loss : run_op(make_op<Smoothness>(attrs), {{{3, 14, 14, 20}, flow}})) {
    CHECK(loss.front() == Approx(2.0 / 3 / 16 * rho(0, .3)).epsilon(1e-12));
  }
}

TEST_CASE("SSIM's window") {
  const double want[] = {.00334, .02390, .09752, .22673, .30037, .22673, .09752, .02390};
  const auto& w = ssim_weights();
  double sum = 0, six = 0, four = 0, seven = 0;
  for (size_t p = 0; p < 8; ++p) {
    CHECK(w[p] == Approx(want[p]).margin(6e-6));
    sum += w[p];
    four += p < 4 ? w[p] : 0;
    six += p < 6 ? w[p] : 0;
    seven += p < 7 ? w[p] : 0;
  }
  CHECK(sum == Approx(1).epsilon(1e-15));
  CHECK(seven * seven == Approx(.953).margin(5e-4));
  CHECK(six == Approx(.879).margin(5e-4));
  CHECK(four == Approx(.351).margin(6e-4));
  const int64_t windows[] = {1, 2, 4, 7, 14};
  for (size_t l = 0; l < 5; ++l) CHECK(ssim_windows(kExtents[l]) == windows[l]);
  CHECK(ssim_windows(1) == 1);
  CHECK(ssim_windows(8) == 1);
  CHECK(ssim_windows(9) == 2);
}

TEST_CASE("SSIM of equal images is 1 to the last bit, in cut windows too") {
  for (const int64_t r : kExtents) {
    const Shape shape{1, r, r, 2};
    const Numbers x = draw(shape.count(), -.5, .6, 3);
    CHECK(ssim_of(x, x, shape) == 0);
    const OpInput in{shape, x};
    CHECK(run_op(make_op<Ssim>(), {in, in}, Dtype::f32).front().front() == 0);
    CHECK(run_op(make_op<SsimDx>(), {{{1}, {1}}, in, in}).front() == Numbers(x.size()));
  }
}

TEST_CASE("SSIM of two plain images: a sum over windows and channels, a mean over the batch") {
  const double a = .5, b = .3, c1 = 1e-4, c2 = 1e-3;
  const double whole = 1 - (2 * a * b + c1) / (a * a + b * b + c1);
  for (const int64_t r : {8, 56, 112}) {
    const Shape shape{2, r, r, 3};
    const auto count = static_cast<size_t>(shape.count());
    const double windows = static_cast<double>(ssim_windows(r) * ssim_windows(r));
    CHECK(ssim_of(Numbers(count, a), Numbers(count, b), shape) == Approx(3 * windows * whole).epsilon(1e-10));
  }
  // 7x7: one window of mass m < 1, whose plain images then have a variance.
  double m = 0;
  for (size_t p = 0; p < 7; ++p) m += ssim_weights()[p];
  m *= m;
  const double lp = (2 * m * m * a * b + c1) / (m * m * (a * a + b * b) + c1);
  const double v = m - m * m, cs = (2 * v * a * b + c2) / (v * (a * a + b * b) + c2);
  CHECK(ssim_of(Numbers(49, a), Numbers(49, b), {1, 7, 7, 1}) == Approx(1 - lp * cs).epsilon(1e-10));
}

TEST_CASE("SSIM by its textbook form") {
  const Shape shape{1, 14, 9, 2};
  const Numbers x = draw(shape.count(), -.5, .6, 4), y = draw(shape.count(), -.5, .6, 5);
  double total = 0;
  for (int64_t c = 0; c < 2; ++c) {
    for (int64_t top = 0; top < 14; top += 8) {
      for (int64_t left = 0; left < 9; left += 8) {
        double ux = 0, uy = 0, xx = 0, yy = 0, xy = 0;
        for (int64_t i = top; i < std::min<int64_t>(top + 8, 14); ++i) {
          for (int64_t j = left; j < std::min<int64_t>(left + 8, 9); ++j) {
            const auto e = static_cast<size_t>((i * 9 + j) * 2 + c);
            const double w =
                ssim_weights()[static_cast<size_t>(i - top)] * ssim_weights()[static_cast<size_t>(j - left)];
            ux += w * x[e], uy += w * y[e];
            xx += w * x[e] * x[e], yy += w * y[e] * y[e], xy += w * x[e] * y[e];
          }
        }
        total += 1 - (2 * ux * uy + 1e-4) / (ux * ux + uy * uy + 1e-4) * (2 * (xy - ux * uy) + 1e-3) /
                         (xx - ux * ux + yy - uy * uy + 1e-3);
      }
    }
  }
  CHECK(ssim_of(x, y, shape) == Approx(total).epsilon(1e-12));
}

TEST_CASE("the sum of a loss's terms") {
  const auto op = make_op<WeightedSum>(WeightedSumAttrs{.weights = {.16, 1, -2}});
  CHECK(run_op(op, {{{1}, {2}}, {{1}, {3}}, {{1}, {.5}}}).front().front() == Approx(2.32).epsilon(1e-15));
}

TEST_CASE("losses are the same to the last bit for any number of threads") {
  const Shape shape{3, 40, 37, 6};
  const OpInput x{shape, draw(shape.count(), -1, 1, 6)}, y{shape, draw(shape.count(), -1, 1, 7)};
  auto all = [&] {
    std::vector<Numbers> results;
    for (const Dtype real : {Dtype::f64, Dtype::f32}) {
      results.push_back(run_op(make_op<Charbonnier>(), {x}, real).front());
      for (Numbers& loss : run_op(make_op<Smoothness>(CharbonnierAttrs{.alpha = .3}), {x}, real))
        results.push_back(loss);
      results.push_back(run_op(make_op<Ssim>(), {x, y}, real).front());
    }
    return results;
  };
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<Numbers> one = all();
  for (const int threads : {2, 3, 7}) {
    omp_set_num_threads(threads);
    CHECK(all() == one);
  }
  omp_set_num_threads(before);
}

TEST_CASE("the power of floats is the library's") {
  double worst = 0;
  for (const float exponent : {.4f, -.6f, .3f, -.7f, 1.f, 1.5f}) {
    for (double log10_base = -12; log10_base < 8; log10_base += .00371) {
      const auto base = static_cast<float>(std::pow(10, log10_base));
      const double want = std::pow(static_cast<double>(base), static_cast<double>(exponent));
      const double allowed = 1e-7 * (3 + std::abs(std::log2(want)));
      worst = std::max(worst, std::abs(cpu::power(base, exponent) - want) / want / allowed);
    }
  }
  CHECK(worst < 1);
  CHECK(cpu::power(1.f, -.7f) == 1);
  CHECK(std::isnan(cpu::power(NAN, .4f)));
  CHECK(std::isinf(cpu::power(INFINITY, .4f)));
}

TEST_CASE("shapes and constants that cannot be meant are refused where the net is built") {
  Graph g;
  const Value image = g.input("image", {1, 4, 4, 3}), other = g.input("other", {1, 4, 5, 3});
  CHECK_THROWS_AS(charbonnier(g, image, {.border_y = 2}), Error);  // nothing would be left
  CHECK_THROWS_AS(charbonnier(g, image, {.border_x = -1}), Error);
  CHECK_THROWS_AS(charbonnier(g, image, {.epsilon = 0}), Error);  // infinite slope at 0
  CHECK_THROWS_AS(charbonnier(g, image, {.normalizer = 0}), Error);
  CHECK_THROWS_AS(smoothness(g, image, {}), Error);  // channels that are no pairs
  CHECK_THROWS_AS(ssim(g, image, other), Error);
  CHECK_THROWS_AS(ssim(g, image, image, {.c1 = 0}), Error);
  const Value scalar = charbonnier(g, image, {});
  CHECK_THROWS_AS(weighted_sum(g, std::span(&scalar, 1), {1, 2}), Error);
  CHECK_THROWS_AS(weighted_sum(g, std::span(&image, 1), {1}), Error);
}
