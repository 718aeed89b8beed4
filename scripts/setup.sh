# Sourced by quickstart.sh, test.sh, .ci/run and the scripts beside it: Debian packages, messages, free space.
# shellcheck shell=bash disable=SC2034

# To build the library and the programs.
build_packages=(git g++ cmake ninja-build pkg-config libfmt-dev libdnnl-dev libcli11-dev libtomlplusplus-dev
                nlohmann-json3-dev libstb-dev libpng-dev libturbojpeg0-dev zlib1g-dev
                libprotobuf-dev protobuf-compiler
                libavformat-dev libavcodec-dev libavutil-dev libswscale-dev)
# To build and run the tests as well: the CUDA kernels run on the CPU as Boost.Context fibers.
test_packages=(catch2 libboost-context-dev)
# To fuzz the readers (scripts/fuzz.sh); g++ has no libFuzzer. addr2line names the lines of a fault.
fuzz_packages=(clang-16 libclang-rt-16-dev binutils)
# To look at report.html as a person does (tests/browser/run).
browser_packages=(chromium)
# To check the layout of the sources.
format_packages=(clang-format-14)

say() { printf '\n== %s\n' "$*" >&2; }

die() {
  printf '\n%s: %s\n' "${0##*/}" "$1" >&2
  shift
  [[ $# -eq 0 ]] || printf '  %s\n' "$@" >&2
  exit 1
}

missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

# as_root COMMAND...: runs it as root, by sudo where the user is another.
as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif [[ -t 0 ]]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

# free_mebibytes FOLDER
free_mebibytes() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }

# need_space FOLDER MEBIBYTES WHAT
need_space() {
  local free
  free=$(free_mebibytes "$1")
  [[ $free -ge $2 ]] || die "$3 needs $2 MiB in $1, and $free MiB are free." "Make room there, then run this again."
}

# install_packages PACKAGE...: installs those that are missing, and asks no network when none is.
install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this is neither Debian nor Ubuntu, so nothing can be installed for you." \
        "Install what your system calls these: $*" "Then run this again with --no-setup."
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [[ ${#missing[@]} -gt 0 ]] || return 0

  local by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  if [[ $(id -u) -ne 0 ]] && ! command -v sudo >/dev/null; then
    die "${#missing[@]} Debian packages are missing, and there is no sudo to install them with." "Run as root: $by_hand"
  fi
  need_space /usr 1500 "Installing packages"
  say "Installing Debian packages: ${missing[*]}"
  local options=(-q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2)
  # A source of the user's own that fails is no reason to stop: what counts is whether the packages arrive.
  as_root apt-get "${options[@]}" update ||
    printf '%s\n' "apt-get update failed; going on with the package lists at hand." >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}" ||
    die "the Debian packages could not be installed; apt-get says why above." \
        "They are needed once: a network that reaches Debian's packages, and root's rights (or sudo)." \
        "By hand, as root: $by_hand"
}

# configure PRESET OPTION...: cmake, with ccache where it is installed.
configure() {
  local preset=$1 log options=()
  shift
  if command -v ccache >/dev/null; then options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  log=$(cmake --preset "$preset" "${options[@]}" "$@" 2>&1) || {
    printf '%s\n' "$log" >&2
    die "CMake could not configure the build; it says why above." \
        "A build folder of another checkout or toolchain can be the cause: remove it and run this again."
  }
  grep -E 'is left out:|Warning' <<<"$log" >&2 || true
}
