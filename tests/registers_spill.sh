#!/usr/bin/env bash
# scripts/registers.sh must refuse a kernel that spills: it is given a build folder made up for this, in which each
# kernel file has one kernel as ptxas reports it, and the last one spills 8 bytes and loads them again.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
objects=$build/cuda/CMakeFiles/millrace_cuda.dir
mkdir -p "$build/CMakeFiles/made-up" "$objects"
echo 'set(CMAKE_CUDA_COMPILER_VERSION "0.0")' >"$build/CMakeFiles/made-up/CMakeCUDACompiler.cmake"
# report FILE BYTES: what ptxas says of a kernel that spills so many bytes.
report() {
  cat >"$objects/$(basename "$1").o.ptxas" <<END
ptxas info    : Compiling entry function 'kernel' for 'sm_90'
ptxas info    : Function properties for kernel
    $2 bytes stack frame, $2 bytes spill stores, $2 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
END
}
files=(cuda/*.cu)
for file in "${files[@]}"; do report "$file" 0; done

said=$(scripts/registers.sh --check "$build" 2>&1) || true
[[ $said != *spill* ]] || { printf '%s\n' "no kernel spills, and it said: $said"; exit 1; }
report "${files[-1]}" 8
if said=$(scripts/registers.sh --check "$build" 2>&1); then
  printf '%s\n' "a kernel that spills passed: $said"
  exit 1
fi
[[ $said == *"$(basename "${files[-1]}"): kernel on sm_90: 16 bytes"* ]] ||
  { printf '%s\n' "the kernel that spills is not named: $said"; exit 1; }
