"""docs/results.md, from the rows of bench/actions."""

from actions_lab import interval_of_means, wilson

HEAD = """# Results of recognition

Small networks (96x96 pixels, a quarter of the paper's widths unless a row says otherwise), trained and measured by
`bench/actions`, which wrote this page from its rows; everything as measured. Accuracy is over videos, by as many clips
by crops as its column says. Intervals are 95 %: of one network Wilson's, over test clips; of a mean over seeds 1.96
standard errors over test clips, where a clip counts as the share of seeds that have it right. Times are wall clock, of
all programs of a row; what several rows share (MotionNet, flow) is counted in each.
"""

GROUPS = {
    "motion": ("Synthetic clips: the class is a motion", """
`millrace-data synth --actions motion`: four motions of one pattern each, 360 clips to train and 180 to test, of which
no single frame tells the class (`data/actions.h`). MotionNet learns from the training clips without their labels;
then VGG16 learns the classes from its flow.
"""),
    "pair": ("Synthetic clips: the class is a pair of pattern and motion", """
`--actions pair`: nine classes, three patterns by three motions. A stream that knows only one of the two can be right in
a third.
"""),
    "fights": ("Real clips: fight or not", """
The Surveillance Camera Fight Dataset (Akti et al., IPTA 2019), 210 clips to train and 90 to test. The standard error of
one row is about 4.9 points, so no order among (a), (b) and (c) is claimed. Known on the same split: logistic regression
on statistics of DIS flow 57 to 68 %, on features of a VGG16 trunk 45 to 48 %; chance is 50 %. `spatial` trains
the fully connected layers on the frozen convolutions of a VGG16 that was trained for edges, at its full width.
"""),
    "full": ("Networks of full size", """
`paper-ucf101` on the real clips of UCF101 that are here, by the official lists restricted to them: too few to learn
from, enough to show that it starts, trains, keeps checkpoints, evaluates a video by 25 clips and 10 crops, and predicts.
"""),
}


def table(rows, results):
    lines = ["| row | what | goal | right | accuracy | 95 % | views | updates | minutes |",
             "| --- | --- | --- | ---: | ---: | ---: | --- | ---: | ---: |"]
    for row in rows:
        result = results.get(row.name)
        if result is None:
            continue
        minutes = sum(result["seconds"].values()) / 60
        lines.append(f"| `{row.name}` | {row.what} | {row.goal} | {result['right']}/{result['count']} | "
                     f"{100 * result['right'] / result['count']:.1f} % | {100 * result['low']:.1f} to "
                     f"{100 * result['high']:.1f} | {result['protocol']} | {result['steps'] or ''} | {minutes:.1f} |")
    return lines


def means(rows, results):
    """Of rows that differ in their seed alone."""
    families = {}
    for row in rows:
        family, _, seed = row.name.rpartition("/")
        if row.name in results and seed.isdigit():
            families.setdefault(family, []).append(results[row.name])
    lines = []
    for family, members in families.items():
        if len(members) < 2:
            continue
        # Fights are the same for all seeds; synthetic clips are others for each.
        mean, low, high = (interval_of_means if family.startswith("fights/") else pooled)(
            [m["clips_right"] for m in members])
        count = members[0]["count"]
        lines.append(f"- `{family}`: mean of {len(members)} seeds {mean * count:.1f} of {count}, {100 * mean:.1f} % "
                     f"(95 %: {100 * low:.1f} to {100 * high:.1f})")
    return lines


def pooled(members):
    right, count = sum(map(sum, members)), sum(map(len, members))
    return (right / count, *wilson(right, count))


def commands(rows, results):
    """Each once, where it is first needed."""
    lines, known = [], set()
    for row in rows:
        if row.name in results:
            new = [c for c in results[row.name]["commands"] if c not in known]
            known.update(new)
            lines += [f"    # {row.name}", *(f"    {c}" for c in new)]
    return lines


def page(rows, results):
    text = [HEAD]
    places = sorted({f"{r['machine']}, {r['threads']} threads, revision {r['revision']}" for r in results.values()})
    text += ["Measured on " + "; ".join(places) + ".", ""]
    for group, (title, words) in GROUPS.items():
        members = [row for row in rows if row.name.startswith(group + "/")]
        if not any(row.name in results for row in members):
            continue
        text += [f"## {title}", words, *table(members, results), ""]
        summary = means(members, results)
        if summary:
            text += [*summary, ""]
        notes = [f"- `{row.name}`: {results[row.name]['text']}" for row in members
                 if group == "full" and row.name in results]
        shares = next((results[row.name]["of_zero_flow"] for row in members
                       if "of_zero_flow" in results.get(row.name, {})), None)
        if shares:
            notes.append("- MotionNet, after learning without labels, has on clips held out of training "
                         f"{shares['loss']:.3f} of zero flow's loss; at the finest level {shares['pixel2']:.3f} of its "
                         f"photometric and {shares['ssim2']:.3f} of its SSIM term. Near 1 the flow is a feature of "
                         "motion more than a measure of it.")
        if notes:
            text += [*notes, ""]
        text += ["Commands, as `bench/actions` ran them:", "", *commands(members, results), ""]
    return "\n".join(text).rstrip("\n") + "\n"
