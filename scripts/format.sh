#!/usr/bin/env bash
# Lays out every C++ and CUDA source that git does not ignore by .clang-format. --check changes nothing, and fails where a file differs.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
source scripts/setup.sh
install_packages "${format_packages[@]}"

mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- '*.h' '*.cpp' '*.cu' '*.cuh')
[[ ${#sources[@]} -gt 0 ]] || die "git knows no sources here."
if [[ ${1:-} != --check ]]; then
  exec clang-format-14 -i "${sources[@]}"
fi

bad=()
for source in "${sources[@]}"; do
  clang-format-14 --dry-run -Werror "$source" 2>/dev/null || bad+=("$source")
done
if [[ ${#bad[@]} -gt 0 ]]; then
  printf '%s\n' "${bad[@]}"
  die "clang-format-14 lays out ${#bad[@]} of ${#sources[@]} files otherwise." "To put them right: scripts/format.sh"
fi
printf '%s\n' "clang-format-14 agrees with ${#sources[@]} files."
