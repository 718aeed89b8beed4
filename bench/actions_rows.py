"""The rows of bench/actions: which networks are trained on what, and how they are measured."""

import json
import shutil

from actions_lab import Missing, Row, wilson

SEEDS = (1, 2, 3)
SIZE = ("--height", 96, "--width", 96)
QUARTER = ("--channels", 0.25)
AS_THEY_ARE = ("--resize-height", 0, "--resize-width", 0)  # synthetic clips: 128x128, crops of 96x96
# Fights are 320x240; to the network's 96 as 256x340 is to the paper's 224.
RESIZED = ("--resize-height", 110, "--resize-width", 146)
DROPOUT = ("--dropout6", 0.5, "--dropout7", 0.5)  # with the paper's .9 and .8 a small network learns 4 times slower
STACKED = (*SIZE, *QUARTER, "--motion-channels", 0.25, "--replicate", *DROPOUT)
SPATIAL = (*SIZE, *QUARTER, *DROPOUT)
# A random spatial stream: 3 times as far in as many updates as SGD with its largest rate that does not diverge.
ADAM = ("--optimizer", "adam", "--learning-rate", 0.0002, "--warmup", 50)

CLASSES = {"motion": 4, "pair": 9}
STEPS = {
    "synthetic motion": 600,
    "synthetic stacked": 400,
    "motion spatial": 600,
    "pair spatial": 2500,  # after 600 it knows none of the patterns yet
    "fights motion": 1500,
    "fights stacked": 800,
    "fights temporal": 800,
    "fights spatial": 300,
    "full": 2,
}


def falling(steps, *shares):
    """--lr-steps at these shares of a training."""
    return ("--lr-steps", ",".join(str(int(steps * share)) for share in shares))


def measured(lab, result, stages, steps, **more):
    low, high = wilson(sum(result.right), len(result.right))
    right, count = sum(result.right), len(result.right)
    return {"right": right, "count": count, "low": low, "high": high, "protocol": result.protocol,
            "clips_right": result.right, "steps": steps,
            "seconds": {name: lab.seconds(name) for name in stages},
            "text": f"{right} of {count}, {100 * right / count:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f})",
            **more}


# Synthetic clips.


def synthetic_motionnet(lab, kind, seed):
    """MotionNet learns the flow of the training clips, without labels."""
    clips = lab.clips(kind, seed, CLASSES[kind])
    run = lab.train("motionnet-train", f"{kind}-{seed}-motionnet", "--data", clips / "trainlist01.txt", *SIZE,
                    *QUARTER, *AS_THEY_ARE, "--frames", 11, "--batch", 8, "--seed", seed, "--validate-every", 200,
                    "--pictures-every", 0, "--checkpoint-every", 200, *falling(STEPS["synthetic motion"], 0.6, 0.85),
                    iterations=STEPS["synthetic motion"])
    return clips, run


def synthetic_stream(lab, kind, stream, seed):
    """Name, clips and run of a stream that was trained on synthetic clips."""
    name = f"{kind}-{seed}-{stream}"
    common = ("--crop", "random", *AS_THEY_ARE, "--seed", seed, "--validate-every", 0, "--pictures-every", 0,
              "--hold-out", 0, "--checkpoint-every", 200)
    if stream == "spatial":
        clips = lab.clips(kind, seed, CLASSES[kind])
        run = lab.train("twostream-train", name, "--stream", "spatial", "--data", clips / "trainlist01.txt",
                        *SPATIAL, *ADAM, *common, iterations=STEPS[f"{kind} spatial"])
    else:
        clips, motionnet = synthetic_motionnet(lab, kind, seed)
        run = lab.train("twostream-train", name, "--stream", stream, "--data", clips / "trainlist01.txt", "--init",
                        f"motionnet={motionnet}", *STACKED, *common, *falling(STEPS["synthetic stacked"], 0.75),
                        iterations=STEPS["synthetic stacked"])
    return name, clips, run


def synthetic_scores(lab, kind, stream, seed):
    name, clips, run = synthetic_stream(lab, kind, stream, seed)
    return name, lab.evaluate(name, "--weights", run, "--data", clips / "testlist01.txt")


def synthetic_row(kind, stream, seed):
    def make(lab):
        name, result = synthetic_scores(lab, kind, stream, seed)
        stages = [f"runs/{name}", f"scores/{name}"]
        if stream != "spatial":
            stages.insert(0, f"runs/{kind}-{seed}-motionnet")
        steps = STEPS[f"{kind} spatial" if stream == "spatial" else "synthetic stacked"]
        return measured(lab, result, stages, steps)

    return make


def fused_row(parts, name, weights, fusion):
    """parts: (lab) -> the score files of the streams."""

    def make(lab):
        result = lab.fuse(name, parts(lab), weights, fusion)
        return measured(lab, result, [f"scores/{name}"], 0)

    return make


# Fights.


def fights(lab):
    lab.need_data("fights320/splits/trainlist01.txt")
    splits = lab.data / "fights320" / "splits"
    return (lab.part_of(splits / "trainlist01.txt"), lab.part_of(splits / "testlist01.txt"),
            ("--data-root", lab.data / "fights320"))


def fights_motionnet(lab):
    train, _, root = fights(lab)
    return lab.train("motionnet-train", "fights-motionnet", "--data", train, *root, *SIZE, *QUARTER, *RESIZED,
                     "--frames", 11, "--batch", 8, "--crop", "multi_scale", "--validate-every", 250,
                     "--pictures-every", 500, "--checkpoint-every", 250, *falling(STEPS["fights motion"], 0.6, 0.85),
                     iterations=STEPS["fights motion"])


def fights_flow(lab):
    """Flow of all videos, computed once, as pairs of 8-bit pictures."""
    out = lab.out / "flow" / "fights"
    run = fights_motionnet(lab)
    for part in fights(lab)[:2]:
        command = lab.words("motionnet-flow", "--weights", run, "--data", part, *fights(lab)[2], "--height", 128,
                            "--width", 160, "--format", "jpg", "--out", out)
        lab.note(command)
        if not (out / f".{part.stem}.done").exists():
            lab.run(f"flow/fights-{part.stem}", command)
            (out / f".{part.stem}.done").touch()
    return out


def fights_training(lab, name, stream, seed, steps, *more):
    train, _, root = fights(lab)
    if stream == "temporal":
        root = ("--data-root", fights_flow(lab))
    return lab.train("twostream-train", name, "--stream", stream, "--data", train, *root, *RESIZED, "--crop",
                     "multi_scale", "--seed", seed, "--hold-out", 0, "--validate-every", 0, "--pictures-every", 0,
                     "--checkpoint-every", 200, *falling(steps, 0.75), *more, iterations=steps)


def fights_scores(lab, stream, seed):
    name = f"fights-{stream}-{seed}"
    _, test, root = fights(lab)
    more = ()
    if stream == "spatial":
        lab.need_data("vgg16-edges/vgg16_conv.safetensors")
        trunk = lab.data / "vgg16-edges" / "vgg16_conv.safetensors"
        run = fights_training(lab, name, stream, seed, STEPS["fights spatial"], *SIZE, *DROPOUT, "--channels", 1,
                              "--init", f"spatial={imported(lab, trunk)}", "--freeze", "spatial.conv*")
    elif stream == "two-stage":
        run = fights_training(lab, name, "temporal", seed, STEPS["fights temporal"], *SPATIAL)
        more = ("--flow", fights_flow(lab))
    else:
        run = fights_training(lab, name, stream, seed, STEPS["fights stacked"], *STACKED, "--init",
                              f"motionnet={fights_motionnet(lab)}")
    return name, lab.evaluate(name, "--weights", run, "--data", test, *root, *more)


def imported(lab, trunk):
    """The trunk under our names, from 16-bit weights."""
    path = lab.out / "imported" / "vgg16-edges.safetensors"
    command = lab.words("millrace-data", "import", trunk, "--as", "vgg16-spatial", "--out", path)
    lab.note(command)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lab.run("import/vgg16-edges", command)
    return path


def flow_quality(run):
    """MotionNet's losses on its held-out clips, as shares of zero flow's."""
    seen = json.loads((run / "result.json").read_text(encoding="utf-8"))["validation"]
    return {term: seen[term] / seen["zero_flow"][term] for term in ("loss", "pixel2", "ssim2")}


def fights_row(stream, seed):
    def make(lab):
        name, result = fights_scores(lab, stream, seed)
        stages = [f"runs/{name}", f"scores/{name}"]
        more = {}
        if stream != "spatial":
            stages.insert(0, "runs/fights-motionnet")
            more["of_zero_flow"] = flow_quality(fights_motionnet(lab))
        if stream == "two-stage":
            stages.insert(1, "flow/fights-trainlist01")
            stages.insert(2, "flow/fights-testlist01")
        steps = {"spatial": "fights spatial", "two-stage": "fights temporal"}.get(stream, "fights stacked")
        return measured(lab, result, stages, STEPS[steps], **more)

    return make


# Networks of full size.


def ucf101_part(lab, official, count):
    """The lines of an official list whose videos are here."""
    lab.need_data("ucf101", "splits/ucf101/classInd.txt")
    lines = (lab.data / "splits" / "ucf101" / official).read_text(encoding="utf-8").split("\n")
    here = [line.strip() for line in lines
            if line.strip() and (lab.data / "ucf101" / line.split()[0].split("/")[-1]).exists()]
    if not here:
        raise Missing(f"no video of {official} is in {lab.data / 'ucf101'}")
    folder = lab.out / "lists" / "ucf101"
    folder.mkdir(parents=True, exist_ok=True)
    lab.write(folder / official, "\n".join(here[:count]) + "\n")
    shutil.copy(lab.data / "splits" / "ucf101" / "classInd.txt", folder)
    return folder / official


def full_row(stream):
    def make(lab):
        train, test = ucf101_part(lab, "trainlist01.txt", 4), ucf101_part(lab, "testlist01.txt", 1)
        root = ("--data-root", lab.data / "ucf101")
        name = f"full-{stream}"
        run = lab.train("twostream-train", name, "--preset", "paper-ucf101", "--stream", stream, "--data", train,
                        "--validation", test, *root, "--batch", 2, "--accumulate", 1 if lab.smoke else 64,
                        "--checkpoint-every", 1, "--pictures-every", 0, "--keep-checkpoints", 1, iterations=STEPS["full"])
        clips, crops = (2, 1) if lab.smoke else (25, 10)
        result = lab.evaluate(name, "--weights", run, "--data", test, *root, clips=clips, crops=crops)
        video = lab.data / "ucf101" / test.read_text(encoding="utf-8").split()[0].split("/")[-1]
        command = lab.words("twostream-predict", "--weights", run, video, "--json")
        lab.note(command)
        said = json.loads(lab.run(f"predict/{name}", command).splitlines()[0])
        stages = [f"runs/{name}", f"scores/{name}", f"predict/{name}"]
        megabytes = sum(f.stat().st_size for f in (run / "checkpoints").rglob("*.safetensors")) / 1e6
        row = measured(lab, result, stages, STEPS["full"], said=said, megabytes=megabytes)
        row["text"] = (f"{STEPS['full']} updates of 128 clips in {row['seconds'][stages[0]]:.0f} s, checkpoints of "
                       f"{megabytes:.0f} MB, a video by {result.protocol} views in {row['seconds'][stages[1]]:.0f} s")
        return row

    return make


def pair_scores(lab):
    return [synthetic_scores(lab, "pair", stream, 1)[1].scores for stream in ("spatial", "stacked-a")]


def fights_fusion(temporal):
    return lambda lab: [fights_scores(lab, stream, 1)[1].scores for stream in ("spatial", temporal)]


def rows():
    everything = []
    for seed in SEEDS:
        everything.append(Row(f"motion/stacked-a/{seed}", "MotionNet fixed, VGG16 trained; 4 motions",
                              synthetic_row("motion", "stacked-a", seed), "at least 90 %"))
        everything.append(Row(f"motion/spatial/{seed}", "one frame; 4 motions, which no frame tells",
                              synthetic_row("motion", "spatial", seed), "chance, 25 %"))
    everything += [
        Row("pair/spatial", "one frame; 3 patterns by 3 motions", synthetic_row("pair", "spatial", 1)),
        Row("pair/stacked-a", "MotionNet fixed; the same clips", synthetic_row("pair", "stacked-a", 1)),
        Row("pair/fused", "both, fused 1:1", fused_row(pair_scores, "pair-fused", "1:1", "softmax"),
            "20 points above the better stream"),
    ]
    for seed in SEEDS:
        everything.append(Row(f"fights/stacked-c/{seed}", "action and unsupervised losses",
                              fights_row("stacked-c", seed), "mean of the seeds at least 62 of 90"))
    everything += [
        Row("fights/stacked-a", "MotionNet fixed", fights_row("stacked-a", 1)),
        Row("fights/stacked-b", "action loss only", fights_row("stacked-b", 1)),
        Row("fights/two-stage", "flow computed once, stored as 8-bit pairs", fights_row("two-stage", 1)),
        Row("fights/spatial", "one frame; frozen trunk of VGG16", fights_row("spatial", 1)),
        Row("fights/spatial+stacked-c", "fused 1:1.5 by softmax",
            fused_row(fights_fusion("stacked-c"), "fights-spatial+stacked-c", "1:1.5", "softmax")),
        Row("fights/spatial+two-stage", "fused 1:1.5 by softmax",
            fused_row(fights_fusion("two-stage"), "fights-spatial+two-stage", "1:1.5", "softmax")),
        Row("full/stacked-c", "paper-ucf101 at full size: trains, checkpoints, evaluates, predicts",
            full_row("stacked-c")),
        Row("full/spatial", "the spatial stream, likewise", full_row("spatial")),
    ]
    return everything
