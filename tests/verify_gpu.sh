#!/usr/bin/env bash
# bench/verify_gpu with programs that only pretend, in a copy of the sources that it reads: what it keeps, what it claims,
# and how it ends. No GPU is asked, and no time is measured. 77: there is no Python.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
command -v python3 >/dev/null || { echo "skipped: there is no python3"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/source/tests" "$folder/build/bin" "$folder/path"
cp -r "$root/bench" "$root/scripts" "$root/cuda" "$folder/source/"
rm -f "$folder/source/cuda/VERIFIED"
cd "$folder"
export PATH=$folder/path:$PATH PYTHONDONTWRITEBYTECODE=1

wrong() { echo "WRONG: $*"; cat "$folder/err" "$folder/out/results.md" 2>/dev/null; exit 1; }
# program PATH: from stdin
program() { { echo '#!/bin/sh'; cat; } >"$1"; chmod +x "$1"; }
# verify CODE ARGUMENTS...: must end with CODE
verify() {
  local code=$1 status=0
  shift
  source/bench/verify_gpu --out out --build build "$@" 2>err || status=$?
  [[ $status -eq $code ]] || wrong "$* ended with $status, not $code"
}
has() { grep -qF -- "$2" "$1" || wrong "$1 does not have: $2"; }
has_not() { ! grep -qF -- "$2" "$1" || wrong "$1 has: $2"; }

# Mistakes on the command line.
verify 2 --parts kernels,abacus
has err abacus
[[ $(source/bench/verify_gpu --help) == *--parts* ]] || wrong "--help"

# No GPU: nothing is claimed.
program path/nvidia-smi <<<'exit 1'
verify 4 --parts kernels
has err "nothing was verified"
[[ ! -e out/VERIFIED && ! -e out/results.md ]] || wrong "results without a GPU"

# A GPU whose kernels are wrong, but whose benchmarks run: the others' results stay, the ledger is not written.
program path/nvidia-smi <<<'echo "Pretended GPU, 1, 9.0, 1 MiB, 1 MHz, 1 MHz, 1 W"'
program build/bin/check_kernels <<<'echo "Pretended"; echo "WRONG fill plain f32: 1 cases"; echo "0 of 1 kernels agree with the CPU"; exit 1'
program build/bin/bench_kernels <<<'echo "[{\"op\":\"adam\",\"case\":\"all\",\"dtype\":\"f32\",\"seconds\":0.0007}]"'
program build/bin/bench_step <<EOF2
echo run >>$folder/runs
case "\$*" in *tf32*) exit 1 ;; esac
echo '{"seconds": 0.005, "sum_of_nodes": 0.005, "plan_seconds": {"cold": 70}, "layers": [{"name": "update/adam", "seconds": 0.0003}], "kinds": [{"name": "conv", "seconds": 0.004, "flop": 2e12}, {"name": "loss", "seconds": 0.0004, "flop": 0}, {"name": "optimizer", "seconds": 0.0006, "flop": 0}]}'
EOF2
verify 1 --parts kernels,step
[[ ! -e out/VERIFIED && ! -e source/cuda/VERIFIED ]] || wrong "a ledger of kernels that are wrong"
has out/results.md "| kernels | failed |"
has out/results.md "| step | failed |"
has out/results.md "tf32: failed: bench_step"
has out/results.md "| G1 | training step, batch 16, bf16 | <= 5.8 ms | 4.8 | 2.77 | 5 ms | must |"
has out/results.md "| 0.276 | 0.3 ms | stretch |"
has out/results.md "| 790 | 500 TFLOP/s | stretch |"
has out/results.md "8 % | must |"
has out/results.md "70 s | missed |"
has out/results.md "| G2 | training step, batch 16, tf32 | <= 11 ms | 9 | 5.22 | not measured | |"
has out/results.md "| peers | not run |"

# A second call makes only what is missing, and the ledger is written when the kernels agree.
before=$(wc -l <runs)
program build/bin/check_kernels <<<'echo "Pretended"; echo "1 of 1 kernels agree with the CPU"'
verify 1 --parts kernels,step
[[ $(($(wc -l <runs) - before)) -eq 1 ]] || wrong "the second call ran bench_step $(($(wc -l <runs) - before)) times, not once"
has out/results.md "| kernels | ok |"
has out/VERIFIED "adam.cu"
cmp -s out/VERIFIED source/cuda/VERIFIED || wrong "the ledger is not in cuda/"
source/bench/verify_gpu --changed >changed || wrong "--changed after all kernels were verified: $(cat changed)"
# Streams of recognition.
program build/bin/bench_stream <<<'echo "{\"seconds\": 0.025}"'
verify 0 --parts streams
has out/results.md "bf16 | <= 11 ms | 9.5 | 5.92 | 25 ms | missed |"
has out/results.md "| >= 4000 clips/s | 5300 | 7164 | 5000 clips/s | must |"

# What the ledger says of a kernel that was changed since.
echo "// changed" >>source/cuda/adam.cu
status=0
source/bench/verify_gpu --changed >changed || status=$?
[[ $status -eq 77 && $(cat changed) == *adam.cu:*changed* ]] || wrong "--changed ended with $status: $(cat changed)"

# Other sources, so nothing is gone on with; and no time.
program build/bin/check_kernels <<<'sleep 60'
verify 1 --parts kernels --minutes 0.03
has err "they are replaced"
has out/results.md "not complete"
has out/results.md "check_kernels was not done"
has out/results.md "| step | not run |"

# Results that were cut off.
head -c 100 out/results.json >half && mv half out/results.json
program build/bin/check_kernels <<<'echo "Pretended"; echo "1 of 1 kernels agree with the CPU"'
rm -f source/cuda/VERIFIED
verify 0 --parts kernels --device cpu
has err "cannot be read"
has out/results.md "REHEARSAL"
has_not out/results.md "0.3 ms |"
[[ ! -e out/VERIFIED && ! -e source/cuda/VERIFIED ]] || wrong "a rehearsal wrote the ledger"

# No PyTorch, no compute-sanitizer, no program.
rm build/bin/check_kernels
verify 1 --parts kernels,peers --device cpu --python "$folder/no-such-python"
has out/results.md "check_kernels is not built"
has_not out/results.md "1 of 1 kernels agree"
has out/results.md "names one with PyTorch"

[[ $(find out -type f | wc -l) -le 6 ]] || wrong "more than six files: $(ls out)"

# The headers, where there are Debian packages.
if command -v dpkg-query >/dev/null && [[ -e /usr/share/doc/libcli11-dev ]]; then
  source/bench/pack_deps --out headers 2>err || wrong "pack_deps"
  for file in fmt/format.h fmt/format-inl.h nlohmann/json.hpp CLI/CLI.hpp toml++/toml.h licences/libfmt-dev; do
    [[ -s headers/$file ]] || wrong "pack_deps left out $file"
  done
  [[ $(du -sk headers | cut -f 1) -lt 20000 ]] || wrong "pack_deps: $(du -sk headers)"
  status=0
  source/bench/pack_deps --out headers 2>err || status=$?
  [[ $status -eq 1 ]] || wrong "pack_deps into a folder that is not empty ended with $status"
fi
echo "as it should be"
