#!/usr/bin/env python3
"""VGG16 and the stacked temporal stream in PyTorch, to prove millrace against and to race it.

  vgg16.py write        computes logits, losses, gradients and updates in double and writes vgg16.safetensors
  vgg16.py check        computes them again and compares with what is stored
  vgg16.py time         times training steps of VGG16 or inference of a stacked stream: the opponent of
                        bench/versus_pytorch vgg16 and stacked

Needs PyTorch and NumPy, as motionnet.py does, which says how the file holds what is too large for it. The test that
reads the stored arrays is tests/unit/vgg16_golden.cpp.

Written from the papers (Simonyan & Zisserman, arXiv 1409.1556, configuration D; Zhu et al., arXiv 1704.00389) and the
authors' end_train_val.prototxt, not from millrace: x20, clip, +20, x6.375, a bilinear deconvolution and -128 between
MotionNet and VGG16, a softmax loss, and SGD as Caffe's sgd_solver.cpp has it, with its multipliers.
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

import motionnet as golden
from reference import (
    Losses,
    bits,
    decays,
    frozen,
    layers,
    made_clips,
    motionnet,
    normalise,
    parameter_shapes,
    uniform,
    warp_by_taps,
)

STORE = pathlib.Path(__file__).resolve().parent / "vgg16.safetensors"

# ---- the network

CONVOLUTIONS = [("conv1", 2, 64), ("conv2", 2, 128), ("conv3", 3, 256), ("conv4", 3, 512), ("conv5", 3, 512)]


def vgg_shapes(scope, cin, size, classes, channels):
    """name -> (shape, fan in), in the order of the layers"""
    width = lambda n: max(1, round(n * channels))
    shapes, last = {}, cin

    def add(name, shape):
        shapes[f"{scope}.{name}.weight"] = (shape, math.prod(shape[1:]))
        shapes[f"{scope}.{name}.bias"] = ((shape[0],), 0)

    for group, count, n in CONVOLUTIONS:
        for k in range(1, count + 1):
            add(f"{group}_{k}", (width(n), last, 3, 3))
            last = width(n)
    add("fc6", (width(4096), last * (size[0] // 32) * (size[1] // 32)))
    add("fc7", (width(4096), width(4096)))
    add("fc8", (classes, width(4096)))
    return shapes


def vgg16(parameters, scope, x, dropout=None):
    """x (N,C,H,W) -> logits (N,classes)"""
    of = lambda name: (parameters[f"{scope}.{name}.weight"], parameters[f"{scope}.{name}.bias"])
    for group, count, _ in CONVOLUTIONS:
        for k in range(1, count + 1):
            x = F.relu(F.conv2d(x, *of(f"{group}_{k}"), padding=1), inplace=True)
        x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    for k, name in enumerate(("fc6", "fc7")):
        x = F.relu(F.linear(x, *of(name)), inplace=True)
        x = F.dropout(x, dropout[k]) if dropout else x
    return F.linear(x, *of("fc8"))


def flow_to_input(p, quantise=False, replicate=False):
    """The authors' chain of layers from predict_flow2 (N,2L,h,w) to the input of VGG16 (N,2L,2h,2w)"""
    z = F.relu(20 * p + 20)  # clip to [-20, 20] by two ReLUs
    z = F.relu(40 - z)
    z = ((20 - z) + 20) * 6.375
    if quantise:  # rounded, with the gradient passed straight through
        z = z + (z.round() - z).detach()
    channels = z.shape[1]
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25], dtype=p.dtype)
    kernel = (tent[:, None] * tent).expand(channels, 1, 4, 4)
    if replicate:  # the border continued by one pixel, which the deconvolution turns into two at each side
        z = F.pad(z, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(z, kernel, stride=2, padding=3, groups=channels) - 128
    return F.conv_transpose2d(z, kernel, stride=2, padding=1, groups=channels) - 128


# ---- golden arrays

WHOLE = 512
CASES = {
    "spatial": dict(kind="spatial", batch=2, size=(32, 64), channels=1 / 16, classes=5),
    "temporal": dict(kind="temporal", batch=3, size=(64, 32), channels=1 / 16, classes=7, flows=3, sgd=True),
    "clip": dict(kind="temporal", batch=1, size=(224, 224), channels=1 / 8, classes=101, flows=10),
    "action": dict(kind="stacked", batch=2, size=(64, 96), channels=1 / 16, classes=5, flows=2),
    "joint": dict(kind="stacked", batch=2, size=(64, 96), channels=1 / 16, classes=5, flows=2, joint=True, sgd=True),
    "replicate": dict(
        kind="stacked", batch=2, size=(64, 96), channels=1 / 16, classes=5, flows=2, replicate=True, quantise=True
    ),
}
MOTIONNET_CHANNELS = 1 / 8
MEAN_BGR = (104.0, 117.0, 123.0)
SGD = dict(rate=1e-6, momentum=0.9, decay=5e-4, multiplier=1000)


def made_parameters(shapes):
    """As reference.made_parameters, but for a finest flow head three times as large, so that some flows are clipped,
    and a small last layer, so that the softmax is not all 0 and 1
    """
    result = {}
    for name, (shape, fan_in) in shapes.items():
        bound = 0.05 if fan_in == 0 else math.sqrt(6 / fan_in)
        values = (uniform(name, math.prod(shape)) * bound).astype(np.float32)
        factor = 3 if "conv_pr2" in name else 2**-7 if "fc8.weight" in name else 1
        result[name] = torch.from_numpy(values.reshape(shape)).double() * factor
    return result


def network_input(o, parameters):
    """What VGG16 sees, the images of the losses, and the flows"""
    height, width = o["size"]
    if o["kind"] == "stacked":
        images = normalise(made_clips(o["batch"], o["flows"] + 1, height, width), torch.float64)
        flows = motionnet(parameters, layers(o["flows"] + 1, MOTIONNET_CHANNELS), images.flatten(1, 2))
        return flow_to_input(flows[2], o.get("quantise", False), o.get("replicate", False)), images, flows
    if o["kind"] == "spatial":
        frames = made_clips(o["batch"], 1, height, width)[:, 0].permute(0, 3, 1, 2).double()
        return frames - torch.tensor(MEAN_BGR, dtype=torch.float64).view(3, 1, 1), None, None
    count = o["batch"] * height * width * 2 * o["flows"]
    pairs = (bits("flow pairs", count) >> np.uint64(56)).astype(np.float64)
    pairs = torch.from_numpy(pairs.reshape(o["batch"], height, width, 2 * o["flows"]))
    return pairs.permute(0, 3, 1, 2) - 128, None, None


def end_to_end_losses(size, images, flows):
    """The unsupervised terms as the joint training weighs them: SSIM a tenth of what it was, n_ref 8"""
    losses = Losses(size, torch.float64, "caffe", n_ref=8, warp=warp_by_taps)
    terms = losses.terms(flows, losses.pyramid(images))
    return {name: value / 10 if name.startswith("ssim") else value for name, value in terms.items()}


def sgd_updates(parameters, gradients):
    """The change of each parameter by an update of Caffe's SGD, from velocities made up here"""
    updates = {}
    for name, p in parameters.items():
        bias, vgg = name.endswith("bias"), not name.startswith("motionnet.")
        multiplier = SGD["multiplier"] * (2 if bias else 1) if vgg else 0 if frozen(name) else 1
        decay = SGD["decay"] * ((0 if bias else 1) if vgg else (1 if decays(name) else 0))
        velocity = torch.from_numpy(uniform(name + "/moment1", p.numel()).reshape(p.shape)) * 2**-7
        g = gradients[name] + decay * p
        v = SGD["momentum"] * velocity + SGD["rate"] * multiplier * g
        updates[name] = -v if multiplier else torch.zeros_like(p)
    return updates


def compute(case):
    """name -> tensor of all results of a case, in double"""
    o = CASES[case]
    stacked, cin = o["kind"] == "stacked", 3 if o["kind"] == "spatial" else 2 * o["flows"]
    scope = "spatial" if o["kind"] == "spatial" else "temporal"
    shapes = parameter_shapes(o["flows"] + 1, MOTIONNET_CHANNELS) if stacked else {}
    shapes = {**shapes, **vgg_shapes(scope, cin, o["size"], o["classes"], o["channels"])}
    parameters = {name: p.requires_grad_(True) for name, p in made_parameters(shapes).items()}
    x, images, flows = network_input(o, parameters)
    logits = vgg16(parameters, scope, x)
    labels = torch.tensor([(3 * n + 1) % o["classes"] for n in range(o["batch"])])
    results = {"input": x.detach(), "logits": logits.detach(), "action": F.cross_entropy(logits, labels)}
    terms = end_to_end_losses(o["size"], images, flows) if o.get("joint") else {}
    loss = results["action"] + sum(terms.values())
    results["loss"] = loss
    results = {name: v.detach().reshape(1) if v.dim() == 0 else v for name, v in results.items()}
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    named = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(parameters.items(), gradients)}
    results.update({f"gradient/{name}": g for name, g in named.items()})
    if o.get("sgd"):
        updates = sgd_updates({n: p.detach() for n, p in parameters.items()}, named)
        results.update({f"sgd/{name}": u for name, u in updates.items()})
    clipped = float((flows[2].detach().abs() >= 1).double().mean()) if flows else 0
    largest = {n: float(g.abs().max()) for n, g in named.items() if "conv1" in n and n.endswith("weight")}
    print(f"{case}: loss {loss.item():.9f}, clipped {100 * clipped:.1f} % of flows, gradients {largest}", file=sys.stderr)
    return results


def stored(case, results):
    """What the file has of the results: what is small whole, of others the digest"""
    for name, value in results.items():
        if value.numel() <= WHOLE:
            yield f"{case}/{name}", value
        else:
            yield f"{case}/{name}/digest", golden.digest(name, value.contiguous())


def write(o):
    tensors = {}
    for case in CASES:
        tensors.update(stored(case, compute(case)))
    golden.write_safetensors(o.file, tensors)
    print(f"{o.file}: {len(tensors)} tensors, {pathlib.Path(o.file).stat().st_size} bytes")


def check(o):
    was, worst, count = golden.read_safetensors(o.file), (0.0, "nothing"), 0
    for case in o.cases.split(","):
        for name, value in stored(case, compute(case)):
            error = float((value - was[name]).norm() / was[name].norm().clamp(min=1e-300))
            worst, count = max(worst, (error, name)), count + 1
    print(f"{count} tensors, the largest relative L2 difference {worst[0]:.1e}, of {worst[1]}")
    return 0 if count and worst[0] < 1e-10 else 1


# ---- speed, in float, as fast as PyTorch does it without changing the arithmetic


def random_parameters(shapes, memory_format):
    made = lambda shape, fan_in: torch.randn(shape) * math.sqrt(2 / fan_in) if fan_in else torch.zeros(shape)
    return {
        name: made(*shape).contiguous(memory_format=memory_format) if len(shape[0]) == 4 else made(*shape)
        for name, shape in shapes.items()
    }


class Training:
    """A step of VGG16 on stacked flows: dropout, softmax loss, SGD with momentum and Caffe's multipliers"""

    def __init__(self, o, memory_format):
        self.format = memory_format
        shapes = vgg_shapes("temporal", 20, (o.size, o.size), 101, 1)
        self.parameters = {n: p.requires_grad_(True) for n, p in random_parameters(shapes, memory_format).items()}
        self.pairs = torch.randint(0, 256, (o.batch, o.size, o.size, 20), dtype=torch.uint8)
        self.labels = torch.arange(o.batch) % 101
        group = lambda kind, **options: {"params": [p for n, p in self.parameters.items() if n.endswith(kind)], **options}
        groups = [group("weight", lr=1e-5, weight_decay=5e-4), group("bias", lr=2e-5, weight_decay=0)]
        self.optimizer = torch.optim.SGD(groups, momentum=0.9, fused=True)

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        x = (self.pairs.permute(0, 3, 1, 2).float() - 128).contiguous(memory_format=self.format)
        loss = F.cross_entropy(vgg16(self.parameters, "temporal", x, (0.9, 0.8)), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Inference:
    """MotionNet, flow_to_input and VGG16: clips of 11 frames to logits"""

    def __init__(self, o, memory_format):
        self.format, self.table = memory_format, layers(11, 1)
        shapes = {**parameter_shapes(11, 1), **vgg_shapes("temporal", 20, (o.size, o.size), 101, 1)}
        self.parameters = random_parameters(shapes, memory_format)
        self.clips = torch.randint(0, 256, (o.batch, 11, o.size, o.size, 3), dtype=torch.uint8)

    def run(self):
        with torch.inference_mode():
            images = normalise(self.clips, torch.float32).flatten(1, 2).contiguous(memory_format=self.format)
            x = flow_to_input(motionnet(self.parameters, self.table, images)[2])
            return float(vgg16(self.parameters, "temporal", x.contiguous(memory_format=self.format)).sum())


def time_runs(o):
    torch.set_num_threads(o.threads)
    memory_format = torch.channels_last if o.layout == "channels_last" else torch.contiguous_format
    work, seconds = (Inference if o.work == "stacked" else Training)(o, memory_format), []
    for k in range(o.warmup + o.steps):
        start = time.perf_counter()
        work.run()
        if k >= o.warmup:
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    shown = {"seconds": float(np.median(seconds)), "all": seconds, "batch": o.batch, "layout": o.layout}
    print(json.dumps({**shown, "peak_bytes": peak, **golden.about_pytorch()}))


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

    p = command("write", write, "compute the golden arrays in double and write them")
    p.add_argument("--file", default=STORE, help="the file to write")
    p = command("check", check, "compute them again; fails when one differs by more than 1e-10 in relative L2")
    p.add_argument("--file", default=STORE, help="the file to compare with")
    p.add_argument("--cases", default=",".join(CASES), help="some of them")
    p = command("time", time_runs, "seconds of a run, and peak memory of the process, as JSON")
    p.add_argument("--work", choices=["vgg16", "stacked"], default="vgg16", help="a training step, or inference")
    p.add_argument("--batch", type=int, default=2, help="clips a step")
    p.add_argument("--threads", type=int, default=2, help="of PyTorch")
    p.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last", help="memory format")
    p.add_argument("--size", type=int, default=224, help="height and width")
    p.add_argument("--warmup", type=int, default=2, help="steps before the clock starts")
    p.add_argument("--steps", type=int, default=5, help="timed steps")
    return parser.parse_args()


def main():
    o = parse()
    return o.run(o) or 0


if __name__ == "__main__":
    sys.exit(main())
