#!/usr/bin/env python3
"""Makes the files of weights that the tests read: tests/golden/weights.py (needs PyTorch; the tests do not).

tests/fuzz/corpus/torch and tests/fuzz/corpus/caffemodel: small files as PyTorch and Caffe write them, and broken or
hostile ones. tests/golden/torchvision.pth: a VGG16 of 1/32 of the width with torchvision's names, in half precision;
its logits on the image that tests/e2e/import.cpp makes are printed, and stand there.
"""
import collections
import io
import pathlib
import struct
import zipfile

import torch

HERE = pathlib.Path(__file__).resolve().parent
TORCH = HERE.parent / "fuzz/corpus/torch"
CAFFE = HERE.parent / "fuzz/corpus/caffemodel"


def arange(*shape, dtype=torch.float32):
    count = 1
    for extent in shape:
        count *= extent
    return torch.arange(count, dtype=torch.float32).reshape(shape).to(dtype) / 4


def nested():
    state = collections.OrderedDict()
    state["module.half"] = arange(2, 3, dtype=torch.float16)
    state["module.double"] = arange(3, dtype=torch.float64)
    state["module.brain"] = arange(2, 2, dtype=torch.bfloat16)
    state["module.steps"] = torch.tensor(7)
    state["module.mask"] = torch.tensor([True, False])
    moment = {"momentum_buffer": arange(2, 3)}
    return {"epoch": 3, "arch": "vgg16", "best_prec1": 0.5, "none": None, "huge": 1 << 100, "state_dict": state,
            "optimizer": {"state": {0: moment}, "param_groups": [{"lr": 0.1, "nesterov": False, "params": [0]}]}}


def strided():
    base = arange(4, 6)
    return {"base": base, "transposed": base.t(), "inner": base[1:3, 2:5], "columns": base[:, ::2],
            "repeated": torch.arange(3.0).reshape(3, 1).expand(3, 2), "empty": torch.zeros(0, 4),
            "scalar": base[2, 3]}


def save(name, value, **options):
    torch.save(value, TORCH / name, **options)


def zip_of(name, pickle, data=b"", prefix="archive/"):
    with zipfile.ZipFile(TORCH / name, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(prefix + "data.pkl", pickle)
        archive.writestr(prefix + "data/0", data)
        archive.writestr(prefix + "version", b"3\n")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(shape, stride, count, offset=0):
    """A pickle of {"w": tensor} with these numbers, however wrong they are."""
    numbers = lambda values: b"(" + b"".join(number(v) for v in values) + b"t"
    number = lambda v: b"\x8a\x08" + struct.pack("<q", v)
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(count) + b"tQ"
    return (b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset)
            + numbers(shape) + numbers(stride) + b"\x89}tRs.")


def torch_files():
    state = collections.OrderedDict([("features.0.weight", arange(2, 3, 2, 2)), ("features.0.bias", arange(2))])
    save("zip", state)
    save("stream", state, _use_new_zipfile_serialization=False)
    save("zip-nested", nested())
    save("stream-nested", nested(), _use_new_zipfile_serialization=False)
    save("zip-strided", strided())
    save("stream-strided", strided(), _use_new_zipfile_serialization=False)
    save("zip-protocol-4", state, pickle_protocol=4)
    save("stream-protocol-5", state, pickle_protocol=5, _use_new_zipfile_serialization=False)
    save("zip-parameter", {"w": torch.nn.Parameter(arange(3))})
    save("zip-one-tensor", arange(3))
    save("zip-model", torch.nn.Linear(2, 2))
    save("stream-model", torch.nn.Linear(2, 2), _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(TORCH / "torchscript"))
    four = struct.pack("<4f", 1, 2, 3, 4)
    zip_of("runs-a-command", b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00true" + b"tR.")
    zip_of("runs-a-command-of-protocol-4", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
    zip_of("runs-a-command-of-protocol-0", b"(S'true'\nios\nsystem\n.")
    zip_of("stands-for-itself", b"\x80\x02}q\x00" + text("self") + b"h\x00s.")
    zip_of("doubles-a-list", b"\x80\x02]q\x00" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(40)) + b".")
    zip_of("deep", b"\x80\x02" + b"]" * 400 + b"a" * 399 + b".")
    zip_of("string-of-2-63", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 63) + b"x.")
    zip_of("good-by-hand", tensor([2, 2], [2, 1], 4), four)
    zip_of("strides-behind-the-end", tensor([2, 2], [3, 1], 4), four)
    zip_of("offset-behind-the-end", tensor([2, 2], [2, 1], 4, 1), four)
    zip_of("negative-stride", tensor([2, 2], [-2, 1], 4, 2), four)
    zip_of("shape-overflows", tensor([1 << 62, 1 << 62], [0, 0], 4), four)
    zip_of("repeated-2-40-times", tensor([1 << 40], [0], 4), four)
    zip_of("storage-of-2-62", tensor([2, 2], [2, 1], 1 << 62), four)
    zip_of("no-storage", tensor([2, 2], [2, 1], 4).replace(text("0"), text("1")), four)
    zip_of("empty-pickle", b"")
    zip_of("no-folder", b"\x80\x02}.", prefix="")
    with zipfile.ZipFile(TORCH / "compressed", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + b" " * 100)
    good = (TORCH / "good-by-hand").read_bytes()
    (TORCH / "one-bit-of-data").write_bytes(good.replace(four, b"\x01" + four[1:]))
    stream = (TORCH / "stream").read_bytes()
    huge = stream.replace(struct.pack("<q", 24), struct.pack("<q", 1 << 61))
    (TORCH / "stream-storage-of-2-61").write_bytes(huge)
    (TORCH / "zip-cut").write_bytes((TORCH / "zip").read_bytes()[:-30])


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def integer(number, value):
    return varint(number << 3) + varint(value)


def blob(shape, values, old=False, doubles=False):
    if old:
        shape = [1] * (4 - len(shape)) + shape
        head = b"".join(integer(i + 1, extent) for i, extent in enumerate(shape))
    else:
        head = field(7, field(1, b"".join(varint(extent) for extent in shape)))
    packed = struct.pack(f"<{len(values)}{'d' if doubles else 'f'}", *values)
    return head + field(8 if doubles else 5, packed)


def layer_2015(name, kind, *blobs):
    return field(100, field(1, name.encode()) + field(2, kind.encode()) + b"".join(field(7, b) for b in blobs))


def layer_2014(name, kind, *blobs):
    return field(2, field(4, name.encode()) + integer(5, kind) + b"".join(field(6, b) for b in blobs))


def layer_2013(name, kind, *blobs):
    return field(2, field(1, field(1, name.encode()) + field(2, kind.encode()) + b"".join(field(50, b) for b in blobs)))


def caffe_files():
    write = lambda name, content: (CAFFE / name).write_bytes(content)
    quarters = lambda n: [i / 4 for i in range(n)]
    net = field(1, b"a net")
    new = (net + layer_2015("data", "Data") + layer_2015("conv1", "Convolution", blob([2, 3, 1, 2], quarters(12)),
                                                         blob([2], [1, 2]))
           + layer_2015("fc8", "InnerProduct", blob([2, 3], quarters(6), doubles=True), blob([2], [3, 4]))
           + layer_2015("bn1", "BatchNorm", blob([2], [5, 6]), blob([2], [7, 8]), blob([1], [9])))
    write("layers-of-2015", new)
    write("layers-of-2014", net + layer_2014("conv1", 4, blob([2, 3, 1, 2], quarters(12), old=True),
                                             blob([2], [1, 2], old=True))
          + layer_2014("relu1", 18)
          + layer_2014("fc8", 14, blob([2, 3], quarters(6), old=True), blob([2], [3, 4], old=True)))
    write("layers-of-2013", net + layer_2013("conv1", "conv", blob([2, 3, 1, 2], quarters(12), old=True),
                                             blob([2], [1, 2], old=True))
          + layer_2013("fc8", "innerproduct", blob([2, 3], quarters(6), old=True), blob([2], [3, 4], old=True)))
    unpacked = field(7, field(1, varint(2))) + b"\x2d" + struct.pack("<f", 1) + b"\x2d" + struct.pack("<f", 2)
    write("values-one-by-one", layer_2015("conv1", "Convolution", unpacked))
    write("layer-longer-than-the-file", net + varint(100 << 3 | 2) + varint(1 << 40) + b"x")
    write("layer-of-2-64", net + varint(100 << 3 | 2) + b"\xff" * 9 + b"\x01" + b"x")
    write("number-too-long", net + b"\xff" * 11)
    write("data-longer-than-its-layer", field(100, field(1, b"conv1") + varint(7 << 3 | 2) + varint(8) + varint(5 << 3 | 2)
                                              + varint(1 << 30) + b"abcd"))
    write("string-longer-than-its-layer", field(100, varint(1 << 3 | 2) + varint((1 << 31) - 1) + b"abcd"))
    write("fewer-values-than-the-shape", layer_2015("conv1", "Convolution", blob([3], [1, 2])))
    write("shape-overflows", layer_2015("conv1", "Convolution", blob([1 << 62, 1 << 62], [1, 2])))
    write("negative-extent", layer_2015("conv1", "Convolution", blob([(1 << 64) - 1, (1 << 64) - 2], [1, 2])))
    write("name-twice", layer_2015("fc8", "InnerProduct", blob([2], [1, 2])) * 2)
    write("floats-and-doubles", field(100, field(1, b"a") + field(7, blob([1], [1]) + blob([1], [1], doubles=True))))
    write("control-in-a-name", layer_2015("a\x1b[2J\n", "InnerProduct", blob([3], [1, 2])))
    write("group-wire-type", net + b"\x0b\x0c")
    write("cut", new[:-3])


WIDTHS = [2, 2, "M", 4, 4, "M", 8, 8, 8, "M", 16, 16, 16, "M", 16, 16, 16, "M"]


def vgg16():
    """torchvision.models.vgg16 at 1/32 of its width, for images of 32x64 pixels."""
    layers, inputs = [], 3
    for width in WIDTHS:
        if width == "M":
            layers.append(torch.nn.MaxPool2d(2, 2))
        else:
            layers += [torch.nn.Conv2d(inputs, width, 3, padding=1), torch.nn.ReLU()]
            inputs = width
    linear, relu, dropout = torch.nn.Linear, torch.nn.ReLU, torch.nn.Dropout
    net = torch.nn.Module()
    net.features = torch.nn.Sequential(*layers)
    net.classifier = torch.nn.Sequential(linear(16 * 2, 128), relu(), dropout(), linear(128, 128), relu(), dropout(),
                                         linear(128, 5))
    for name, parameter in net.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        else:
            torch.nn.init.uniform_(parameter, -0.2, 0.2)
        parameter.data = parameter.data.half().float()
    return net.eval()


def torchvision():
    torch.manual_seed(7)
    net = vgg16()
    torch.save({name: value.half() for name, value in net.state_dict().items()}, HERE / "torchvision.pth")
    rows, columns, channels = torch.meshgrid(torch.arange(32), torch.arange(64), torch.arange(3), indexing="ij")
    bgr = (rows * 7 + columns * 3 + channels * 50 + rows * columns % 31) % 256
    rgb = bgr.flip(2).double() / 255
    normalised = (rgb - torch.tensor([0.485, 0.456, 0.406]).double()) / torch.tensor([0.229, 0.224, 0.225]).double()
    net = net.double()
    x = net.features(normalised.permute(2, 0, 1)[None]).flatten(1)
    print("logits:", ", ".join(f"{v:.7f}" for v in net.classifier(x)[0].tolist()))


for folder in TORCH, CAFFE:
    folder.mkdir(parents=True, exist_ok=True)
torch_files()
caffe_files()
torchvision()
