#!/usr/bin/env bash
# Registers, spills and static shared memory of every CUDA kernel, as `ptxas -v` says them while build/ is made, beside
# the table that is kept with the kernels: cuda/registers.tsv.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
source scripts/setup.sh
shopt -s nullglob

usage='usage: scripts/registers.sh --check|--update [BUILD]
  --check   fails where a kernel differs from the table, or spills (77: nothing can be compared)
  --update  writes the table
BUILD is a folder in which millrace_cuda was built by nvcc; build without it.'
kSkipped=77
table=cuda/registers.tsv
mode=${1:-}
build=${2:-build}
[[ $mode == --check || $mode == --update ]] || { printf '%s\n' "$usage" >&2; exit 2; }

skip() {
  printf 'skipped: %s\n' "$1"
  exit "$kSkipped"
}

compilers=("$build"/CMakeFiles/*/CMakeCUDACompiler.cmake)
[[ ${#compilers[@]} -eq 1 ]] || skip "$build was made without nvcc, so nothing is known of the kernels' registers"
release=$(sed -n 's/^set(CMAKE_CUDA_COMPILER_VERSION "\(.*\)")$/\1/p' "${compilers[0]}")

objects=$build/cuda/CMakeFiles/millrace_cuda.dir
for source in cuda/*.cu; do
  [[ -e $objects/$(basename "$source").o.ptxas ]] || skip "$source is not compiled in $build (target millrace_cuda)"
done

measured() {
  local source
  printf '# nvcc %s. Written by scripts/registers.sh --update; spill and shared are bytes, shared is static.\n' "$release"
  printf 'file\tkernel\tarch\tregisters\tspill\tshared\n'
  for source in cuda/*.cu; do
    c++filt -p <"$objects/$(basename "$source").o.ptxas" |
      awk -v file="$(basename "$source")" -v OFS='\t' -F "'" '
        /Compiling entry function/ { kernel = $2; arch = $4 }
        /bytes spill stores/ { split($0, word, " "); spill = word[5] + word[9] }
        /: Used [0-9]+ registers/ {
          registers = $0; sub(/.*Used /, "", registers); sub(/ .*/, "", registers)
          shared = 0
          if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART) + 0
          gsub(/\(anonymous namespace\)::|millrace::cuda::|millrace::/, "", kernel)
          print file, kernel, arch, registers, spill, shared
        }' | LC_ALL=C sort
  done
}

# Kernels of the table that no longer are what it says, side by side.
differences() {
  awk -F '\t' '
    /^#/ || $1 == "file" { next }
    { key = $1 ": " $2 " on " $3; value = $4 " registers, " $5 " bytes spilled, " $6 " shared" }
    FNR == NR { was[key] = value; next }
    { is[key] = 1 }
    !(key in was) { print key ": " value ", not in the table" }
    key in was && was[key] != value { print key ": " value "; the table has " was[key] }
    END { for (key in was) if (!(key in is)) print key ": only in the table" }' "$table" "$1" | LC_ALL=C sort
}

new=$(mktemp)
trap 'rm -f "$new"' EXIT
measured >"$new"
mapfile -t spilled < <(awk -F '\t' 'NR > 2 && $5 > 0 { print $1 ": " $2 " on " $3 ": " $5 " bytes" }' "$new")
[[ ${#spilled[@]} -eq 0 ]] || die "kernels spill registers to memory:" "${spilled[@]}"

if [[ $mode == --update ]]; then
  cp "$new" "$table"
  printf '%s\n' "$table: $(($(wc -l <"$table") - 2)) lines"
  exit
fi
[[ -e $table ]] || die "there is no $table." "To write it: scripts/registers.sh --update"
written=$(sed -n '1s/^# nvcc \([0-9.]*\)\. .*/\1/p' "$table")
[[ $written == "$release" ]] || skip "the table is of nvcc $written, and this is $release"
mapfile -t found < <(differences "$new")
[[ ${#found[@]} -eq 0 ]] || die "kernels are not what $table says:" "${found[@]}" \
  "If that is meant, scripts/registers.sh --update writes the table, and the commit says why they changed."
printf '%s\n' "$(($(wc -l <"$table") - 2)) lines agree with $table."
