#!/usr/bin/env bash
# What the CUDA kernels became: machine instructions of each by kind, counted in the code that nvcc made, not run.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
source scripts/setup.sh
shopt -s nullglob

usage='usage: scripts/instructions.sh [--arch A] [--file NAME] [BUILD]
  --arch A     of code for this architecture (default: sm_90)
  --file NAME  only kernels of cuda/NAME.cu
Prints a line per kernel, fields separated by tabs: all instructions; loads from and stores to global memory, of 1 to 4, of
8 and of 16 bytes a thread; accesses of shared memory; shuffles and votes; additions, products and fused ones of float
and of double; calls of the unit for reciprocals, roots, exponentials and logarithms; branches.
A loop that is not unrolled counts once. BUILD is a folder in which millrace_cuda was built by nvcc; build without it.
It needs cuobjdump and nvdisasm of the CUDA toolkit.'
arch=sm_90 only='' build=build
while [[ $# -gt 0 ]]; do
  case $1 in
    --arch | --file)
      [[ $# -ge 2 ]] || { printf '%s\n' "instructions.sh: $1 needs a value" >&2; exit 2; }
      if [[ $1 == --arch ]]; then arch=$2; else only=$2; fi
      shift ;;
    --help | -h) printf '%s\n' "$usage"; exit ;;
    -*) printf '%s\n' "instructions.sh: no such option: $1" "$usage" >&2; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done
for tool in cuobjdump nvdisasm; do
  command -v "$tool" >/dev/null || die "$tool is not found." "It comes with the CUDA toolkit; put its bin folder on the PATH."
done
objects=("$build"/cuda/CMakeFiles/millrace_cuda.dir/${only:-*}.cu.o)
[[ ${#objects[@]} -gt 0 && -e ${objects[0]} ]] || die "$build holds no kernels built by nvcc${only:+ of cuda/$only.cu}."

printf 'file\tkernel\tall\tload_4\tload_8\tload_16\tstore_4\tstore_8\tstore_16\tshared\tshuffle\tfp32\tfp64\tspecial\tbranch\n'
for object in "${objects[@]}"; do
  cuobjdump --dump-sass --gpu-architecture "$arch" "$object" 2>/dev/null |
    c++filt |
    awk -v file="$(basename "$object" .o)" -v OFS='\t' '
      function width(op) { return op ~ /\.128/ ? 16 : op ~ /\.64/ ? 8 : 4 }
      function finish() {
        if (kernel == "") return
        print file, kernel, n["all"] + 0, n["LDG4"] + 0, n["LDG8"] + 0, n["LDG16"] + 0, n["STG4"] + 0, n["STG8"] + 0,
          n["STG16"] + 0, n["shared"] + 0, n["shuffle"] + 0, n["fp32"] + 0, n["fp64"] + 0, n["special"] + 0, n["branch"] + 0
      }
      /Function : / {
        finish()
        delete n
        sub(/.*Function : /, "")
        gsub(/\(anonymous namespace\)::|millrace::cuda::|millrace::/, "")
        sub(/^void /, "")
        sub(/\(.*/, "")
        kernel = $0
        next
      }
      match($0, /^ +\/\*[0-9a-f]+\*\/ +/) {
        $0 = substr($0, RLENGTH + 1)
        sub(/^@!?U?P[0-9T]+ +/, "")
        op = $1
        sub(/;$/, "", op)
        if (op == "NOP") next
        ++n["all"]
        if (op ~ /^(LDG|STG)/) ++n[substr(op, 1, 3) width(op)]
        else if (op ~ /^(LDS|STS)/) ++n["shared"]
        else if (op ~ /^(SHFL|VOTE|MATCH)/) ++n["shuffle"]
        else if (op ~ /^(FADD|FMUL|FFMA|FSWZADD)/) ++n["fp32"]
        else if (op ~ /^(DADD|DMUL|DFMA)/) ++n["fp64"]
        else if (op ~ /^MUFU/) ++n["special"]
        else if (op ~ /^(BRA|BRX|CALL|RET)/) ++n["branch"]
      }
      END { finish() }' | LC_ALL=C sort
done
