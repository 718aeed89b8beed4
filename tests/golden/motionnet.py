#!/usr/bin/env python3
"""MotionNet in PyTorch, to prove millrace against and to race it. The net itself is in reference.py.

  motionnet.py write        computes losses, flows and gradients in double and writes motionnet.safetensors
  motionnet.py check        computes them again and compares with what is stored
  motionnet.py time         times training steps: the opponent of bench/versus_pytorch step
  motionnet.py learn        trains on clips from disk: the opponent of bench/versus_pytorch learning

Needs PyTorch and NumPy, and Pillow for `learn`: pip install torch numpy pillow. Only developers need them; the test
that reads the stored arrays, tests/unit/golden.cpp, does not.

Parameters and clips are made by formulas, so that the file holds results only. A tensor of up to 4096 elements (flows
of the small case: 16384) is stored whole. Of a larger one, and in the other cases of nearly all, the file has a digest:
its L2 norm, its products with 64 random vectors of +1 and -1, and 256 of its elements. The mean square of such a
product is the squared norm, so the root mean square of 64 products' differences is an estimate of the L2 norm of the
difference, with a standard deviation of a tenth of it.
"""

import argparse
import json
import math
import pathlib
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from reference import (
    Losses,
    bits,
    decays,
    frozen,
    layers,
    made_clips,
    made_parameters,
    motionnet,
    normalise,
    parameter_shapes,
    uniform,
    warp_by_taps,
)

STORE = pathlib.Path(__file__).resolve().parent / "motionnet.safetensors"


# ---- golden arrays

WHOLE = 4096
DIGEST = 1 + 64 + 256  # a tensor that is not larger than its digest is stored whole
CASES = {
    "small": dict(frames=3, batch=2, size=(64, 96), channels=1 / 8, normalization="caffe", whole=16384),
    "small_mean": dict(frames=3, batch=2, size=(64, 96), channels=1 / 8, normalization="mean", whole=0),
    "clip": dict(frames=11, batch=1, size=(224, 224), channels=1 / 8, normalization="caffe", whole=0),
    "full": dict(frames=11, batch=1, size=(224, 224), channels=1, normalization="caffe", whole=0),
}
ADAM = dict(rate=1e-3, decay=4e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, step=3)


def digest(name, values):
    flat = values.reshape(-1).numpy()
    signs, products = bits(name + "/signs", flat.size), np.zeros(64)
    for at in range(0, flat.size, 1 << 16):
        part = signs[at : at + (1 << 16)].view(np.uint8).reshape(-1, 8)
        products += flat[at : at + (1 << 16)] @ (2.0 * np.unpackbits(part, axis=1, bitorder="little") - 1)
    samples = flat[(bits(name + "/samples", 256) % np.uint64(flat.size)).astype(np.int64)]
    return torch.from_numpy(np.concatenate([[np.linalg.norm(flat)], products, samples]))


def adam_updates(parameters, gradients):
    """The change of each parameter by the third update of Caffe's Adam, from moments made up here"""
    o, updates = ADAM, {}
    rate = o["rate"] * math.sqrt(1 - o["beta2"] ** o["step"]) / (1 - o["beta1"] ** o["step"])
    for name, p in parameters.items():
        made = lambda moment: torch.from_numpy(uniform(f"{name}/{moment}", p.numel()).reshape(p.shape))
        g = gradients[name] + (o["decay"] if decays(name) else 0) * p
        m = o["beta1"] * made("moment1") * 2**-7 + (1 - o["beta1"]) * g
        v = o["beta2"] * (made("moment2") * 2**-7) ** 2 + (1 - o["beta2"]) * g * g
        updates[name] = torch.zeros_like(p) if frozen(name) else -rate * m / (v.sqrt() + o["epsilon"])
    return updates


def distance_to_kinks(flows):
    """How near a sample of the warp comes to a pixel's centre, where the gradient jumps"""
    at = (20 / 2 ** (l - 1) * flow.detach() for l, flow in flows.items())
    return min(float((v - v.round()).abs().min()) for v in at)


def compute(case):
    """name -> tensor of all results of a case, in double"""
    o = CASES[case]
    table = layers(o["frames"], o["channels"])
    parameters = made_parameters(o["frames"], o["channels"], torch.float64)
    images = normalise(made_clips(o["batch"], o["frames"], *o["size"]), torch.float64)
    for p in parameters.values():
        p.requires_grad_(True)
    flows = motionnet(parameters, table, images.flatten(1, 2))
    kinks = distance_to_kinks(flows)
    if kinks < 1e-9:
        raise SystemExit(f"{case}: a sample is {kinks:.1e} from a kink of the warp; choose other parameters")
    losses = Losses(o["size"], torch.float64, o["normalization"], warp=warp_by_taps)
    pyramid = losses.pyramid(images)
    terms = losses.terms(flows, pyramid)
    fast = Losses(o["size"], torch.float64, o["normalization"]).terms(flows, pyramid)
    for name, value in terms.items():
        if not math.isclose(value.item(), fast[name].item(), rel_tol=1e-9):
            raise SystemExit(f"{case}: {name} is {value.item()} by taps, {fast[name].item()} by grid_sample")
    loss = sum(terms.values())
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))
    results = {name: value.detach().reshape(1) for name, value in terms.items()}
    results["loss"] = loss.detach().reshape(1)
    results.update({f"flow{l}": flow.detach().contiguous() for l, flow in flows.items()})
    results.update({f"gradient/{name}": g for name, g in gradients.items()})
    if case == "small":
        plain = {name: p.detach() for name, p in parameters.items()}
        results.update({f"adam/{name}": u for name, u in adam_updates(plain, gradients).items()})
    size = {l: float(20 / 2 ** (l - 1) * f.detach().square().mean().sqrt()) for l, f in flows.items()}
    print(
        f"{case}: loss {loss.item():.9f}, flow in pixels of its level "
        + ", ".join(f"{l}: {v:.2f}" for l, v in size.items())
        + f", nearest kink {kinks:.0e}",
        file=sys.stderr,
    )
    return results


def stored(case, results):
    """What the file has of the results: losses and small tensors whole, of others the digest"""
    for name, value in results.items():
        whole = CASES[case]["whole"]
        limit = max(DIGEST, whole if name.startswith("flow") else min(whole, WHOLE))
        if value.numel() <= limit:
            yield f"{case}/{name}", value
        else:
            yield f"{case}/{name}/digest", digest(name, value)


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, value in tensors.items():
        kind = {torch.float64: "F64", torch.float32: "F32"}[value.dtype]
        end = at + value.numel() * value.element_size()
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            f.write(value.contiguous().numpy().tobytes())


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            a, b = entry["data_offsets"]
            kind = {"F64": np.float64, "F32": np.float32}[entry["dtype"]]
            tensors[name] = torch.from_numpy(np.frombuffer(data[start + a : start + b], kind).copy()).reshape(
                entry["shape"]
            )
    return tensors


def write(o):
    tensors = {}
    for case in CASES:
        tensors.update(stored(case, compute(case)))
    write_safetensors(o.file, tensors)
    print(f"{o.file}: {len(tensors)} tensors, {pathlib.Path(o.file).stat().st_size} bytes")


def check(o):
    was, worst, count = read_safetensors(o.file), (0.0, "nothing"), 0
    for case in o.cases.split(","):
        for name, value in stored(case, compute(case)):
            error = float((value - was[name]).norm() / was[name].norm().clamp(min=1e-300))
            worst, count = max(worst, (error, name)), count + 1
    print(f"{count} tensors, the largest relative L2 difference {worst[0]:.1e}, of {worst[1]}")
    return 0 if count and worst[0] < 1e-10 else 1


# ---- training, in float, as fast as PyTorch does it without changing the arithmetic


def adam_groups(parameters, weight_decay):
    moving = {name: p for name, p in parameters.items() if not frozen(name)}
    return [
        {"params": [p for name, p in moving.items() if decays(name)], "weight_decay": weight_decay},
        {"params": [p for name, p in moving.items() if not decays(name)], "weight_decay": 0.0},
    ]


class Trainer:
    def __init__(self, parameters, o, frames, size):
        self.format = torch.channels_last if o.layout == "channels_last" else torch.contiguous_format
        self.frames, self.table = frames, layers(frames, o.channels)
        self.parameters = {
            name: (p.contiguous(memory_format=self.format) if p.dim() == 4 else p).requires_grad_(not frozen(name))
            for name, p in parameters.items()
        }
        groups = adam_groups(self.parameters, o.weight_decay)
        self.optimizer = torch.optim.Adam(groups, lr=o.learning_rate, fused=True)
        self.losses = Losses(size, torch.float32)

    def flows(self, images):
        return motionnet(self.parameters, self.table, images.flatten(1, 2).contiguous(memory_format=self.format))

    def step(self, clips):
        self.optimizer.zero_grad(set_to_none=True)
        images = normalise(clips, torch.float32)
        loss = sum(self.losses.terms(self.flows(images), self.losses.pyramid(images)).values())
        loss.backward()
        self.optimizer.step()
        return loss.item()


def msra_parameters(frames, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * math.sqrt(2 / fan_in) if fan_in else torch.zeros(shape)
        for name, (shape, fan_in) in parameter_shapes(frames, channels).items()
    }


def about_pytorch():
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def time_steps(o):
    torch.set_num_threads(o.threads)
    trainer = Trainer(msra_parameters(o.frames, o.channels, 1), o, o.frames, (o.size, o.size))
    clips = torch.randint(0, 256, (o.batch, o.frames, o.size, o.size, 3), dtype=torch.uint8)
    seconds = []
    for k in range(o.warmup + o.steps):
        start = time.perf_counter()
        loss = trainer.step(clips)
        if k >= o.warmup:
            seconds.append(time.perf_counter() - start)
    if o.checkpoint:
        with torch.no_grad():
            images = normalise(clips[:1], torch.float32)
            trainer.losses.terms(trainer.flows(images), trainer.losses.pyramid(images))
        torch.save({"model": trainer.parameters, "optimizer": trainer.optimizer.state_dict()}, o.checkpoint)
    print(
        json.dumps(
            {
                "seconds": float(np.median(seconds)),
                "all": seconds,
                "loss": loss,
                "batch": o.batch,
                "layout": o.layout,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                **about_pytorch(),
            }
        )
    )


def read_clips(folder):
    """Folders of frames -> u8 (N,T,H,W,3) B G R, flow of the first pair (N,2,H,W) or None"""
    from PIL import Image

    clips, truth = [], []
    for item in sorted(p for p in pathlib.Path(folder).iterdir() if p.is_dir()):
        files = sorted(p for p in item.iterdir() if p.suffix.lower() in (".png", ".ppm", ".jpg", ".jpeg"))
        if len(files) >= 2:
            clips.append(np.stack([np.asarray(Image.open(f).convert("RGB"))[:, :, ::-1] for f in files[:2]]))
            truth += [np.fromfile(f, np.float32, offset=12) for f in sorted(item.glob("*.flo"))[:1]]
    if not clips:
        raise SystemExit(f"{folder}: expected folders of at least two frames each, found none")
    clips = np.stack(clips)
    if len(truth) != len(clips):
        return clips, None
    return clips, torch.from_numpy(np.stack(truth).reshape(len(clips), *clips.shape[2:4], 2)).permute(0, 3, 1, 2)


def end_point_error(trainer, clips, truth, border):
    h, w = clips.shape[2:4]
    with torch.no_grad():
        flow = torch.cat(
            [
                trainer.flows(normalise(torch.from_numpy(c), torch.float32))[2]
                for c in np.array_split(clips, math.ceil(len(clips) / 8))
            ]
        )
        flow = F.interpolate(20 * flow, (h, w), mode="bilinear", align_corners=False)
        return float((flow - truth).square().sum(1).sqrt()[:, border : h - border, border : w - border].mean())


def learn(o):
    torch.set_num_threads(o.threads)
    clips, _ = read_clips(o.clips)
    held_out, truth = read_clips(o.validation)
    if truth is None:
        raise SystemExit(f"{o.validation}: expected a .flo file beside the frames of each clip")
    parameters = msra_parameters(2, o.channels, o.seed)
    if o.save_initial:
        write_safetensors(o.save_initial, parameters)
    trainer = Trainer(parameters, o, 2, clips.shape[2:4])
    random = np.random.default_rng(o.seed)
    rate_changes = [int(step) for step in o.lr_steps.split(",") if step]
    order, spent, step = [], 0.0, 0
    report = lambda **more: print(
        json.dumps(
            {"step": step, "seconds": spent, "epe": end_point_error(trainer, held_out, truth, o.border), **more}
        ),
        flush=True,
    )
    report(**about_pytorch())
    while spent < o.seconds and step < o.iterations:
        start = time.perf_counter()
        if len(order) < o.batch:
            order = list(random.permutation(len(clips)))
        batch, order = clips[order[: o.batch]], order[o.batch :]
        mirrored = random.random(o.batch) < o.mirror
        batch[mirrored] = batch[mirrored][:, :, :, ::-1]
        for group in trainer.optimizer.param_groups:  # as optim/schedule.h: after each of the steps, times .5
            group["lr"] = o.learning_rate * 0.5 ** sum(step >= change for change in rate_changes)
        loss = trainer.step(torch.from_numpy(batch))
        spent += time.perf_counter() - start
        step += 1
        if step % o.every == 0:
            report(loss=loss)
    if step % o.every:
        report(loss=loss)


# ---- the command line


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, about):
        p = commands.add_parser(
            name, help=about, description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        p.set_defaults(run=run)
        return p

    def training(p, **defaults):
        for name, about in {
            "channels": "factor of the paper's widths",
            "learning-rate": "of Adam",
            "weight-decay": "of " "convolutions' weights",
        }.items():
            p.add_argument("--" + name, type=float, default=defaults[name.replace("-", "_")], help=about)
        p.add_argument("--batch", type=int, default=defaults["batch"], help="clips a step")
        p.add_argument("--threads", type=int, default=2, help="of PyTorch")
        p.add_argument(
            "--layout", choices=["channels_last", "contiguous"], default="channels_last", help="memory format"
        )

    p = command("write", write, "compute the golden arrays in double and write them")
    p.add_argument("--file", default=STORE, help="the file to write")
    p = command("check", check, "compute them again; fails when one differs by more than 1e-10 in relative L2")
    p.add_argument("--file", default=STORE, help="the file to compare with")
    p.add_argument("--cases", default=",".join(CASES), help="some of them")
    p = command("time", time_steps, "seconds of a training step, and peak memory of the process, as JSON")
    training(p, channels=1.0, learning_rate=3.2e-5, weight_decay=4e-4, batch=1)
    p.add_argument("--frames", type=int, default=11, help="of a clip")
    p.add_argument("--size", type=int, default=224, help="height and width")
    p.add_argument("--warmup", type=int, default=2, help="steps before the clock starts")
    p.add_argument("--steps", type=int, default=5, help="timed steps")
    p.add_argument("--checkpoint", help="at the end validate on one clip and save parameters and moments there")
    p = command(
        "learn", learn, "train on pairs of frames from disk; end-point error over training seconds, a line of JSON each"
    )
    training(p, channels=0.25, learning_rate=1e-3, weight_decay=0.0, batch=8)
    p.add_argument("--clips", required=True, help="folder of folders of frames")
    p.add_argument("--validation", required=True, help="the same, with .flo files")
    p.add_argument("--seconds", type=float, default=90, help="of training steps, data included, validation not")
    p.add_argument("--iterations", type=int, default=10**9, help="stop after so many")
    p.add_argument("--every", type=int, default=50, help="steps between validations")
    p.add_argument("--border", type=int, default=16, help="pixels at the border that do not count")
    p.add_argument("--mirror", type=float, default=0.5, help="chance that a clip is mirrored")
    p.add_argument("--lr-steps", default="", help="steps, separated by commas, after which the rate halves")
    p.add_argument("--seed", type=int, default=1, help="of initial weights, order and mirroring")
    p.add_argument("--save-initial", help="write the weights it starts from to this safetensors file")
    return parser.parse_args()


def main():
    o = parse()
    return o.run(o) or 0


if __name__ == "__main__":
    sys.exit(main())
