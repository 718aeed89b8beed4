#!/usr/bin/env bash
# Fuzzes the readers of files with libFuzzer: scripts/fuzz.sh SECONDS [TARGET...], each target for so long, one per core.
# Targets are tests/fuzz/<target>.cpp, inputs to begin with tests/fuzz/corpus/<target>; inputs that reach more are kept in
# build-fuzz/corpus/<target>, and those that break a reader in build-fuzz/crashes, which makes it fail.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
source scripts/setup.sh

[[ ${1:-} =~ ^[0-9]+$ ]] || die "usage: scripts/fuzz.sh SECONDS [TARGET...]"
seconds=$1
shift
install_packages "${build_packages[@]}" "${fuzz_packages[@]}"
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
  for source in tests/fuzz/*.cpp; do
    name=$(basename "$source" .cpp)
    [[ $name == replay ]] || targets+=("$name")
  done
fi

say "Building the fuzz targets: ${targets[*]}"
configure fuzz
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}" || die "the build failed; the compiler says why above."

# Files that targets write for a moment: in memory, where there is some.
scratch=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" millrace-fuzz-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
crashes=build-fuzz/crashes
mkdir -p "$crashes"

# fuzz TARGET
fuzz() {
  local corpus=build-fuzz/corpus/$1 log=$scratch/$1.log
  mkdir -p "$corpus" "$scratch/$1"
  TMPDIR=$scratch/$1 ASAN_OPTIONS=external_symbolizer_path=/usr/bin/addr2line \
    UBSAN_OPTIONS=print_stacktrace=1:external_symbolizer_path=/usr/bin/addr2line \
    "build-fuzz/bin/fuzz_$1" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix="$crashes/$1-" "$corpus" "tests/fuzz/corpus/$1" >"$log" 2>&1 || {
    grep -v '^#' "$log" | tail -n 60 >&2
    printf '%s\n' "$1: a fault; the input is in $crashes" >&2
    return 1
  }
  printf '%s: %s inputs tried, %s\n' "$1" "$(awk '/number_of_executed_units/ { print $2 }' "$log")" \
    "$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -n 1)"
}

failed=()
running=()
# reap: waits for the target that has run the longest.
reap() {
  wait "${running[0]#*:}" || failed+=("${running[0]%%:*}")
  running=("${running[@]:1}")
}
say "Fuzzing each for $seconds s"
for target in "${targets[@]}"; do
  [[ ${#running[@]} -lt $(nproc) ]] || reap
  fuzz "$target" &
  running+=("$target:$!")
done
while [[ ${#running[@]} -gt 0 ]]; do reap; done

[[ ${#failed[@]} -eq 0 ]] || die "faults in ${#failed[@]} of ${#targets[@]} targets: ${failed[*]}" \
  "The inputs are in $crashes; build-fuzz/bin/fuzz_TARGET INPUT shows the fault again." \
  "When it is mended, the input goes to tests/fuzz/corpus/TARGET under a name that says what it is."
