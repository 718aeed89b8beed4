"""What the rows of bench/actions are made with: programs started so that they can be stopped and go on, runs,
evaluations, and rows kept as they end."""

import csv
import ctypes
import fcntl
import json
import math
import os
import pathlib
import platform
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable

INTERRUPTED = 75  # what the programs say when a signal stopped them


class Stopped(Exception):
    """A signal; nothing is lost."""


class Missing(Exception):
    """Data that this machine does not have."""


class Failed(Exception):
    """A program failed; its last words."""


@dataclass
class Row:
    name: str  # "fights/stacked-c/1"
    what: str
    make: Callable  # (lab) -> dict of what was measured
    goal: str = ""


@dataclass
class Measured:
    """How many test clips a score file has right; `right` has 1 or 0 for each, in the order of names."""

    names: list
    right: list
    scores: str
    protocol: str
    commands: list = field(default_factory=list)

    def share(self):
        return sum(self.right) / len(self.right)


class Lab:
    def __init__(self, o):
        self.out = pathlib.Path(o.out)
        self.data = pathlib.Path(o.data)
        self.bin = pathlib.Path(o.bin)
        self.smoke = o.smoke
        self.device, self.threads = o.device, o.threads
        self.commands = []  # of the row that is being made
        self.child = None
        self.stopped = False
        self.lock = None

    # One process a folder, and signals that reach the program that runs.
    def __enter__(self):
        self.out.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.out / "lock", "w", encoding="utf-8")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"bench/actions: another process writes to {self.out}") from None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.on_signal)
        return self

    def __exit__(self, *error):
        self.lock.close()

    def on_signal(self, number, frame):
        self.stopped = True
        if self.child is not None:
            try:
                self.child.send_signal(signal.SIGTERM)
            except ProcessLookupError:
                pass

    # Rows.
    def results(self):
        """By name; a line that a kill cut short is passed over."""
        done = {}
        path = self.out / "rows.jsonl"
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    result = json.loads(line)
                except json.JSONDecodeError:
                    continue
                done[result["name"]] = result
        return done

    def forget(self, names):
        keep = [result for name, result in self.results().items() if name not in names]
        self.write(self.out / "rows.jsonl", "".join(json.dumps(result) + "\n" for result in keep))

    def measure(self, row):
        self.commands = []
        result = row.make(self)
        entry = {"name": row.name, **result, "commands": self.commands, "machine": machine(self.device),
                 "threads": self.threads or os.cpu_count(), "revision": revision(), "smoke": self.smoke}
        path = self.out / "rows.jsonl"
        text = path.read_bytes() if path.exists() else b""
        with open(path, "ab") as file:
            if text and not text.endswith(b"\n"):
                file.write(b"\n")
            file.write((self.named(json.dumps(entry)) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        return result.get("text", "")

    @staticmethod
    def write(path, text):
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)

    # Programs.
    def words(self, program, *arguments):
        return [str(self.bin / program)] + [str(a) for a in arguments]

    def named(self, text):
        """With $OUT and $DATA for the two folders: where they lie on this machine says nothing."""
        for folder, name in ((self.out, "$OUT"), (self.data, "$DATA")):
            for prefix in (f"{folder.absolute()}/", f"{folder.resolve()}/"):
                text = text.replace(prefix, name + "/")
        return text

    def shown(self, command):
        """As a person would type it."""
        text = []
        for k, word in enumerate(command):
            word = pathlib.Path(word).name if k == 0 else self.named(word)
            for folder, name in ((self.out, "$OUT"), (self.data, "$DATA")):
                word = word.replace(f"{folder}/", name + "/")
            text.append(word if "$" in word and " " not in word and "*" not in word else shlex.quote(word))
        return " ".join(text)

    def note(self, command):
        """The command belongs to the row, whether it ran now or before."""
        text = self.shown(command)
        if text not in self.commands:
            self.commands.append(text)

    def run(self, stage, command):
        """Runs it to its end; its stdout. Its stderr is in OUT/logs/<stage>.txt."""
        if self.stopped:
            raise Stopped("stopped by a signal")
        log = self.out / "logs" / (stage.replace("/", "-") + ".txt")
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"   $ {self.shown(command)}", flush=True)
        start = time.monotonic()
        with open(log, "a", encoding="utf-8") as errors:
            errors.write(f"$ {shlex.join(command)}\n")
            errors.flush()
            try:
                # A session of its own: Ctrl-C reaches it once, through on_signal.
                self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True,
                                              start_new_session=True, preexec_fn=die_with_parent)
            except OSError as error:
                raise Failed(f"{command[0]}: {error.strerror}; build it, or name its folder by --bin") from None
            out, _ = self.child.communicate()
            code, self.child = self.child.returncode, None
        self.add_seconds(stage, time.monotonic() - start)
        if code == INTERRUPTED or self.stopped:
            raise Stopped("stopped by a signal")
        if code != 0:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line]
            raise Failed(f"exit code {code}: {lines[-1] if lines else ''} (all of it: {log})")
        return out

    def add_seconds(self, stage, seconds):
        path = self.out / "seconds.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        known[stage] = known.get(stage, 0) + seconds
        self.write(path, json.dumps(known, indent=1))

    def seconds(self, stage):
        return json.loads((self.out / "seconds.json").read_text(encoding="utf-8")).get(stage, 0)

    # Stages: made once, and used by many rows.
    def need_data(self, *names):
        for name in names:
            if not (self.data / name).exists():
                raise Missing(f"{self.data / name} is not there; --data names its folder")

    def clips(self, kind, seed, classes):
        folder = self.out / "clips" / f"{kind}-{seed}"
        train, test = (24, 18) if self.smoke else (360, 180)
        command = self.words("millrace-data", "synth", "--actions", kind, "--classes", classes, "--train", train,
                             "--test", test, "--seed", seed, "--out", folder)
        self.note(command)
        description = folder / "actions.json"
        if not (description.exists() and json.loads(description.read_text(encoding="utf-8"))["complete"]):
            self.run(f"clips/{kind}-{seed}", command)
        return folder

    def part_of(self, path):
        """The list itself, or some of its lines for --smoke."""
        if not self.smoke:
            return path
        lines = path.read_text(encoding="utf-8").splitlines()
        some = self.out / "lists" / path.name
        some.parent.mkdir(parents=True, exist_ok=True)
        self.write(some, "\n".join(lines[:: max(1, len(lines) // 8)]) + "\n")
        shutil.copy(path.parent / "classInd.txt", some.parent)
        return some

    def train(self, program, name, *arguments, iterations):
        """A run's folder, trained to its end, from wherever it was stopped."""
        run = self.out / "runs" / name
        steps = min(iterations, 4) if self.smoke else iterations
        command = self.words(program, *arguments, "--iterations", steps, "--device", self.device, "--threads",
                             self.threads, "--out", run)
        if self.threads == 0:
            del command[command.index("--threads") : command.index("--threads") + 2]
        self.note(command)
        if (run / "result.json").exists():
            return run
        if (run / "config.toml").exists():
            self.run(f"runs/{name}", self.words(program, "--resume", "--out", run))
        else:
            shutil.rmtree(run, ignore_errors=True)  # killed before it was one
            run.parent.mkdir(parents=True, exist_ok=True)
            self.run(f"runs/{name}", command)
        return run

    def evaluate(self, name, *arguments, clips=5, crops=2):
        """Scores of the test clips."""
        out = self.out / "scores" / name
        command = self.words("twostream-eval", *arguments, "--clips", clips, "--crops", crops, "--device",
                             self.device, "--out", out, "--json")
        return self.scored(f"scores/{name}", command, out)

    def fuse(self, name, files, weights, fusion):
        out = self.out / "scores" / name
        command = self.words("twostream-eval", "--fuse", *files, "--weights", weights, "--fusion", fusion, "--out",
                             out, "--json")
        return self.scored(f"scores/{name}", command, out)

    def scored(self, stage, command, out):
        self.note(command)
        if not (out / "metrics.json").exists():
            self.run(stage, command)
        measured = read_scores(out / "scores.csv")
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        key = next(key for key in metrics if key.startswith("top1/video@"))
        if abs(metrics[key] - 100 * measured.share()) > 1e-6:  # per cent
            raise Failed(f"{out}: {key} is {metrics[key]}, its scores say {measured.share()}")
        measured.protocol = key.split("@")[1]
        return measured


def die_with_parent():
    """In the child: a kill of the script that it cannot answer ends its program too, which would hold its run's
    lock otherwise. Linux only; elsewhere it goes on to its end."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (AttributeError, OSError):
        pass


def read_scores(path):
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    classes = lines[0][2:]
    names, right = [], []
    for line in sorted(lines[1:]):
        scores = [float(value) for value in line[2:]]
        names.append(line[0])
        right.append(int(classes[scores.index(max(scores))] == line[1]))
    return Measured(names, right, str(path), "")


def wilson(right, count):
    """The 95 % interval of a share (Wilson 1927)."""
    z = 1.959964
    p = right / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def interval_of_means(seeds):
    """Mean over seeds of networks that saw the same test clips, from 1 and 0 for each clip, and 1.96 standard errors
    of it over clips: a clip's value is the share of seeds that have it right. Counts of all seeds together would be
    taken for more clips than there are."""
    count = len(seeds[0])
    values = [sum(right[k] for right in seeds) / len(seeds) for k in range(count)]
    mean = sum(values) / count
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1) / count)
    return mean, mean - 1.959964 * error, mean + 1.959964 * error


def machine(device):
    cpu = platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{cpu}, {os.cpu_count()} cores" + ("" if device == "cpu" else f", {device}")


def revision():
    root = pathlib.Path(__file__).resolve().parent
    try:
        return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
