"""Prints the numbers that tests/unit/fusion.cpp and accuracy.cpp expect of 101 classes and 500 videos.

Written from the definitions, apart from the C++: sorted lists, exact fractions for relu-l1, no shared code.
"""
from fractions import Fraction
from math import exp, fsum, sqrt

CLASSES, VIDEOS = 101, 500


def numbers(seed):
    """Multiples of 2^-22 in [0, 1), which floats hold."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield Fraction(state >> 42, 2**22)


def stream(seed, skill):
    u = numbers(seed)
    rows = []
    for video in range(VIDEOS):
        label = video * video // 7 % (CLASSES - 1)  # uneven; the last class has no video
        row = [next(u) * 8 - 4 for _ in range(CLASSES)]
        row[label] += skill
        if video % 50 == 7:
            row = [v - 16 for v in row]  # no positive logit
        rows.append((label, row))
    return rows


def relu_l1(row):
    positive = [max(v, Fraction(0)) for v in row]
    total = sum(positive)
    return [v / total for v in positive] if total else [Fraction(0)] * len(row)


def softmax(row):
    e = [exp(float(v)) for v in row]
    return [v / fsum(e) for v in e]


def fused(streams, weights, of):
    result = []
    for rows in zip(*streams):
        parts = [of(row) for _, row in rows]
        result.append((rows[0][0], [sum(w * p[c] for w, p in zip(weights, parts)) for c in range(CLASSES)]))
    return result


def report(name, rows):
    order = [(label, sorted(range(CLASSES), key=lambda c: (-row[c], c))) for label, row in rows]
    right = [label == best[0] for label, best in order]
    five = sum(label in best[:5] for label, best in order)
    by_class = {}
    for (label, _), ok in zip(order, right):
        by_class.setdefault(label, []).append(ok)
    mean_class = 100 * fsum(sum(v) / len(v) for v in by_class.values()) / len(by_class)
    n, p, z = len(rows), sum(right) / len(rows), 1.959963984540054
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (100 * v / (1 + z * z / n) for v in (middle - half, middle + half))
    print(f"{name}: {sum(right)} correct, {five} in five, mean class {mean_class:.6f}, interval {low:.6f} {high:.6f}")


spatial, temporal = stream(1, Fraction(6)), stream(2, Fraction(13, 2))
report("spatial", spatial)
report("temporal", temporal)
for name, of in ("relu-l1", relu_l1), ("logits", lambda row: row), ("softmax", softmax):
    report(name, fused([spatial, temporal], [1, Fraction(3, 2)] if of is not softmax else [1, 1.5], of))
