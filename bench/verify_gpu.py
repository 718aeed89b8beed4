"""The parts of bench/verify_gpu, which starts this. What is there is read from and kept in results.json, so that a later
call goes on; what did not run says so, and why."""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

from verify_report import markdown

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers" / "peers.py"
PARTS = ("build", "tests", "kernels", "step", "streams", "peers", "sanitize")
NO_DEVICE = 4
ROUNDS = 3
FORMS = ("eager", "captured", "compiled", "compiled-captured")
# Most wanted first: name -> work, batch, precision, forms.
GROUPS = {
    "step bf16": ("step", 16, "bf16", FORMS),
    "loss": ("loss", 16, "fp32", FORMS),
    "adam": ("adam", 16, "fp32", ("eager", "captured")),
    "infer 64": ("infer", 64, "bf16", FORMS),
    "step tf32": ("step", 16, "tf32", ("eager", "captured", "compiled-captured")),
    "infer 1": ("infer", 1, "bf16", ("eager", "captured")),
    "infer 16": ("infer", 16, "bf16", ("eager", "captured")),
    "step fp32": ("step", 16, "fp32", ("captured",)),
}
STEPS = {
    "bf16": "--precision bf16",
    "bf16, not captured": "--precision bf16 --no-capture",
    "tf32": "--precision tf32",
    "fp32": "--precision fp32",
}
# Of recognition: name -> options of bench_stream.
STREAMS = {
    "joint": "--stream stacked --training --joint --batch 16",
    "stacked 250": "--stream stacked --batch 250",
    "spatial 250": "--stream spatial --batch 250",
    "stacked 1": "--stream stacked --batch 1",
}
SMALL_PEER = "--batch 1 --frames 3 --size 64 --channels 0.0625 --warmup 1 --steps 2"


class OutOfTime(Exception):
    pass


def sources_hash():
    """Of all that is built or run, so that results of other sources are not gone on with"""
    result = hashlib.sha256()
    ends = {".cpp", ".h", ".cu", ".cuh", ".py", ".cmake", ".txt"}
    for folder in sorted(p for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith((".", "build"))):
        for file in sorted(p for p in folder.rglob("*") if p.suffix in ends and "__pycache__" not in p.parts):
            result.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return result.hexdigest()[:16]


class Run:
    def __init__(self, o):
        self.o, self.end = o, time.monotonic() + 60 * o.minutes
        self.rehearsal = not o.device.startswith("cuda") or o.device.startswith("cuda-sim")
        self.out, self.build = o.out.resolve(), o.build.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = open(self.out / "log.txt", "a")
        about = {"rehearsal": self.rehearsal, "device": o.device, "sources": sources_hash()}
        self.results = {**about, "parts": {}}
        file = self.out / "results.json"
        before = {}
        if file.exists():
            try:
                before = json.loads(file.read_text())
            except ValueError:
                self.say("results.json cannot be read and is replaced")
        if before and all(before.get(key) == value for key, value in about.items()):
            self.results = before
            return
        if before:
            self.say("results of other sources or another device lie there; they are replaced")
        (self.out / "VERIFIED").unlink(missing_ok=True)

    def say(self, text):
        print(f"verify_gpu: {text}", file=sys.stderr, flush=True)
        self.log.write(f"== {text}\n")
        self.log.flush()

    def left(self):
        return self.end - time.monotonic()

    def keep(self, part, **values):
        self.results["parts"].setdefault(part, {}).update(values)
        for name, text in (("results.json", json.dumps(self.results, indent=1) + "\n"),
                           ("results.md", markdown(self.results, PARTS))):
            new = self.out / (name + ".new")
            new.write_text(text)
            new.replace(self.out / name)

    def command(self, command, limit=600.0):
        """Status and stdout; stderr goes to the log. Ends the command and its children when its time is over."""
        command = [str(word) for word in command]
        limit = min(limit, self.left())
        if limit < 1:
            raise OutOfTime(f"no time was left for {shlex.join(command)[:120]}")
        self.log.write(f"\n$ {shlex.join(command)}\n")
        self.log.flush()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                   start_new_session=True)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.log.write((process.communicate()[0] or "")[-20000:])
            raise OutOfTime(f"{pathlib.Path(command[0]).name} was not done after {limit:.0f} s") from None
        self.log.write(output[-20000:])
        return process.returncode, output

    def program(self, name, *arguments, limit=600.0):
        path = self.build / "bin" / name
        if not path.exists():
            raise RuntimeError(f"{name} is not built (part build)")
        return self.command([path, *arguments], limit)

    # ---- the parts; each returns what it found, or raises

    def part_build(self):
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DMILLRACE_DATA=OFF", "-DMILLRACE_APPS=ON", "-DMILLRACE_BENCH=ON",
                   "-DMILLRACE_SIM=OFF", f"-DMILLRACE_CUDA={'OFF' if self.rehearsal else 'ON'}"]
        tests = not self.o.headers or (self.o.headers / "catch2").is_dir()
        options.append(f"-DMILLRACE_TESTS={'ON' if tests else 'OFF'}")
        if self.o.headers:
            options.append(f"-DMILLRACE_HEADERS={self.o.headers.resolve()}")
        if not self.rehearsal:
            options.append(f"-DCMAKE_CUDA_ARCHITECTURES={self.results['architecture']}-real")
        if shutil.which("ninja"):
            options += ["-G", "Ninja"]
        start = time.monotonic()
        status, _ = self.command(["cmake", "-S", ROOT, "-B", self.build, *options])
        if status == 0:
            status, _ = self.command(["cmake", "--build", self.build, "--parallel", os.cpu_count()])
        if status != 0:
            raise RuntimeError("the build failed; log.txt says where")
        return {"seconds": time.monotonic() - start, "tests_built": tests}

    def part_tests(self):
        if not (self.build / "tests").is_dir():
            raise RuntimeError("the tests are not built")
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "tests.xml"
            chosen = ["-R", "^unit_rng"] if self.rehearsal else []
            self.command(["ctest", "--test-dir", self.build, "--output-junit", report, "--timeout", 240, "-j",
                          min(8, os.cpu_count()), *chosen])
            cases = [(c.get("name"), c.get("status")) for c in xml.etree.ElementTree.parse(report).iter("testcase")]
        names = lambda *statuses: [name for name, status in cases if status in statuses]
        result = {"passed": len(names("run")), "skipped": names("notrun", "disabled"), "wrong": names("fail")}
        result["on_device"] = len([n for n in names("run") if n.startswith("generated_cuda:")])
        if result["wrong"] or not result["passed"]:
            self.keep("tests", **result)
            raise RuntimeError(f"{len(result['wrong'])} tests failed, {result['passed']} passed")
        return result

    def part_kernels(self):
        only, quick = (["--op", "sub"], ["--op", "^sub$", "--seconds", "0.001"]) if self.rehearsal else ([], [])
        status, text = self.program("check_kernels", "--device", self.o.device, *only)
        lines = text.strip().splitlines() or ["nothing"]
        self.keep("kernels", check=lines[-1], wrong=[line for line in lines if line.startswith("WRONG")])
        if status == 0 and not self.rehearsal:
            self.write_ledger(lines[0])
        seconds = ["--seconds", "0.05"] if not self.rehearsal else []
        timed, rows = self.program("bench_kernels", "--device", self.o.device, "--json", *seconds, *quick)
        if timed == 0:
            self.keep("kernels", times=json.loads(rows))
        if status != 0 or timed != 0:
            raise RuntimeError(f"check_kernels ended with {status}, bench_kernels with {timed}; {lines[-1]}")
        return {}

    def write_ledger(self, device):
        text = subprocess.run([ROOT / "bench" / "verify_gpu", "--ledger", device], check=True, capture_output=True,
                              text=True).stdout
        (ROOT / "cuda" / "VERIFIED").write_text(text)
        (self.out / "VERIFIED").write_text(text)

    def bench_step(self, arguments, batch):
        cache = self.out / "kernels.json"
        size = ["--preset", "tiny", "--repeats", 1, "--batch", 1] if self.rehearsal else \
            ["--preset", "paper", "--repeats", 50, "--batch", batch, "--kernels", "measure", "--kernel-cache", cache]
        options = [*size, *shlex.split(arguments), "--nodes", "--json"]
        status, text = self.program("bench_step", "--device", self.o.device, *options)
        if status != 0:
            raise RuntimeError(f"bench_step {arguments} ended with {status}; log.txt says why")
        return json.loads(text.strip().splitlines()[-1])

    def part_step(self):
        wanted = {name: (arguments, 16) for name, arguments in STEPS.items()}
        wanted.update({f"infer {n}": ("--inference --precision bf16", n) for n in (64, 16, 1)})
        if self.rehearsal:
            wanted = {"fp32": wanted["fp32"]}
        return self.each("step", wanted, lambda name, job: self.bench_step(*job))

    def bench_stream(self, arguments):
        size = ["--size", 64, "--channels", 0.05, "--flows", 2, "--batch", 1, "--repeats", 1] if self.rehearsal else \
            ["--precision", "bf16", "--kernels", "measure", "--repeats", 30]
        options = [*shlex.split(arguments), *size, "--json"]
        status, text = self.program("bench_stream", "--device", self.o.device, *options)
        if status != 0:
            raise RuntimeError(f"bench_stream {arguments} ended with {status}; log.txt says why")
        return json.loads(text.strip().splitlines()[-1])

    def part_streams(self):
        return self.each("streams", STREAMS, lambda name, arguments: self.bench_stream(arguments))

    def each(self, part, wanted, function):
        """Results kept one by one; those that an earlier call has are not made again"""
        done = self.results["parts"].get(part, {}).get("done", {})
        missing = {}
        for name, job in wanted.items():
            if name not in done:
                try:
                    self.say(f"{part}: {name}")
                    done[name] = function(name, job)
                except OutOfTime as error:
                    missing[name] = f"not run: {error}"
                except (RuntimeError, ValueError, OSError) as error:
                    missing[name] = f"failed: {error}"
                self.keep(part, done=done, missing=missing)
        if missing:
            raise (OutOfTime if all(why.startswith("not run") for why in missing.values()) else RuntimeError)(
                "; ".join(f"{name}: {why}" for name, why in missing.items()))
        return {"done": done, "missing": {}}

    def python(self):
        try:
            status, text = self.command([self.o.python, "-B", "-c", "import numpy, torch; print(torch.__version__)"], 120)
        except OSError as error:
            raise RuntimeError(f"{self.o.python}: {error.strerror}; --python names one with PyTorch") from None
        if status != 0:
            raise RuntimeError(f"{self.o.python} has no PyTorch; --python names one that has")
        return text.strip().splitlines()[-1]

    def part_peers(self):
        self.keep("peers", torch=self.python())
        device = "cuda" if not self.rehearsal else "cpu"
        status, text = self.command([self.o.python, "-B", PEERS, "check", "--device", device, "--cases",
                                     "small" if self.rehearsal else "small,clip"], 180)
        self.keep("peers", same_work=[json.loads(line) for line in text.splitlines() if line.startswith("{")])
        if status != 0:
            raise RuntimeError("PyTorch's objective is not the stored one, so its times mean nothing")
        groups = {"step fp32": ("step", 1, "fp32", ("eager",))} if self.rehearsal else GROUPS
        return self.each("peers", groups, self.race)

    def serve(self, work, batch, precision, form):
        """A peer that is ready to be timed, or why it is not"""
        command = [self.o.python, "-B", "-W", "ignore", PEERS, work, "--serve", "--form", form, "--precision",
                   precision, "--device", "cpu" if self.rehearsal else "cuda", "--batch", batch,
                   *(shlex.split(SMALL_PEER) if self.rehearsal else [])]
        process = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True)
        line = self.answer(process, min(240, self.left() - 20))
        if line is None:
            self.stop(process)
            return None, "not ready in time, or failed; log.txt says which"
        return process, json.loads(line)

    @staticmethod
    def answer(process, limit):
        """The next line of JSON on stdout; None at the end or when the time is over"""
        def over(*_):
            raise TimeoutError
        before = signal.signal(signal.SIGALRM, over)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, limit))
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    return line
        except TimeoutError:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return None

    @staticmethod
    def stop(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def ours(self, work, batch, precision):
        if work == "step":
            return self.bench_step(f"--precision {precision}", batch)
        if work == "infer":
            return self.bench_step(f"--inference --precision {precision}", batch)
        return None  # loss and adam are nodes of the step

    def race(self, name, job):
        """All contenders in turn, ROUNDS times -> name -> seconds of each round"""
        work, batch, precision, forms = job
        if self.left() < (2 if self.rehearsal else 60):
            raise OutOfTime("less than a minute was left")
        ready, missing, facts = {}, {}, {}
        try:
            for form in forms:
                process, told = self.serve(work, batch, precision, form)
                if process:
                    ready[form], facts[form] = process, told
                else:
                    missing[form] = told
            rounds = {"millrace": [], **{form: [] for form in ready}}
            for _ in range(1 if self.rehearsal else ROUNDS):
                try:
                    result = self.ours(work, batch, precision)
                    if result:
                        rounds["millrace"].append(result["seconds"])
                        facts["millrace"] = {key: result[key] for key in ("plan_seconds", "captured") if key in result}
                except RuntimeError as error:
                    missing["millrace"] = str(error)
                for form, process in ready.items():
                    if process.poll() is None:
                        process.stdin.write("go\n")
                        process.stdin.flush()
                    line = self.answer(process, min(60, self.left()))
                    if line:
                        rounds[form].append(json.loads(line)["seconds"])
                    else:
                        missing[form] = "ended, or was too slow, in a round"
        finally:
            for process in ready.values():
                self.stop(process)
        median = {who: statistics.median(seconds) for who, seconds in rounds.items() if seconds}
        if not median:
            raise RuntimeError(f"no contender ran: {missing}")
        return {"batch": batch, "precision": precision, "seconds": median, "rounds": rounds, "missing": missing,
                "facts": facts}

    def part_sanitize(self):
        if self.rehearsal:
            raise OutOfTime("there is no GPU in a rehearsal")
        tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
        if not tool:
            raise OutOfTime("compute-sanitizer is not installed")

        def checked(name, _):
            status, text = self.command([tool, "--tool", name, "--error-exitcode", 9, self.build / "bin/check_kernels",
                                         "--device", self.o.device, "--small"], 240)
            if status != 0:
                raise RuntimeError(f"{name} ended with {status}; log.txt has what it found")
            return text.strip().splitlines()[-1]

        return self.each("sanitize", {"memcheck": None, "racecheck": None}, checked)

    # ---- all of it

    def describe(self):
        device = {"machine": platform.machine(), "processors": os.cpu_count()}
        if not self.rehearsal:
            fields = "name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
            try:
                text = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], check=True,
                                      capture_output=True, text=True).stdout
            except (OSError, subprocess.CalledProcessError):
                text = ""
            if not text.strip():
                print("verify_gpu: no GPU is found here (nvidia-smi lists none), so nothing was verified.", file=sys.stderr)
                sys.exit(NO_DEVICE)
            number = self.o.device.partition(":")[2] or "0"
            row = text.strip().splitlines()[int(number)].split(", ")
            device.update(zip(fields.split(","), row))
            self.results["architecture"] = device["compute_cap"].replace(".", "")
        self.results["about"] = device
        (self.out / "device.json").write_text(json.dumps(device, indent=1) + "\n")

    def run(self):
        self.describe()
        good = True
        for part in self.o.parts:
            self.say(f"part {part}" + (", a rehearsal without a GPU" if self.rehearsal else ""))
            start = time.monotonic()
            before = self.results["parts"].get(part, {})
            self.results["parts"][part] = {"done": before["done"]} if "done" in before else {}
            try:
                self.keep(part, **getattr(self, "part_" + part)(), status="ok", reason="")
            except OutOfTime as error:
                self.keep(part, status="not complete", reason=str(error))
            except (RuntimeError, ValueError, OSError, xml.etree.ElementTree.ParseError) as error:
                self.keep(part, status="failed", reason=f"{error}")
            self.keep(part, took=time.monotonic() - start)
            kept = self.results["parts"][part]
            good &= kept["status"] == "ok"
            self.say(f"part {part}: {kept['status']}" + (f": {kept['reason']}" if kept["reason"] else ""))
        self.say(f"results in {self.out}/results.md")
        return 0 if good else 1


def parts(text):
    chosen = text.split(",")
    for name in chosen:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in chosen]


def main():
    parser = argparse.ArgumentParser(prog="verify_gpu", allow_abbrev=False)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--headers", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", type=parts, default=list(PARTS))
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-gpu")
    parser.add_argument("--python", default=os.environ.get("PYTORCH_PYTHON", "python3"))
    parser.add_argument("--minutes", type=float, default=9.5)
    return Run(parser.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
