#!/usr/bin/env bash
# What CMake starts nvcc by: what ptxas says of registers goes to OBJECT.ptxas, for scripts/registers.sh, and not to the
# terminal. keep_ptxas.sh COMMAND... -o OBJECT ...
object=
for ((k = 1; k < $#; ++k)); do
  [[ ${!k} != -o ]] || { next=$((k + 1)) object=${!next}; }
done
[[ -n $object ]] || exec "$@"
"$@" 2>"$object.ptxas"
status=$?
grep -vE '^ptxas info|^    [0-9]+ bytes stack frame' "$object.ptxas" >&2
exit "$status"
