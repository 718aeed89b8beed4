#include "data/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <optional>

#include "core/error.h"
#include "data/similarity.h"
#include "data/texture.h"

namespace millrace {
namespace {

constexpr size_t kTextures = 6;

struct Layer {
  Similarity motion;  // of one frame
  Similarity to_texture;
  const Texture* texture = nullptr;
  // Colour of the layer: channel c is offset[c] + gain[c] * (texture channel source[c] - 128).
  std::array<size_t, 3> source{};
  std::array<float, 3> gain{}, offset{};
  std::optional<Figure> shape;  // in the layer's middle frame; the background has none
};

Similarity draw_motion(Draws& draws, const SyntheticOptions& options) {
  const double shift_x = draws.uniform(-options.max_shift, options.max_shift);
  const double shift_y = draws.uniform(-options.max_shift, options.max_shift);
  const double zoom = 1 + draws.uniform(-options.max_zoom, options.max_zoom);
  const double angle = draws.uniform(-options.max_rotation, options.max_rotation);
  const double centre_x = static_cast<double>(options.size.width - 1) / 2;
  const double centre_y = static_cast<double>(options.size.height - 1) / 2;
  const Similarity about_origin{zoom * std::cos(angle), zoom * std::sin(angle), 0, 0};
  return Similarity{1, 0, centre_x + shift_x, centre_y + shift_y}.after(
      about_origin.after({1, 0, -centre_x, -centre_y}));
}

// A random place, direction and magnification of a random texture, recoloured, so that few textures look like
// many.
Layer draw_layer(Draws& draws, const SyntheticOptions& options, const std::vector<Texture>& textures) {
  Layer layer;
  layer.motion = draw_motion(draws, options);
  layer.texture = &textures[static_cast<size_t>(draws.below(static_cast<int64_t>(textures.size())))];
  const double texels_per_pixel = draws.uniform(0.5, 1);
  const double angle = draws.uniform(0, 2 * std::numbers::pi);
  layer.to_texture = {texels_per_pixel * std::cos(angle), texels_per_pixel * std::sin(angle),
                      draws.uniform(0, Texture::kSize), draws.uniform(0, Texture::kSize)};
  layer.source = {0, 1, 2};
  for (int64_t k = 2; k > 0; --k) {
    std::swap(layer.source[static_cast<size_t>(k)], layer.source[static_cast<size_t>(draws.below(k + 1))]);
  }
  const double contrast = draws.uniform(0.5, 1.1) * (draws.chance(0.5) ? 1 : -1);
  const double brightness = draws.uniform(-30, 30);
  for (size_t c = 0; c < 3; ++c) {
    layer.gain[c] = static_cast<float>(contrast * draws.uniform(0.8, 1.2));
    layer.offset[c] = static_cast<float>(128 + brightness + draws.uniform(-20, 20));
  }
  return layer;
}

// One frame: what is drawn of each layer.
struct PlacedLayer {
  const Layer* layer;
  Similarity to_own;      // from the frame's pixels to the layer's middle frame
  Similarity to_texture;  // from the frame's pixels to texels
  Window reach;           // where it can be seen

  double coverage(double x, double y) const {
    if (!layer->shape) return 1;
    const auto [own_x, own_y] = to_own(x, y);
    return layer->shape->coverage(own_x, own_y);
  }
};

Window seen_window(const Layer& layer, const Similarity& from_own, Size size) {
  if (!layer.shape) return {0, 0, size};
  const auto [x, y] = from_own(layer.shape->centre_x, layer.shape->centre_y);
  const double radius = (layer.shape->radius + 1) * std::hypot(from_own.a, from_own.b) + 1;
  const auto inside = [](double at, int64_t extent) {
    return static_cast<int64_t>(std::clamp(at, 0.0, static_cast<double>(extent)));
  };
  const int64_t top = inside(y - radius, size.height), left = inside(x - radius, size.width);
  return {top, left, {inside(y + radius + 1, size.height) - top, inside(x + radius + 1, size.width) - left}};
}

std::vector<PlacedLayer> place(const std::vector<Layer>& layers, int64_t offset, Size size) {
  std::vector<PlacedLayer> placed;
  for (const Layer& layer : layers) {
    const Similarity from_own = layer.motion.power(offset), to_own = from_own.inverse();
    placed.push_back({&layer, to_own, layer.to_texture.after(to_own), seen_window(layer, from_own, size)});
  }
  return placed;
}

void draw_row(const PlacedLayer& placed, int64_t i, std::vector<float>& row) {
  const Layer& layer = *placed.layer;
  const Window& reach = placed.reach;
  if (i < reach.top || i >= reach.top + reach.size.height) return;
  const auto [start_x, start_y] = placed.to_texture(static_cast<double>(reach.left), static_cast<double>(i));
  Texture::Fixed x = Texture::fixed(start_x), y = Texture::fixed(start_y);
  const Texture::Fixed step_x = Texture::fixed(placed.to_texture.a),
                       step_y = Texture::fixed(placed.to_texture.b);
  float* out = &row[static_cast<size_t>(3 * reach.left)];
  for (int64_t j = reach.left; j < reach.left + reach.size.width; ++j, out += 3, x += step_x, y += step_y) {
    const auto cover = static_cast<float>(placed.coverage(static_cast<double>(j), static_cast<double>(i)));
    if (cover <= 0) continue;
    const std::array<float, 3> texel = layer.texture->at(x, y);
    for (size_t c = 0; c < 3; ++c) {
      const float color =
          std::clamp(layer.offset[c] + layer.gain[c] * (texel[layer.source[c]] - 128), 0.0f, 255.0f);
      out[c] += cover * (color - out[c]);
    }
  }
}

void render(const std::vector<PlacedLayer>& layers, Size size, Image& image) {
  image.reshape(size, 3);
  std::vector<float> row(static_cast<size_t>(3 * size.width));
  uint8_t* out = image.pixels.data();
  for (int64_t i = 0; i < size.height; ++i) {
    for (const PlacedLayer& layer : layers) draw_row(layer, i, row);
    for (const float value : row) *out++ = static_cast<uint8_t>(value + 0.5f);
  }
}

// The layer that is seen at a point: the last that covers at least half of it.
size_t seen_layer(const std::vector<PlacedLayer>& layers, double x, double y) {
  for (size_t k = layers.size(); k-- > 1;) {
    if (layers[k].coverage(x, y) >= 0.5) return k;
  }
  return 0;
}

void write_flow(const PlacedLayer& placed, int64_t i, Flow& flow) {
  const Similarity& motion = placed.layer->motion;
  const Window& reach = placed.reach;
  if (i < reach.top || i >= reach.top + reach.size.height) return;
  for (int64_t j = reach.left; j < reach.left + reach.size.width; ++j) {
    const auto x = static_cast<double>(j), y = static_cast<double>(i);
    if (placed.coverage(x, y) < 0.5) continue;
    const auto [next_x, next_y] = motion(x, y);
    flow.at(i, j)[0] = static_cast<float>(next_x - x);
    flow.at(i, j)[1] = static_cast<float>(next_y - y);
  }
}

}  // namespace

struct SyntheticSource::Textures {
  std::vector<Texture> textures;
};

struct SyntheticSource::Scene {
  std::vector<Layer> layers;  // back to front
};

// Sources of one seed share them: a run trains on one and measures on another.
std::shared_ptr<const SyntheticSource::Textures> SyntheticSource::textures_of(uint64_t seed) {
  static std::mutex mutex;
  static std::map<uint64_t, std::weak_ptr<const Textures>> in_use;
  const std::lock_guard lock(mutex);
  if (auto known = in_use[seed].lock()) return known;
  auto made = std::make_shared<Textures>();
  for (size_t k = 0; k < kTextures; ++k)
    made->textures.emplace_back(Draws(random_stream(seed, "synthetic.texture"), static_cast<int64_t>(k)));
  in_use[seed] = made;
  return made;
}

SyntheticSource::SyntheticSource(const SyntheticOptions& options)
    : options_(options), textures_(textures_of(options.seed)) {}

SyntheticSource::~SyntheticSource() = default;

std::string SyntheticSource::name(int64_t item) const {
  return fmt::format("synthetic_{}_{:05}", options_.split, item);
}

SyntheticSource::Scene SyntheticSource::make_scene(int64_t item) const {
  Draws draws(random_stream(options_.seed, "synthetic." + options_.split), item);
  Scene scene;
  const auto height = static_cast<double>(options_.size.height),
             width = static_cast<double>(options_.size.width);
  const double extent = std::min(height, width);
  for (int64_t k = 0; k <= options_.layers; ++k) {
    scene.layers.push_back(draw_layer(draws, options_, textures_->textures));
    if (k == 0) continue;
    scene.layers.back().shape = draw_figure(
        draws, {.min_radius = 0.1 * extent, .max_radius = 0.3 * extent, .width = width, .height = height});
  }
  return scene;
}

void SyntheticSource::read(const ClipRange& range, Clip& clip) const {
  const Scene scene = make_scene(range.item);
  const int64_t middle = (options_.frames - 1) / 2;
  clip.frames.resize(static_cast<size_t>(range.count));
  clip.truth.resize(range.want_truth && range.count > 0 ? static_cast<size_t>(range.count - 1) : 0);
  for (int64_t k = 0; k < range.count; ++k) {
    const int64_t frame = range.first + k;
    Image& image = clip.frames[static_cast<size_t>(k)];
    if (k > 0 && frame >= options_.frames) {
      image = clip.frames[static_cast<size_t>(k - 1)];
      continue;
    }
    render(place(scene.layers, std::min(frame, options_.frames - 1) - middle, options_.size), options_.size,
           image);
  }
  for (size_t k = 0; k < clip.truth.size(); ++k) {
    const int64_t frame = range.first + static_cast<int64_t>(k);
    Flow& flow = clip.truth[k];
    flow.reshape(options_.size);
    if (frame + 1 >= options_.frames) {
      std::fill(flow.uv.begin(), flow.uv.end(), kUnknownFlow);
      continue;
    }
    const std::vector<PlacedLayer> layers = place(scene.layers, frame - middle, options_.size);
    for (int64_t i = 0; i < options_.size.height; ++i) {
      for (const PlacedLayer& layer : layers) write_flow(layer, i, flow);
    }
  }
}

Image SyntheticSource::occluded(int64_t item, int64_t frame) const {
  const Scene scene = make_scene(item);
  const int64_t middle = (options_.frames - 1) / 2;
  const std::vector<PlacedLayer> now = place(scene.layers, frame - middle, options_.size);
  const std::vector<PlacedLayer> next = place(scene.layers, frame + 1 - middle, options_.size);
  const auto last_x = static_cast<double>(options_.size.width - 1),
             last_y = static_cast<double>(options_.size.height - 1);
  Image mask;
  mask.reshape(options_.size, 1);
  for (int64_t i = 0; i < options_.size.height; ++i) {
    for (int64_t j = 0; j < options_.size.width; ++j) {
      const size_t layer = seen_layer(now, static_cast<double>(j), static_cast<double>(i));
      const auto [x, y] = scene.layers[layer].motion(static_cast<double>(j), static_cast<double>(i));
      const bool outside = x < 0 || y < 0 || x > last_x || y > last_y;
      *mask.at(i, j) = outside || seen_layer(next, x, y) > layer;
    }
  }
  return mask;
}

}  // namespace millrace
