#!/usr/bin/env bash
# Sets up, builds everything and runs every test: from a fresh clone, as root or with sudo, offline after the first time.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
source scripts/setup.sh

usage() {
  cat <<'END'
usage: ./test.sh [options]
  --sanitize    with AddressSanitizer and UndefinedBehaviorSanitizer and no CUDA toolkit, in build-sanitize/
  --label L     only the tests of this label: unit, gradient, parity, cuda-sim, race, sim-faults, bf16, capture,
                cudnn-plans, cuda, fuzz or e2e
  --werror      a compiler warning is an error
  --no-setup    install no packages; leave out what is missing
  --jobs N      compile and test N at a time (default: one per core)
  --help
A label may be given more than once. The build is in build/, the tests' data in MILLRACE_TEST_DATA or ../shared/data.
END
}

# value OPTION VALUE...: the value of an option.
value() {
  [[ $# -ge 2 ]] || { printf '%s\n' "test.sh: $1 needs a value" >&2; return 2; }
  printf '%s' "$2"
}

preset=release
labels=()
werror=OFF
setup=yes
jobs=$(nproc)
while [[ $# -gt 0 ]]; do
  case $1 in
    --sanitize) preset=sanitize ;;
    --label) labels+=("$(value "$@")"); shift ;;
    --werror) werror=ON ;;
    --no-setup) setup=no ;;
    --jobs) jobs=$(value "$@"); shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "test.sh: no such option: $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

options=(-DMILLRACE_TESTS=ON -DMILLRACE_APPS=ON "-DMILLRACE_WERROR=$werror")
if [[ $setup == yes ]]; then
  install_packages "${build_packages[@]}" "${test_packages[@]}"
  # All that the tests cover is installed: a part that is not found is a fault, and not to be left out unseen.
  options+=(-DMILLRACE_VIDEO=ON -DMILLRACE_ONEDNN=ON -DMILLRACE_SIM=ON)
else
  options+=(-DMILLRACE_VIDEO=AUTO -DMILLRACE_ONEDNN=AUTO -DMILLRACE_SIM=AUTO)
fi
need_space . 2000 "Building and testing"

say "Building ($preset)"
configure "$preset" "${options[@]}"
cmake --build --preset "$preset" --parallel "$jobs" || die "the build failed; the compiler says why above."

if [[ -z ${MILLRACE_TEST_DATA:-} && -d ../shared/data ]]; then
  MILLRACE_TEST_DATA=$(cd ../shared/data && pwd)
  export MILLRACE_TEST_DATA
fi
# The tests' files lie in memory where there is room: on a disk every fsync waits, and the end-to-end tests have thousands.
if [[ -z ${TMPDIR:-} && -w /dev/shm && $(free_mebibytes /dev/shm) -ge 1000 ]]; then
  TMPDIR=$(mktemp -d -p /dev/shm millrace-tests-XXXXXX)
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
fi
say "Testing ($preset), data: ${MILLRACE_TEST_DATA:-none, tests that need real data are skipped}"
selection=()
if [[ ${#labels[@]} -gt 0 ]]; then selection=(--label-regex "^($(IFS='|'; echo "${labels[*]}"))\$"); fi
ctest --preset "$preset" --parallel "$jobs" "${selection[@]}"
