// The whole loss of MotionNet on a clip, against the formulas of the reference written out once more.
#include "nets/motion_loss.h"

#include <cmath>
#include <map>

#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

// A clip, its flows at each level, and the loss.
struct Setup {
  int64_t batch = 1, height = 64, width = 96;
  MotionLossOptions options{.frames = 2};
  int coarsest = kCoarsestLevel;
  Dtype real = Dtype::f64;
};

Shape clip_shape(const Setup& s) { return {s.batch, s.height, s.width, 3 * s.options.frames}; }

Shape flow_shape(const Setup& s, int level) {
  const int64_t factor = int64_t{1} << (level - 1);
  return {s.batch, s.height / factor, s.width / factor, 2 * (s.options.frames - 1)};
}

struct Inputs {
  Numbers images;
  std::map<int, Numbers> flows;
};

Inputs random_inputs(const Setup& s) {
  Inputs in;
  in.images = draw(clip_shape(s).count(), -.48, .59, 1);
  // In pixels of the level up to 2, of the clip up to 64.
  for (int l = 2; l <= 6; ++l) {
    in.flows[l] = draw(flow_shape(s, l).count(), -2 / level_scale(l), 2 / level_scale(l),
                       10 + static_cast<uint64_t>(l));
  }
  return in;
}

struct Result {
  std::map<std::string, double> terms;
  double loss = 0;
  std::map<int, Numbers> dflow;
};

Result evaluate(const Setup& s, const Inputs& in) {
  Graph g(s.real);
  const Value images = g.input("images", clip_shape(s));
  MotionNetFlows flows{.coarsest = s.coarsest, .flows = {}};
  for (int l = 2; l <= s.coarsest; ++l) flows.at(l) = g.input("flow" + std::to_string(l), flow_shape(s, l));
  const MotionLoss loss = motion_loss(g, images, flows, s.options);
  g.output("loss", loss.loss);
  for (const LossTerm& term : loss.terms) g.output(term.name, term.value);
  const std::vector<Value> d = gradients(g, loss.loss, flows.all());
  for (int l = 2; l <= s.coarsest; ++l) g.output("dflow" + std::to_string(l), d[static_cast<size_t>(l - 2)]);

  const auto device = make_device("cpu");
  State state(*device);
  Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
  write_input(session, "images", {clip_shape(s), in.images});
  for (int l = 2; l <= s.coarsest; ++l)
    write_input(session, "flow" + std::to_string(l), {flow_shape(s, l), in.flows.at(l)});
  session.run();
  Result result;
  for (const LossTerm& term : loss.terms) result.terms[term.name] = session.get_scalar(term.name);
  for (int l = 2; l <= s.coarsest; ++l) result.dflow[l] = session.get("dflow" + std::to_string(l));
  result.loss = session.get_scalar("loss");
  return result;
}

// --- the reference, section 3, for one clip of two frames: planes, loops and no cleverness

struct Plane {
  int64_t H, W;
  Numbers v;
  double at(int64_t i, int64_t j) const {
    return i < 0 || j < 0 || i >= H || j >= W ? 0 : v[static_cast<size_t>(i * W + j)];
  }
};

double rho(double z, double alpha) { return std::pow(z * z + 1e-6, alpha); }

std::vector<Plane> lrn_planes(const Setup& s, const Numbers& images) {
  std::vector<Plane> planes(6, Plane{s.height, s.width, Numbers(static_cast<size_t>(s.height * s.width))});
  for (size_t p = 0; p < planes[0].v.size(); ++p) {
    for (size_t frame = 0; frame < 2; ++frame) {
      double sum = 0;
      for (size_t c = 0; c < 3; ++c) sum += images[p * 6 + frame * 3 + c] * images[p * 6 + frame * 3 + c];
      for (size_t c = 0; c < 3; ++c) {
        const double x = images[p * 6 + frame * 3 + c];
        planes[frame * 3 + c].v[p] = s.options.lrn ? x / std::pow(1 + sum / 9, .7) : x;
      }
    }
  }
  return planes;
}

Plane shrink(const Plane& x, int64_t h, int64_t w) {
  const double sy = static_cast<double>(x.H - 1) / static_cast<double>(h - 1);
  const double sx = static_cast<double>(x.W - 1) / static_cast<double>(w - 1);
  Plane y{h, w, {}};
  for (int64_t i = 0; i < h; ++i) {
    for (int64_t j = 0; j < w; ++j) {
      double sum = 0, weights = 0;
      for (int64_t p = 0; p < x.H; ++p) {
        for (int64_t q = 0; q < x.W; ++q) {
          const double wy = 1 - std::abs(static_cast<double>(p) - static_cast<double>(i) * sy) / sy;
          const double wx = 1 - std::abs(static_cast<double>(q) - static_cast<double>(j) * sx) / sx;
          if (wy <= 0 || wx <= 0) continue;
          sum += wy * wx * x.at(p, q);
          weights += wy * wx;
        }
      }
      y.v.push_back(sum / weights);
    }
  }
  return y;
}

Plane warp_plane(const Plane& x, const Plane& u, const Plane& v, double scale) {
  Plane y{x.H, x.W, {}};
  for (int64_t i = 0; i < x.H; ++i) {
    for (int64_t j = 0; j < x.W; ++j) {
      const double column = static_cast<double>(j) + scale * u.at(i, j),
                   row = static_cast<double>(i) + scale * v.at(i, j);
      const double left = std::floor(column), top = std::floor(row), a = column - left, b = row - top;
      const auto q = static_cast<int64_t>(left), p = static_cast<int64_t>(top);
      y.v.push_back((1 - b) * ((1 - a) * x.at(p, q) + a * x.at(p, q + 1)) +
                    b * ((1 - a) * x.at(p + 1, q) + a * x.at(p + 1, q + 1)));
    }
  }
  return y;
}

double smooth_sum(const Plane& f, double beta) {
  const auto by = static_cast<int64_t>(std::floor(static_cast<double>(f.H) * .1 + .5));
  const auto bx = static_cast<int64_t>(std::floor(static_cast<double>(f.W) * .1 + .5));
  double sum = 0;
  for (int64_t i = by; i < f.H - by; ++i) {
    for (int64_t j = bx; j < f.W - bx; ++j) {
      sum += rho(beta * (j + 1 < f.W ? f.at(i, j) - f.at(i, j + 1) : 0), .3);
      sum += rho(beta * (i + 1 < f.H ? f.at(i, j) - f.at(i + 1, j) : 0), .3);
    }
  }
  return sum;
}

double pixel_sum(const Plane& a, const Plane& b) {
  const auto by = static_cast<int64_t>(std::floor(static_cast<double>(a.H) * .1 + .5));
  const auto bx = static_cast<int64_t>(std::floor(static_cast<double>(a.W) * .1 + .5));
  double sum = 0;
  for (int64_t i = by; i < a.H - by; ++i) {
    for (int64_t j = bx; j < a.W - bx; ++j) sum += rho(255 * (a.at(i, j) - b.at(i, j)), .4);
  }
  return sum;
}

double dissimilarity(const Plane& x, const Plane& y) {
  double weights[8][8], all = 0, total = 0;
  for (int p = 0; p < 8; ++p) {
    for (int q = 0; q < 8; ++q) {
      weights[p][q] = std::exp(-((p - 4) * (p - 4) + (q - 4) * (q - 4)) / (2 * (16.0 / 12) * (16.0 / 12)));
      all += weights[p][q];
    }
  }
  for (int64_t top = 0; top < x.H; top += 8) {
    for (int64_t left = 0; left < x.W; left += 8) {
      double ux = 0, uy = 0, xx = 0, yy = 0, xy = 0;
      for (int64_t p = 0; p < 8 && top + p < x.H; ++p) {
        for (int64_t q = 0; q < 8 && left + q < x.W; ++q) {
          const double w = weights[p][q] / all, a = x.at(top + p, left + q), b = y.at(top + p, left + q);
          ux += w * a, uy += w * b, xx += w * a * a, yy += w * b * b, xy += w * a * b;
        }
      }
      total += 1 - (2 * ux * uy + 1e-4) / (ux * ux + uy * uy + 1e-4) * (2 * (xy - ux * uy) + 1e-3) /
                       (xx - ux * ux + yy - uy * uy + 1e-3);
    }
  }
  return total;
}

std::map<std::string, double> expected_terms(const Setup& s, const Inputs& in) {
  std::map<std::string, double> terms;
  const std::vector<Plane> full = lrn_planes(s, in.images);
  const double ssim_weight[] = {.01, .02, .04, .08, .16}, flow_scale[] = {10, 5, 2.5, 1.25, .625};
  for (int l = 2; l <= 6; ++l) {
    const std::string number = std::to_string(l);
    const int64_t h = s.height >> (l - 1), w = s.width >> (l - 1);
    const auto by = static_cast<int64_t>(std::floor(static_cast<double>(h) * .1 + .5));
    const auto bx = static_cast<int64_t>(std::floor(static_cast<double>(w) * .1 + .5));
    const auto divisor = static_cast<double>(16 * 3 * (h - 2 * by) * (w - 2 * bx));
    const double scale = flow_scale[l - 2];
    Plane u{h, w, {}}, v{h, w, {}};
    for (size_t p = 0; p < static_cast<size_t>(h * w); ++p) {
      u.v.push_back(in.flows.at(l)[2 * p]);
      v.v.push_back(in.flows.at(l)[2 * p + 1]);
    }
    for (size_t c = 0; c < 3; ++c) {
      const Plane target = shrink(full[c], h, w);
      const Plane warped = warp_plane(shrink(full[3 + c], h, w), u, v, scale);
      terms["pixel" + number] += pixel_sum(target, warped) / divisor;
      terms["ssim" + number] += ssim_weight[l - 2] * dissimilarity(warped, target);
    }
    terms["smooth_u" + number] = smooth_sum(u, scale) / divisor;
    terms["smooth_v" + number] = smooth_sum(v, scale) / divisor;
  }
  return terms;
}

}  // namespace

TEST_CASE("the loss of a clip by the reference's formulas") {
  for (const bool lrn : {true, false}) {
    // 64 x 96: its coarsest level is 2 x 3, where the borders are 0 wide.
    Setup s;
    s.options.lrn = lrn;
    const Inputs in = random_inputs(s);
    const Result got = evaluate(s, in);
    const std::map<std::string, double> want = expected_terms(s, in);
    REQUIRE(got.terms.size() == 20);
    double sum = 0;
    for (const auto& [name, value] : want) {
      INFO(name);
      CHECK(got.terms.at(name) == Approx(value).epsilon(1e-10));
      sum += value;
    }
    CHECK(got.loss == Approx(sum).epsilon(1e-10));

    s.real = Dtype::f32;
    const Result single = evaluate(s, in);
    for (const auto& [name, value] : want) {
      INFO(name);
      CHECK(single.terms.at(name) == Approx(value).epsilon(2e-5));
    }
  }
}

TEST_CASE("the loss's gradient to the flows is its slope") {
  Setup s;
  s.height = 64;
  s.width = 64;
  Inputs in = random_inputs(s);
  const Result at = evaluate(s, in);
  for (int l = 2; l <= 6; ++l) {
    Numbers& flow = in.flows.at(l);
    for (const size_t e : {flow.size() / 2, flow.size() / 2 + 1, flow.size() / 3}) {
      const double before = flow[e], step = 1e-7;
      flow[e] = before + step;
      const double above = evaluate(s, in).loss;
      flow[e] = before - step;
      const double below = evaluate(s, in).loss;
      flow[e] = before;
      INFO("level " << l << ", element " << e);
      CHECK(at.dflow.at(l)[e] == Approx((above - below) / (2 * step)).epsilon(1e-4).margin(1e-7));
    }
  }
}

TEST_CASE("a still clip without flow costs rho(0): photometric 1/16, smoothness 2/3/16 of it, SSIM nothing") {
  Setup s{.batch = 2, .height = 64, .width = 64};
  s.options.frames = 11;
  Inputs in;
  const Numbers frame = draw(64 * 64 * 3, -.48, .59, 2);
  for (int64_t p = 0; p < 2 * 64 * 64; ++p) {
    for (int64_t t = 0; t < 11; ++t) {
      for (int64_t c = 0; c < 3; ++c) in.images.push_back(frame[static_cast<size_t>(p % (64 * 64) * 3 + c)]);
    }
  }
  for (int l = 2; l <= 6; ++l) in.flows[l] = Numbers(static_cast<size_t>(flow_shape(s, l).count()));
  auto check_terms = [&](double pixel, double smooth) {
    const Result result = evaluate(s, in);
    for (const char* level : {"2", "3", "4", "5", "6"}) {
      CHECK(result.terms.at(std::string("pixel") + level) == Approx(pixel * rho(0, .4)).epsilon(1e-10));
      CHECK(result.terms.at(std::string("smooth_u") + level) == Approx(smooth * rho(0, .3)).epsilon(1e-10));
      CHECK(result.terms.at(std::string("smooth_v") + level) == Approx(smooth * rho(0, .3)).epsilon(1e-10));
      CHECK(result.terms.at(std::string("ssim") + level) == 0);
    }
    CHECK(result.loss == Approx(5 * (pixel * rho(0, .4) + 2 * smooth * rho(0, .3))).epsilon(1e-10));
  };
  check_terms(1.0 / 16, 2.0 / 3 / 16);
  s.options.n_ref = 8;
  check_terms(1.0 / 8, 2.0 / 3 / 8);
  s.options.normalization = LossNormalization::mean;
  check_terms(1, 1);
}

TEST_CASE("the loss of a batch is the mean over its clips") {
  Setup one;
  one.width = 64;
  const Inputs a = random_inputs(one);
  Inputs b = random_inputs(one), both = a;
  for (double& x : b.images) x = -.8 * x;
  both.images.insert(both.images.end(), b.images.begin(), b.images.end());
  for (auto& [l, flow] : both.flows) flow.insert(flow.end(), b.flows.at(l).begin(), b.flows.at(l).end());
  Setup two = one;
  two.batch = 2;
  const Result of_a = evaluate(one, a), of_b = evaluate(one, b), of_both = evaluate(two, both);
  for (const auto& [name, value] : of_both.terms) {
    CHECK(value == Approx((of_a.terms.at(name) + of_b.terms.at(name)) / 2).epsilon(1e-10));
  }
}

TEST_CASE("kinds of terms can be left out") {
  Setup s;
  const Inputs in = random_inputs(s);
  const Result all = evaluate(s, in);
  s.options.ssim = false;
  s.options.smoothness = false;
  const Result pixel = evaluate(s, in);
  REQUIRE(pixel.terms.size() == 5);
  for (const auto& [name, value] : pixel.terms) CHECK(value == all.terms.at(name));
  s.options.smoothness = true;
  s.options.pixel = false;
  CHECK(evaluate(s, in).terms.size() == 10);
  s.options.smoothness = false;
  CHECK_THROWS_AS(evaluate(s, in), Error);
}

TEST_CASE("a net with three levels has the terms of those alone") {
  Setup s;
  const Inputs in = random_inputs(s);
  const std::map<std::string, double> five = evaluate(s, in).terms;
  Setup tiny = s;
  tiny.coarsest = 4;
  const Result three = evaluate(tiny, in);
  CHECK(three.terms.size() == 3 * 4);
  double sum = 0;
  for (const auto& [name, value] : three.terms) {
    INFO(name);
    CHECK(name.back() <= '4');
    CHECK(value == five.at(name));  // with the SSIM weights .01, .02, .04 of levels 2, 3, 4
    sum += value;
  }
  CHECK(three.loss == Approx(sum).epsilon(1e-12));
}

TEST_CASE("clips and flows that do not fit each other are refused") {
  Setup s;
  Inputs in = random_inputs(s);
  Graph g;
  const Value images = g.input("images", clip_shape(s));
  MotionNetFlows flows;
  for (int l = 2; l <= 6; ++l) {
    flows.flows[static_cast<size_t>(l - 2)] = g.input("flow" + std::to_string(l), flow_shape(s, l));
  }
  CHECK_NOTHROW(motion_loss(g, images, flows, s.options));
  CHECK_THROWS_AS(motion_loss(g, images, flows, {.frames = 3}), Error);
  CHECK_THROWS_AS(motion_loss(g, images, flows, {.frames = 2, .n_ref = 0}), Error);
  std::swap(flows.flows[0], flows.flows[1]);
  CHECK_THROWS_AS(motion_loss(g, images, flows, s.options), Error);
}
