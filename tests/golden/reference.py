"""MotionNet and its losses in PyTorch, written from the paper and the authors' published layers, not from millrace.

Source: Zhu et al., Hidden Two-Stream Convolutional Networks (arXiv 1704.00389), with layers, constants and losses of
bryanyzhu/Hidden-Two-Stream, models/multiframe_MotionNet/train.prototxt. Where millrace differs from that on purpose
(docs/architecture.md: n_ref, 1/255, the exact gradient of the warp, sizes other than 224) so does this file.

At the end are parameters and clips as functions of names and indices, which C++ makes alike to the last bit.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

LEVELS = (2, 3, 4, 5, 6)  # level l has the input's size divided by 2^(l-1)
ENCODER = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512, 6: 1024}
DECODER = {5: 512, 4: 256, 3: 128, 2: 64}
SSIM_WEIGHT = {2: 0.01, 3: 0.02, 4: 0.04, 5: 0.08, 6: 0.16}
MEAN_BGR = (104.0, 117.0, 123.0)


# ---- the network


def layers(frames, channels):
    """name -> (kind, channels in, channels out, kernel, stride, leaky ReLU behind it)"""
    width = lambda n: max(1, round(n * channels))
    flows = 2 * (frames - 1)
    table, last = {}, 3 * frames
    for l, n in ENCODER.items():
        table[f"conv{l}"] = ("conv", last, width(n), 3, 1 if l == 1 else 2, True)
        table[f"conv{l}_1"] = ("conv", width(n), width(n), 3, 1, True)
        last = width(n)
    table["conv_pr6"] = ("conv", last, flows, 3, 1, False)
    for l, n in DECODER.items():
        joined = width(ENCODER[l]) + width(n) + flows
        table[f"deconv{l}"] = ("deconv", last, width(n), 4, 2, True)
        table[f"upsample_flow{l + 1}to{l}"] = ("deconv", flows, flows, 4, 2, False)
        table[f"smooth_conv{l}"] = ("conv", joined, width(n), 3, 1, False)
        table[f"conv_pr{l}"] = ("conv", width(n), flows, 3, 1, False)
        last = width(n)
    return table


def parameter_shapes(frames, channels):
    """name -> (shape, fan in); Caffe's filler takes a deconvolution's blob (in, out, k, k) for fan in out k k"""
    shapes = {}
    for name, (kind, cin, cout, k, _, _) in layers(frames, channels).items():
        shape = (cout, cin, k, k) if kind == "conv" else (cin, cout, k, k)
        shapes[f"motionnet.{name}.weight"] = (shape, shape[1] * k * k)
        shapes[f"motionnet.{name}.bias"] = ((cout,), 0)
    return shapes


def of_deconvolution(name):
    return "deconv" in name or "upsample" in name


def frozen(name):
    return of_deconvolution(name) and name.endswith("bias")


def decays(name):
    return not of_deconvolution(name) and name.endswith("weight")


def motionnet(parameters, table, x):
    """x (N,3T,H,W) -> level -> predict_flow (N,2(T-1),h,w)"""

    def run(name, x):
        kind, _, _, _, stride, leaky = table[name]
        w, b = parameters[f"motionnet.{name}.weight"], parameters[f"motionnet.{name}.bias"]
        y = (F.conv2d if kind == "conv" else F.conv_transpose2d)(x, w, b, stride=stride, padding=1)
        return F.leaky_relu(y, 0.1) if leaky else y

    skip, y = {}, x
    for l in ENCODER:
        y = skip[l] = run(f"conv{l}_1", run(f"conv{l}", y))
    flows = {6: run("conv_pr6", y)}
    for l in DECODER:
        up_flow = run(f"upsample_flow{l + 1}to{l}", flows[l + 1])
        y = run(f"smooth_conv{l}", torch.cat([skip[l], run(f"deconv{l}", y), up_flow], 1))
        flows[l] = run(f"conv_pr{l}", y)
    return flows


# ---- the losses


def normalise(clips, dtype):
    """u8 (N,T,H,W,3), B G R -> (N,T,3,H,W)"""
    mean = torch.tensor(MEAN_BGR, dtype=dtype, device=clips.device).view(3, 1, 1)
    return (clips.permute(0, 1, 4, 2, 3).to(dtype) - mean) * (1 / 255)


def tents(size_in, size_out, dtype):
    """The downsampling filter of one axis as a matrix: corners aligned, weights renormalised at the border."""
    scale = (size_in - 1) / (size_out - 1)
    distance = torch.arange(size_in, dtype=torch.float64) - scale * torch.arange(size_out, dtype=torch.float64)[:, None]
    w = (1 - distance.abs() / scale).clamp(min=0)
    return (w / w.sum(1, keepdim=True)).to(dtype)


def ssim_rows(size, dtype):
    """Gaussian windows of 8 at every 8th place of one axis; one that overhangs is cut off, and not renormalised."""
    g = torch.exp(-((torch.arange(8, dtype=torch.float64) - 4) ** 2) / (2 * (16 / 12) ** 2))
    g = g / g.sum()
    rows = torch.zeros(math.ceil((size - 8) / 8) + 1, size, dtype=torch.float64)
    for i, row in enumerate(rows):
        part = row[8 * i : 8 * i + 8]
        part += g[: len(part)]
    return rows.to(dtype)


def warp_by_taps(image, flow):
    """image (M,3,h,w), flow (M,2,h,w) in pixels: bilinear at (x + u, y + v), where each tap outside counts as 0"""
    m, c, h, w = image.shape
    x = torch.arange(w, dtype=image.dtype) + flow[:, 0]
    y = torch.arange(h, dtype=image.dtype)[:, None] + flow[:, 1]
    left, top = x.detach().floor(), y.detach().floor()
    result = 0
    for down in (0, 1):
        for right in (0, 1):
            i, j = top + down, left + right
            inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
            place = (i.clamp(0, h - 1) * w + j.clamp(0, w - 1)).long().reshape(m, 1, -1).expand(m, c, -1)
            tap = image.reshape(m, c, -1).gather(2, place).reshape(m, c, h, w)
            weight = (x - left if right else 1 - (x - left)) * (y - top if down else 1 - (y - top)) * inside
            result = result + weight[:, None] * tap
    return result


def warp_by_grid_sample(image, flow):
    """The same by PyTorch's own operator, which is fast."""
    _, _, h, w = image.shape
    x = torch.arange(w, dtype=image.dtype, device=image.device) + flow[:, 0]
    y = torch.arange(h, dtype=image.dtype, device=image.device)[:, None] + flow[:, 1]
    grid = torch.stack([x * (2 / (w - 1)) - 1, y * (2 / (h - 1)) - 1], -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def charbonnier(x, alpha, beta):
    return ((beta * x) ** 2 + 1e-6) ** alpha


class Losses(torch.nn.Module):
    """All terms of the objective, with their weights, as means over the clips."""

    def __init__(self, size, dtype, normalization="caffe", n_ref=16, warp=warp_by_grid_sample):
        super().__init__()
        self.normalization, self.n_ref, self.warp = normalization, n_ref, warp
        for l in LEVELS:
            for axis, extent in zip(("rows", "columns"), size):
                self.register_buffer(f"down{l}_{axis}", tents(extent, extent >> (l - 1), dtype))
                self.register_buffer(f"windows{l}_{axis}", ssim_rows(extent >> (l - 1), dtype))

    def matrices(self, kind, level):
        return self.get_buffer(f"{kind}{level}_rows"), self.get_buffer(f"{kind}{level}_columns")

    def dissimilarity(self, level, x, y):
        rows, columns = self.matrices("windows", level)
        mean = lambda v: rows @ v @ columns.T
        ux, uy = mean(x), mean(y)
        xx, yy, xy = mean(x * x) - ux**2, mean(y * y) - uy**2, mean(x * y) - ux * uy
        c1, c2 = 1e-4, 1e-3
        return 1 - (2 * ux * uy + c1) / (ux**2 + uy**2 + c1) * (2 * xy + c2) / (xx + yy + c2)

    def pyramid(self, images):
        """images of normalise() -> level -> what the losses compare (N,T,3,h,w)"""
        lrn = images * (1 + (images * images).sum(2, keepdim=True) / 9) ** -0.7
        down = lambda rows, columns: rows @ lrn @ columns.T
        return {l: down(*self.matrices("down", l)) for l in LEVELS}

    def terms(self, flows, pyramid):
        """flows of motionnet(), images of pyramid() -> name -> value"""
        caffe = self.normalization == "caffe"
        result = {}
        for l, small in pyramid.items():
            n, frames, _, h, w = small.shape
            pairs, scale = frames - 1, 20 / 2 ** (l - 1)  # scale: from the network's unit to pixels of the level
            target, following = (v.reshape(n * pairs, 3, h, w) for v in (small[:, :-1], small[:, 1:]))
            flow = flows[l].reshape(n * pairs, 2, h, w)
            by, bx = int(h * 0.1 + 0.5), int(w * 0.1 + 0.5)
            inner = lambda v: v[..., by : h - by, bx : w - bx]
            # The code counts 3 channels a frame pair for smoothness too, which has 2.
            plane = n * pairs * (h - 2 * by) * (w - 2 * bx) * (self.n_ref if caffe else 1)
            warped = self.warp(following, scale * flow)
            result[f"pixel{l}"] = charbonnier(inner(warped - target), 0.4, 255).sum() / (3 * plane)
            # Differences to the right and below; 0 at the last column and row.
            beyond = F.pad(flow, (0, 1, 0, 1), mode="replicate")
            along_x = charbonnier(inner(flow - beyond[..., :-1, 1:]), 0.3, scale)
            along_y = charbonnier(inner(flow - beyond[..., 1:, :-1]), 0.3, scale)
            both = (along_x + along_y).sum((0, 2, 3)) / ((3 if caffe else 2) * plane)
            result[f"smooth_u{l}"], result[f"smooth_v{l}"] = both[0], both[1]
            result[f"ssim{l}"] = SSIM_WEIGHT[l] * self.dissimilarity(l, warped, target).sum() / n
        return result


# ---- numbers that Python and C++ make alike


def bits(name, count):
    """64 random bits for each of `count` indices: SplitMix64 (Steele et al. 2014) from FNV-1a of the name"""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name, count):
    """[-1, 1) in steps of 2^-23, so exact in float"""
    return ((bits(name, count) >> np.uint64(40)).astype(np.float64) - 2**23) / 2**23


def made_parameters(frames, channels, dtype):
    """Weights with msra's variance and small biases; each a float"""
    result = {}
    for name, (shape, fan_in) in parameter_shapes(frames, channels).items():
        bound = 0.05 if fan_in == 0 else math.sqrt(6 / fan_in)
        values = (uniform(name, math.prod(shape)) * bound).astype(np.float32)
        result[name] = torch.from_numpy(values.reshape(shape)).to(dtype)
    return result


def made_clips(batch, frames, height, width):
    """u8 (N,T,H,W,3): a random texture with a knot every 8 pixels that moves by eighths of a pixel a frame"""
    clips = np.zeros((batch, frames, height, width, 3), np.uint8)
    for n in range(batch):
        knots = (bits(f"clip{n}", 128 * 128 * 3) >> np.uint64(56)).astype(np.int64).reshape(128, 128, 3)
        for t in range(frames):
            y = 8 * np.arange(height) + 1024 + (5 - 8 * n) * t
            x = 8 * np.arange(width) + 1024 + (3 * n - 10) * t
            i, j = (y // 64)[:, None], (x // 64)[None]
            a, b = (y % 64)[:, None, None], (x % 64)[None, :, None]
            above = (64 - b) * knots[i, j] + b * knots[i, j + 1]
            below = (64 - b) * knots[i + 1, j] + b * knots[i + 1, j + 1]
            clips[n, t] = ((64 - a) * above + a * below + 2048) >> 12
    return torch.from_numpy(clips)
