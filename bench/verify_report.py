"""results.json of bench/verify_gpu as Markdown: goals beside what was measured, and what did not run."""

# Goal -> what, unit, must, stretch, floor; the sign says which side is good.
GOALS = {
    "G1": ("training step, batch 16, bf16", "ms", "<=", 5.8, 4.8, 2.77),
    "G2": ("training step, batch 16, tf32", "ms", "<=", 11, 9.0, 5.22),
    "G3": ("MotionNet and temporal VGG16 trained jointly, batch 16, bf16", "ms", "<=", 11, 9.5, 5.92),
    "G4": ("MotionNet's flow, batch 64, bf16", "clips/s", ">=", 10000, 13000, 19580),
    "G5": ("all three networks, 250 views, bf16", "clips/s", ">=", 4000, 5300, 7164),
    "G6": ("temporal stream, one clip, bf16", "ms", "<=", 1.2, 0.8, None),
    "G7": ("losses of 5 scales, forward and backward", "µs", "<=", 80, 45, 19),
    "G8": ("Adam, 42.3 M parameters", "ms", "<=", 0.33, 0.30, 0.276),
    "G9": ("PyTorch eager, bf16 / millrace", "times", ">=", 1.8, 2.3, None),
    "G10": ("best of PyTorch captured and compiled, bf16 / millrace", "times", ">=", 1.10, 1.25, None),
    "G11a": ("losses, PyTorch eager / millrace", "times", ">=", 15, 30, None),
    "G11b": ("losses, best of PyTorch compiled / millrace", "times", ">=", 3, 6, None),
    "G12": ("all convolutions of the bf16 step", "TFLOP/s", ">=", 380, 450, 790),
    "G13": ("neither convolution nor optimizer, of the bf16 step", "%", "<=", 10, 6, None),
    "G14a": ("plan with measuring, cold", "s", "<=", 60, 30, None),
    "G14b": ("plan from the cache", "s", "<=", 3, 1, None),
}


def node_seconds(step, op):
    """Of all nodes of an op in a step of full size, as bench_step --nodes --json gives them"""
    found = [row["seconds"] for row in step.get("layers", []) if row["name"].rsplit("/", 1)[-1] == op]
    return sum(found) if found else None


def ratio(a, b):
    return a / b if a and b else None


def measured(results):
    """Goal -> value, of those that were measured"""
    parts = results["parts"]
    steps = parts.get("step", {}).get("done", {})
    races = parts.get("peers", {}).get("done", {})
    seconds = lambda race: races.get(race, {}).get("seconds", {})
    step = lambda name: seconds(f"step {name}").get("millrace") or steps.get(name, {}).get("seconds")
    best = lambda race, forms: min((seconds(race)[f] for f in forms if f in seconds(race)), default=None)
    graphs, compiled = ("captured", "compiled", "compiled-captured"), ("compiled", "compiled-captured")
    flow = seconds("infer 64").get("millrace") or steps.get("infer 64", {}).get("seconds")
    bf16 = steps.get("bf16", {})
    loss, adam = node_seconds(bf16, "multiscale_loss"), node_seconds(bf16, "adam")
    kinds = {kind["name"]: kind for kind in bf16.get("kinds", [])}
    convs, nodes = kinds.get("conv", {}), bf16.get("sum_of_nodes")
    rest = sum(k["seconds"] for name, k in kinds.items() if name not in ("conv", "optimizer")) if kinds else None
    streams = parts.get("streams", {}).get("done", {})
    stream = lambda name: streams.get(name, {}).get("seconds")
    three = stream("stacked 250") + stream("spatial 250") if stream("stacked 250") and stream("spatial 250") else None
    scaled = lambda value, factor: None if value is None else value * factor
    values = {
        "G1": scaled(step("bf16"), 1e3), "G2": scaled(step("tf32"), 1e3), "G4": ratio(64, flow),
        "G3": scaled(stream("joint"), 1e3), "G5": ratio(250, three), "G6": scaled(stream("stacked 1"), 1e3),
        "G7": scaled(loss, 1e6), "G8": scaled(adam, 1e3),
        "G9": ratio(seconds("step bf16").get("eager"), seconds("step bf16").get("millrace")),
        "G10": ratio(best("step bf16", graphs), seconds("step bf16").get("millrace")),
        "G11a": ratio(seconds("loss").get("eager"), loss), "G11b": ratio(best("loss", compiled), loss),
        "G12": scaled(ratio(convs.get("flop"), convs.get("seconds")), 1e-12),
        "G13": scaled(ratio(rest, nodes), 100),
        "G14a": bf16.get("plan_seconds", {}).get("cold"),
        "G14b": races.get("step bf16", {}).get("facts", {}).get("millrace", {}).get("plan_seconds", {}).get("cold"),
    }
    return {name: value for name, value in values.items() if value is not None}


def verdict(goal, value):
    _, _, sign, must, stretch, _ = GOALS[goal]
    reached = (lambda bound: value <= bound) if sign == "<=" else (lambda bound: value >= bound)
    return "stretch" if reached(stretch) else "must" if reached(must) else "missed"


def goals(results):
    found = {} if results["rehearsal"] else measured(results)
    yield "| goal | what | must | stretch | floor | measured | reached |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, (what, unit, sign, must, stretch, floor) in GOALS.items():
        value = found.get(name)
        yield (f"| {name} | {what} | {sign} {must:g} {unit} | {stretch:g} | {'' if floor is None else f'{floor:g}'} | "
               + (f"{value:.4g} {unit} | {verdict(name, value)} |" if value is not None else "not measured | |"))


def markdown(results, parts):
    about = results.get("about", {})
    lines = ["# bench/verify_gpu", ""]
    if results["rehearsal"]:
        lines += [f"**REHEARSAL on {results['device']}: no GPU ran, sizes are tiny, and nothing here was verified.**", ""]
    else:
        lines += [", ".join(str(value) for value in about.values()), ""]
    lines += ["| part | status | seconds | |", "| --- | --- | --- | --- |"]
    for part in parts:
        kept = results["parts"].get(part, {})
        lines.append(f"| {part} | {kept.get('status', 'not run')} | {kept.get('took', 0):.0f} | "
                     f"{kept.get('reason', '').replace('|', '/')} |")
    tests, kernels = results["parts"].get("tests", {}), results["parts"].get("kernels", {})
    if "passed" in tests:
        lines += ["", f"Tests: {tests['passed']} passed ({tests['on_device']} on the device), {len(tests['skipped'])} "
                      f"skipped, {len(tests['wrong'])} failed."]
    if "check" in kernels:
        lines += ["", f"Kernels: {kernels['check']}."]
    lines += ["", *goals(results), "", "The goals are for one H200. Median of rounds, each the median of its steps."]
    done = results["parts"].get("step", {}).get("done", {})
    if done:
        lines += ["", "| bench_step | ms | recorded |", "| --- | --- | --- |"]
        lines += [f"| {name} | {r['seconds'] * 1e3:.3f} | {r.get('captured', '')} |" for name, r in done.items()]
    races = results["parts"].get("peers", {}).get("done", {})
    if races:
        lines += ["", "| beside PyTorch | who | ms | missing |", "| --- | --- | --- | --- |"]
        for name, race in races.items():
            lines += [f"| {name} | {who} | {s * 1e3:.3f} | |" for who, s in race["seconds"].items()]
            lines += [f"| {name} | {who} | | {str(why).replace('|', '/')} |" for who, why in race["missing"].items()]
    return "\n".join(lines) + "\n"
