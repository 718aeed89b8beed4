#!/usr/bin/env python3
"""PyTorch at the work that millrace is timed at, on a GPU or the CPU. Needs Python with PyTorch and NumPy.

  peers.py step  --form compiled --precision bf16    a training step of MotionNet: forward, all losses, backward, Adam
  peers.py loss | adam | infer                       the losses alone with their gradients, an update, the finest flow
  peers.py check                                     this objective against the stored values of tests/golden

Forms: `eager`; `captured`, the whole step as one CUDA graph; `compiled`, by torch.compile in mode max-autotune, which
makes CUDA graphs of its own; `compiled-captured`, by max-autotune-no-cudagraphs, and then the whole step as one graph.

A line of JSON on stdout: `seconds` is the median of --steps steps after --warmup, by CUDA events on a GPU, with random
inputs that are taken in turn; copies into a graph's input are not timed. With --serve it prints a line when it is ready,
and times a round for each line on stdin, so that contenders can take turns without being set up again. Ends with 3 where
a form is not to be had on the device.
"""

import argparse
import itertools
import json
import math
import pathlib
import statistics
import sys
import time

import torch

from work import WORKS, Losses, Net, Objective

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "motionnet.safetensors"
FORMS = ("eager", "captured", "compiled", "compiled-captured")
MODES = {"compiled": "max-autotune", "compiled-captured": "max-autotune-no-cudagraphs"}
NO_SUCH_FORM = 3


def set_precision(precision):
    exact = precision == "fp32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = True


# ---- forms: a work -> function of its inputs that does one step


def copy_into(static, tensors):
    with torch.no_grad():
        for to, source in zip(static, tensors):
            to.copy_(source)


def capture(work, warmup):
    static = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in work.inputs[0])
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warmup):
            work.step(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work.step(*static)

    def replay():
        graph.replay()
        return result

    return replay, lambda tensors: copy_into(static, tensors)


def in_form(work, form, warmup):
    """-> function of no arguments that does a step, and one that gives it its inputs first"""
    if form in MODES:
        work.module = torch.compile(work.module, mode=MODES[form])
    if form.endswith("captured"):
        return capture(work, warmup)
    current = [work.inputs[0]]

    def step():
        if form == "compiled":
            torch.compiler.cudagraph_mark_step_begin()
        return work.step(*current[0])

    return step, lambda tensors: current.__setitem__(0, tensors)


# ---- the clock


def time_on_gpu(step, give, inputs, count):
    marks = []
    for _ in range(count):
        give(next(inputs))
        pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        pair[0].record()
        result = step()
        pair[1].record()
        marks.append(pair)
    torch.cuda.synchronize()
    return [a.elapsed_time(b) * 1e-3 for a, b in marks], result


def time_on_cpu(step, give, inputs, count):
    seconds = []
    for _ in range(count):
        give(next(inputs))
        start = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def about(o):
    gpu = o.device.type == "cuda"
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(o.device) if gpu else torch.backends.cpu.get_cpu_capability(),
        "cudnn": torch.backends.cudnn.version(),
        **{key: getattr(o, key) for key in ("work", "form", "precision", "batch", "frames", "size", "channels")},
    }


def run(o):
    if o.device.type != "cuda" and o.form.endswith("captured"):
        print(f"peers.py: --form {o.form} needs a GPU; {o.device} has no graphs.", file=sys.stderr)
        return NO_SUCH_FORM
    set_precision(o.precision)
    start = time.perf_counter()
    work = WORKS[o.work](o)
    step, give = in_form(work, o.form, o.warmup)
    clock = time_on_gpu if o.device.type == "cuda" else time_on_cpu
    inputs = itertools.cycle(work.inputs)
    clock(step, give, inputs, o.warmup)
    facts = {**about(o), "setup_seconds": time.perf_counter() - start}
    if o.serve:
        print(json.dumps({"ready": True, **facts}), flush=True)
    for _ in sys.stdin if o.serve else [0]:
        seconds, result = clock(step, give, inputs, o.steps)
        loss = None if result is None else result.item()
        facts["peak_bytes"] = torch.cuda.max_memory_allocated() if o.device.type == "cuda" else None
        print(
            json.dumps({"seconds": statistics.median(seconds), "all": seconds, "loss": loss, **facts}), flush=True
        )
    return 0


# ---- the same work?


def check(o):
    from motionnet import CASES, read_safetensors
    from reference import made_clips, made_parameters

    stored, worst = read_safetensors(GOLDEN), 0.0
    set_precision("fp32")
    for case in o.cases.split(","):
        c = CASES[case]
        net = Net(made_parameters(c["frames"], c["channels"], torch.float32), c["frames"], c["channels"])
        losses = Losses(c["size"], torch.float32, c["normalization"])
        objective = Objective(net, losses, False).to(o.device)
        terms = objective.terms(made_clips(c["batch"], c["frames"], *c["size"]).to(o.device))
        loss = sum(terms.values())
        loss.backward()
        values = {**terms, "loss": loss}
        errors = {n: abs(v.item() / stored[f"{case}/{n}"].item() - 1) for n, v in values.items()}
        for name, p in net.named().items():
            whole, digest = (stored.get(f"{case}/gradient/{name}{end}") for end in ("", "/digest"))
            norm = float(whole.norm() if whole is not None else digest[0])  # a digest begins with the norm
            if p.grad is not None:
                errors[f"norm of the gradient of {name}"] = abs(float(p.grad.double().norm()) / norm - 1)
        name = max(errors, key=errors.get)
        worst = max(worst, errors[name] if math.isfinite(errors[name]) else math.inf)
        print(
            json.dumps({
                "case": case, "loss": loss.item(), "stored_loss": stored[f"{case}/loss"].item(),
                "compared": len(errors), "largest_relative_difference": errors[name], "of": name,
            }), flush=True,
        )
    return 0 if worst < o.tolerance else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=[*WORKS, "check"])
    parser.add_argument("--form", choices=FORMS, default="eager")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32",
                        help="bf16: autocast; other float32 products then as tf32")
    parser.add_argument("--device", type=torch.device, default="cuda")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=11, help="of a clip")
    parser.add_argument("--size", type=int, default=224, help="height and width")
    parser.add_argument("--channels", type=float, default=1.0, help="factor of the paper's widths")
    parser.add_argument("--warmup", type=int, default=10, help="steps before the clock starts")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of a round")
    parser.add_argument("--serve", action="store_true", help="a round for each line on stdin")
    parser.add_argument("--cases", default="small,clip", help="of check: golden cases")
    parser.add_argument("--tolerance", type=float, default=2e-3, help="of check: largest relative difference")
    return parser.parse_args()


def main():
    o = parse()
    return check(o) if o.work == "check" else run(o)


if __name__ == "__main__":
    sys.exit(main())
