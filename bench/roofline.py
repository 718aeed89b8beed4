#!/usr/bin/env python3
"""Draws the roofline of an H200 with the engine's kernels under it, and prints their table for docs/kernels.md.

  build/bin/bench_kernels --device cuda-sim --counts --json > counts.json
  bench/roofline.py counts.json docs/roofline.svg > table.md

Bytes and FLOP are the ops' own counts. A row with seconds, from a GPU, is drawn where it was measured; one without lies on
the roof as a ring: the most that its bytes allow. The roof is 4.3 TB/s, what a copy is taken to reach of the data sheet's
4.8, and 60 TFLOP/s in fp32, of the data sheet's 67. Neither is a measurement.
"""
import json
import math
import sys

BANDWIDTH, PEAK = 4.3e12, 60e12
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1000, 620, 70, 40, 20, 60
X = (0.04, 200)  # FLOP a byte
Y = (5e10, 1e14)  # FLOP a second


def x_of(intensity):
    low, high = map(math.log10, X)
    return LEFT + (math.log10(intensity) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def y_of(rate):
    low, high = map(math.log10, Y)
    return HEIGHT - BOTTOM - (math.log10(rate) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def roof(intensity):
    return min(BANDWIDTH * intensity, PEAK)


def text(x, y, words, more=''):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'


def line(x1, y1, x2, y2, more):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def axes():
    parts = []
    for exponent in range(-1, 3):
        x = x_of(10 ** exponent)
        parts.append(line(x, TOP, x, HEIGHT - BOTTOM, 'stroke="#ddd"'))
        parts.append(text(x, HEIGHT - BOTTOM + 18, f'{10 ** exponent:g}', 'text-anchor="middle"'))
    for exponent, name in ((11, '0.1'), (12, '1'), (13, '10'), (14, '100')):
        y = y_of(10 ** exponent)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, 'stroke="#ddd"'))
        parts.append(text(LEFT - 8, y + 4, name, 'text-anchor="end"'))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, 'FLOP per byte of memory traffic', 'text-anchor="middle"'))
    parts.append(text(LEFT, TOP - 16, 'TFLOP/s'))
    ridge = PEAK / BANDWIDTH
    for a, b in ((X[0], ridge), (ridge, X[1])):
        parts.append(line(x_of(a), y_of(roof(a)), x_of(b), y_of(roof(b)), 'stroke="#000" stroke-width="2"'))
    parts.append(text(x_of(2.2), y_of(roof(2.2)) - 24, '4.3 TB/s', 'text-anchor="end"'))
    parts.append(text(x_of(60), y_of(PEAK) - 8, '60 TFLOP/s, fp32', 'text-anchor="middle"'))
    return parts


def points(rows):
    """Names hang from the roof side by side, in the order of intensity."""
    parts, last = [], -1e9
    for row in sorted(rows, key=lambda r: r['flop'] / r['bytes']):
        intensity = row['flop'] / row['bytes']
        if intensity < X[0]:
            continue
        x, y = x_of(intensity), y_of(roof(intensity))
        label = max(x, last + 15)
        last = label
        below = max(y + 34, y_of(roof(min(10 ** (math.log10(X[0]) + (label - LEFT) / (WIDTH - LEFT - RIGHT)
                                                 * (math.log10(X[1]) - math.log10(X[0]))), X[1]))) + 34)
        parts.append(line(x, y, label, below - 4, 'stroke="#bbb"'))
        parts.append(text(label + 4, below, row['op'], f'transform="rotate(90 {label - 3:.1f} {below:.1f})" font-size="12"'))
        if row['seconds'] and row['device'] == 'cuda':
            parts.append(f'<circle cx="{x:.1f}" cy="{y_of(row["flop"] / row["seconds"]):.1f}" r="4" fill="#06c"/>')
        else:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#fff" stroke="#06c" stroke-width="2"/>')
    return parts


def one_per_op(rows):
    """The preferred version at the first benchmark case, fp32."""
    chosen = {}
    for row in rows:
        if row['dtype'] == 'f32':
            chosen.setdefault(row['op'], row)
    return list(chosen.values())


def table(rows):
    versions = {}
    for row in rows:
        known = versions.setdefault(row['op'], [])
        if row['version'] not in known:
            known.append(row['version'])
    print('| op | versions on the GPU | MB moved | FLOP per byte | floor, us |')
    print('| --- | --- | --- | --- | --- |')
    for row in one_per_op(rows):
        names = ', '.join(reversed(versions[row['op']]))
        floor = max(row['bytes'] / BANDWIDTH, row['flop'] / PEAK)
        print(f'| `{row["op"]}` | {names} | {row["bytes"] / 1e6:.1f} | {row["flop"] / row["bytes"]:.2f} | {floor * 1e6:.1f} |')


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        rows = [row for row in json.load(file) if row['version'] != 'cpu']  # a stand-in of the simulated device
    body = axes() + points(one_per_op(rows))
    with open(sys.argv[2], 'w', encoding='utf-8') as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
                  f'font-size="13">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + '\n'.join(body) + '\n</svg>\n')
    table(rows)


main()
