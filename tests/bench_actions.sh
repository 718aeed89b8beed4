#!/usr/bin/env bash
# bench/actions with programs that only pretend: what it starts, that it goes on where it was stopped, and what it
# writes. 77: there is no Python.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
command -v python3 >/dev/null || { echo "skipped: there is no python3"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/bin" "$folder/source/docs" "$folder/data/fights320/splits"
cp -r "$root/bench" "$folder/source/"
cd "$folder"
export PYTHONDONTWRITEBYTECODE=1

cat >bin/pretend <<'E2'
#!/usr/bin/env python3
# One program for all names: says in calls.txt what it was asked for, and leaves what the real one would.
import json, os, pathlib, sys
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open("calls.txt", "a") as calls:
    print(name, *words, file=calls)
out = pathlib.Path(words[words.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
if os.environ.get("STOP_AT") == f"{name}:{out.name}":
    (out / "config.toml").touch()
    sys.exit(75)
if os.environ.get("FAIL_AT") == f"{name}:{out.name}":
    print("pretend: [--out] expected luck, got none", file=sys.stderr)
    sys.exit(3)
if name == "millrace-data":
    (out / "actions.json").write_text(json.dumps({"complete": True}))
elif name == "twostream-eval":
    right = 7 if "--fuse" in words else 6 if "stacked" in out.name else 3
    lines = ["video,label,up,down"] + [f"v{k},up,{1 if k < right else 0},0.5" for k in range(10)]
    (out / "scores.csv").write_text("\n".join(lines) + "\n")
    (out / "metrics.json").write_text(json.dumps({"top1/video@5x2": right * 10.0}))
else:
    (out / "config.toml").touch()
    losses = {"loss": 1, "pixel2": 2, "ssim2": 3}
    result = {"validation": dict(losses, zero_flow=losses)} if name == "motionnet-train" else {}
    (out / "result.json").write_text(json.dumps(result))
E2
chmod +x bin/pretend
for name in millrace-data motionnet-train motionnet-flow twostream-train twostream-eval twostream-predict; do
  ln -s pretend "bin/$name"
done

wrong() { echo "WRONG: $*"; cat said calls.txt out/rows.jsonl 2>/dev/null; exit 1; }
# actions CODE ARGUMENTS...: must end with CODE
actions() {
  local code=$1 status=0
  shift
  source/bench/actions --bin bin --data data --out out "$@" >said 2>&1 || status=$?
  [[ $status -eq $code ]] || wrong "$* ended with $status, not $code"
}
has() { grep -qF -- "$2" "$1" || wrong "$1 does not have: $2"; }
count() { grep -cF -- "$2" "$1" || true; }

actions 1 --only 'dance/*'
has said "no row is called dance/*"
actions 0 --list
has said fights/stacked-c/3

# Stopped in training: nothing is a row yet. The same command resumes the run, and does nothing twice.
STOP_AT=twostream-train:pair-1-spatial actions 75 --only 'pair/*'
has said "the same command goes on"
[[ ! -s out/rows.jsonl ]] || wrong "a row of a run that was stopped"
actions 0 --only 'pair/*'
has calls.txt "twostream-train --resume --out out/runs/pair-1-spatial"
[[ $(count calls.txt "motionnet-train") -eq 1 ]] || wrong "MotionNet was trained twice"
[[ $(count calls.txt "millrace-data synth") -eq 1 ]] || wrong "clips were made twice"
[[ $(wc -l <out/rows.jsonl) -eq 3 ]] || wrong "not three rows"
has out/results.md '| `pair/fused` | both, fused 1:1 | 20 points above the better stream | 7/10 | 70.0 % |'
has out/results.md '--init motionnet=$OUT/runs/pair-1-motionnet'
[[ $(count out/results.md "motionnet-train") -eq 1 ]] || wrong "a command of several rows is repeated"
calls=$(wc -l <calls.txt)
actions 0 --only 'pair/*'
[[ $(wc -l <calls.txt) -eq $calls ]] || wrong "finished rows were measured again"

# A line that a kill cut short is no row, and does not spoil the next one.
printf '{"name": "motion/spat' >>out/rows.jsonl
actions 0 --only 'motion/*'
has out/results.md '`motion/stacked-a`: mean of 3 seeds 6.0 of 10, 60.0 %'
actions 0 --list
[[ $(count said "done") -eq 9 ]] || wrong "not nine rows are done"

# A row that fails does not stop the others, and is not one. Data that are missing are said to be.
FAIL_AT=twostream-eval:motion-2-spatial actions 0 --fresh 'motion/spatial/*' --only 'motion/spatial/*'
rm -r out/scores/motion-2-spatial
FAIL_AT=twostream-eval:motion-2-spatial actions 1 --fresh 'motion/spatial/*' --only 'motion/spatial/*'
has said "exit code 3: pretend: [--out] expected luck, got none"
actions 0 --only 'full/*'
has said "skipped: data/ucf101 is not there"

# What a program said of its files is kept without where they lie here.
PYTHONPATH=source/bench python3 - <<'E3'
import pathlib, types
from actions_lab import Lab, Row
with Lab(types.SimpleNamespace(out="named", data="data", bin="bin", smoke=False, device="cpu", threads=1)) as lab:
    lab.measure(Row("row", "", lambda lab: {"said": {"path": str(pathlib.Path("data/a.avi").resolve())}}))
E3
has named/rows.jsonl '"path": "$DATA/a.avi"'

actions 0 --docs
has source/docs/results.md "## Synthetic clips: the class is a motion"
actions 0 --smoke --fresh pair/spatial --only pair/spatial
actions 1 --docs
has said "mean nothing"
echo "bench/actions: all as expected"
