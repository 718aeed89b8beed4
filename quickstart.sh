#!/usr/bin/env bash
# From a fresh clone to pictures of optical flow that a network has learned from a real video, without labels:
# sets up, builds the programs, gets the video, trains for a few minutes on the CPU. Stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
source scripts/setup.sh

# A quarter of the paper's channels and two frames instead of eleven: enough for one video, and minutes on two cores.
iterations=1500
train_options=(--preset small --height 192 --width 320 --decode-height 192 --decode-width 320 --batch 2 --hold-out 16
               --lr-steps 900,1200 --validate-every 150 --pictures-every 300 --checkpoint-every 150)
flow_options=(--height 192 --width 320 --every 20 --format png)

video=quickstart/video/cockatoo.mp4
run=quickstart/run
flow=quickstart/flow

usage() {
  cat <<'END'
usage: ./quickstart.sh [options]
  --no-setup    install no packages
  --help
Everything it makes is in build/ and quickstart/. To train anew: rm -r quickstart/run
END
}

# The Debian package python3-imageio carries a video under the BSD licence. It is unpacked, not installed.
get_video() {
  [[ ! -s $video ]] || return 0
  say "Getting a video: cockatoo.mp4 of the Debian package python3-imageio"
  local temporary=quickstart/download packages
  local by_hand="Or put any video of at least some seconds at $video and run this again."
  command -v apt-get >/dev/null || die "the video comes from a Debian package, and there is no apt-get here." "$by_hand"
  rm -rf "$temporary"
  mkdir -p "$temporary" "${video%/*}"
  download() { (cd "$temporary" && apt-get -q -o APT::Sandbox::User=root download python3-imageio); }
  # Without package lists, as in a container image, the package is not known yet.
  download || { as_root apt-get -q update && download; } ||
    die "the package python3-imageio could not be downloaded; apt-get says why above." \
        "It is needed once: a network that reaches Debian's packages." "$by_hand"
  packages=("$temporary"/python3-imageio_*.deb)
  dpkg-deb -x "${packages[0]}" "$temporary/unpacked"
  cp "$temporary/unpacked/usr/share/doc/python3-imageio/copyright" "${video%/*}/" || true
  find "$temporary/unpacked" -name "${video##*/}" -size +0 -exec mv {} "$video" \;
  rm -rf "$temporary"
  [[ -s $video ]] || die "this system's python3-imageio has no ${video##*/}." "$by_hand"
}

build_programs() {
  need_space . 500 "Building and training"
  say "Building the programs"
  # A folder that ./test.sh has configured keeps its tests: only the two programs are built here.
  local options=()
  [[ -f build/CMakeCache.txt ]] || options=(-DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF -DMILLRACE_SIM=OFF)
  configure release "${options[@]}"
  cmake --build --preset release --parallel "$(nproc)" --target motionnet-train motionnet-flow ||
    die "the build failed; the compiler says why above."
}

# The step of the newest complete checkpoint, 0 where there is none.
trained_steps() {
  local latest=""
  [[ ! -f $run/checkpoints/latest ]] || latest=$(<"$run/checkpoints/latest")
  latest=${latest##*_}
  echo "$((10#${latest:-0}))"
}

train() {
  local steps status=0 resume=()
  steps=$(trained_steps)
  if [[ $steps -ge $iterations ]]; then
    say "The network in $run has been trained for $steps steps already. To train anew: rm -r $run"
    return 0
  fi
  if [[ $steps -gt 0 ]]; then
    say "Going on with the training in $run, from step $steps of $iterations"
    resume=(--resume)
  else
    say "Training on $video: $iterations steps, a few minutes. Ctrl-C stops it; run this again to go on."
    rm -rf "$run"
  fi
  trap : INT  # the program stops by itself, after a checkpoint; then this script says how to go on
  build/bin/motionnet-train --data "$video" --out "$run" --iterations "$iterations" "${train_options[@]}" "${resume[@]}" ||
    status=$?
  trap - INT
  case $status in
    0) ;;
    75 | 130)
      say "Stopped at step $(trained_steps) of $iterations. To go on: ./quickstart.sh"
      exit "$status"
      ;;
    *) die "the training failed, with exit code $status; it says why above." \
           "A run of another version of millrace can be the cause. To train anew: rm -r $run, then ./quickstart.sh" ;;
  esac
}

draw_flow() {
  say "Drawing the flow of the video"
  build/bin/motionnet-flow --weights "$run" --data "$video" --out "$flow" "${flow_options[@]}" --overwrite ||
    die "motionnet-flow failed; it says why above."
}

# A few of the files of stdin, spread evenly.
some_of() { awk -v want="$1" '{ line[NR] = $0 } END { for (i = 0; i < want && i < NR; i++) print line[int(i * NR / want) + 1] }'; }

show_results() {
  say "Done. All paths are below $PWD"
  echo "Pictures of the flow, hue for direction and strength for speed (all: $flow/):"
  find "$flow" -name '*.png' | sort | some_of 4 | sed 's/^/  /'
  echo "Held-out frames beside their flow, drawn during the training (all: $run/pictures/):"
  find "$run/pictures" -name '*.png' | sort | tail -n 4 | sed 's/^/  /'
  echo "Curves of the training:"
  echo "  $run/metrics.jsonl  a line a step: losses and times"
  find "$run" -name '*tfevents*' | sed 's/$/  for TensorBoard/; s/^/  /'
  echo "The trained network: $run/checkpoints/$(<"$run/checkpoints/latest")/model.safetensors"
}

case ${1:-} in
  "") install_packages "${build_packages[@]}" ;;
  --no-setup) ;;
  --help | -h) usage; exit 0 ;;
  *) echo "quickstart.sh: no such option: $1" >&2; usage >&2; exit 2 ;;
esac
get_video
build_programs
train
draw_flow
show_results
