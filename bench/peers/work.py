"""The work that is timed, as a PyTorch user would write it who cares for speed. Net and losses are those of
tests/golden/reference.py, which millrace is proved against.

Each class has `inputs`, three or more tuples of tensors that are taken in turn, `module`, what torch.compile compiles,
and `step(*inputs)`.
"""

import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"))

from motionnet import adam_groups, msra_parameters  # noqa: E402
from reference import LEVELS, MEAN_BGR, Losses, frozen, layers, motionnet  # noqa: E402

INPUTS = 3


class Net(torch.nn.Module):
    """u8 clips (N,T,H,W,3) -> level -> flow"""

    def __init__(self, parameters, frames, channels):
        super().__init__()
        self.table = layers(frames, channels)
        self.names = {name: name.replace(".", "_") for name in parameters}
        for name, p in parameters.items():
            p = p.contiguous(memory_format=torch.channels_last) if p.dim() == 4 else p
            self.register_parameter(self.names[name], torch.nn.Parameter(p, requires_grad=not frozen(name)))
        self.register_buffer("mean", torch.tensor(MEAN_BGR).repeat(frames))

    def named(self):
        return {name: self.get_parameter(key) for name, key in self.names.items()}

    def frames(self, clips):
        """-> (N,H,W,3T), so that the net's input lies as channels_last without a copy of floats"""
        n, t, h, w, _ = clips.shape
        return (clips.permute(0, 2, 3, 1, 4).reshape(n, h, w, 3 * t).float() - self.mean) * (1 / 255)

    def forward(self, x):
        return motionnet(self.named(), self.table, x.permute(0, 3, 1, 2))


class Objective(torch.nn.Module):
    def __init__(self, net, losses, autocast):
        super().__init__()
        self.net, self.losses, self.autocast = net, losses, autocast

    def terms(self, clips):
        x = self.net.frames(clips)
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=self.autocast, cache_enabled=False):
            flows = self.net(x)
        n, h, w, c = x.shape
        images = x.view(n, h, w, c // 3, 3).permute(0, 3, 4, 1, 2)
        return self.losses.terms({l: f.float() for l, f in flows.items()}, self.losses.pyramid(images))

    def forward(self, clips):
        return sum(self.terms(clips).values())


def random_clips(o):
    shape = (o.batch, o.frames, o.size, o.size, 3)
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(o.device),) for _ in range(INPUTS)
    ]


def adam(o, net):
    groups = adam_groups(net.named(), 4e-4)
    return torch.optim.Adam(groups, lr=3.2e-5, fused=True, capturable=o.device.type == "cuda")


class Step:
    """Forward, all losses, backward, Adam"""

    def __init__(self, o):
        net = Net(msra_parameters(o.frames, o.channels, 1), o.frames, o.channels).to(o.device)
        losses = Losses((o.size, o.size), torch.float32).to(o.device)
        self.module, self.optimizer = Objective(net, losses, o.precision == "bf16"), adam(o, net)
        self.inputs = random_clips(o)

    def step(self, clips):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.module(clips)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class LossOnly(torch.nn.Module):
    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def forward(self, *tensors):
        flows, images = (dict(zip(LEVELS, part)) for part in (tensors[: len(LEVELS)], tensors[len(LEVELS) :]))
        return sum(self.losses.terms(flows, images).values())


class Loss:
    """The losses of all levels and their gradients, from flows and images of the levels' sizes"""

    def __init__(self, o):
        losses = Losses((o.size, o.size), torch.float32).to(o.device)
        self.module, self.inputs = LossOnly(losses), []
        for _ in range(INPUTS):
            images = torch.rand(o.batch, o.frames, 3, o.size, o.size, device=o.device) - 0.5
            flows = [
                0.1 * torch.randn(o.batch, 2 * (o.frames - 1), o.size >> (l - 1), o.size >> (l - 1), device=o.device)
                for l in LEVELS
            ]
            self.inputs.append((*(f.requires_grad_() for f in flows), *losses.pyramid(images).values()))

    def step(self, *tensors):
        loss = self.module(*tensors)
        self.gradients = torch.autograd.grad(loss, tensors[: len(LEVELS)])
        return loss.detach()


class Adam:
    """An update of all parameters of the net, with gradients that stay"""

    def __init__(self, o):
        self.module = Net(msra_parameters(o.frames, o.channels, 1), o.frames, o.channels).to(o.device)
        for p in self.module.parameters():
            p.grad = 1e-3 * torch.randn_like(p) if p.requires_grad else None
        self.optimizer, self.inputs = adam(o, self.module), [()] * INPUTS

    def step(self):
        self.optimizer.step()


class Flow2(torch.nn.Module):
    def __init__(self, net, dtype):
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, clips):
        return 20 * self.net(self.net.frames(clips).to(self.dtype))[2].float()


class Infer:
    """The finest flow of clips; in bf16 the weights are bf16 too"""

    def __init__(self, o):
        net = Net(msra_parameters(o.frames, o.channels, 1), o.frames, o.channels).to(o.device)
        dtype = torch.bfloat16 if o.precision == "bf16" else torch.float32
        for p in net.parameters():
            p.data = p.data.to(dtype)
        self.module, self.inputs = Flow2(net, dtype), random_clips(o)

    @torch.no_grad()
    def step(self, clips):
        self.flow = self.module(clips)


WORKS = {"step": Step, "loss": Loss, "adam": Adam, "infer": Infer}
