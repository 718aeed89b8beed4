// motionnet-flow: optical flow of videos, frame folders and image pairs by a trained MotionNet.
#include <CLI/CLI.hpp>

#include "apps/flow/program.h"
#include "apps/flow/settings.h"
#include "apps/support/program.h"

namespace millrace {
namespace {

constexpr const char* kFooter =
    "writes OUT/<video or folder>/, one file per pair of frames, numbered from 1:\n"
    "  flo     flow_00001.flo, Middlebury's: exact\n"
    "  kitti   kitti_00001.png, KITTI's 16-bit PNG: to 1/64 pixel, within 512 pixels\n"
    "  jpg     flow_x_00001.jpg and flow_y_00001.jpg, 8 bits within --bound, with flow.json, which says so\n"
    "  png     flow_00001.png, in colours: hue is direction, saturation length, each picture to its own "
    "scale\n"
    "  video   flow.mp4 (or mkv, avi: flow.mkv, flow.avi), the colours at one scale for the whole video\n"
    "and done.json, which says what it was made with. A folder appears when its video is finished; started\n"
    "again with the same options the program goes on with the videos that are missing.\n"
    "examples:\n"
    "  motionnet-flow --weights runs/holiday --data holiday.mp4 --out flow --format png,flo\n"
    "  motionnet-flow --weights runs/holiday --data videos/ --out flow --format jpg\n"
    "  motionnet-flow --weights runs/holiday --data holiday.mp4 --out flow --format video --side-by-side\n"
    "  motionnet-flow --weights runs/holiday --data frame10.png frame11.png --truth flow10.flo\n"
    "exit codes: 0 done, 1 failure, 2 usage, 3 bad data (of several videos: the others are written), 4 "
    "device,\n"
    "75 stopped by a signal";

void declare_data(CLI::App& app, FlowSettings& s) {
  app.add_option("--weights", s.weights, "a .safetensors file, a checkpoint or a run")->required();
  app.add_option("--data", s.data,
                 "a video, a folder of videos or frames, a list of these (.txt), synthetic:, or two images")
      ->required()
      ->expected(1, 2);
  app.add_option("--data-root", s.data_root,
                 "where the paths of a list begin; without it in the list's own folder");
  app.add_flag("--skip-missing", s.skip_missing,
               "leave out, with a warning, what a list names and the disk lacks; else that is an error");
  app.add_option("--every", s.every,
                 "only every N-th clip of a video (of a net with 2 frames: every N-th pair)");
  app.add_option("--height", s.height,
                 "pixels of the network's input; 0: the nearest to the frames' that fits the net");
  app.add_option("--width", s.width, "pixels of the network's input; 0: as --height");
}

void declare_output(CLI::App& app, FlowSettings& s) {
  const char* group = "Output";
  app.add_option("--out", s.out, "folder to write to; needed unless there is truth to compare with")
      ->group(group);
  app.add_option("--format", s.formats, "flo, kitti, jpg, png, video, mkv, avi, or several: flo,png")
      ->delimiter(',')
      ->group(group);
  app.add_flag("--native", s.native, "the network's own half resolution, not the frames'")->group(group);
  app.add_flag("--overwrite", s.overwrite,
               "replace flow that was made with other weights or options; what was made with these stays")
      ->group(group);
  app.add_option(
         "--max-flow", s.max_flow,
         "pixels of full colour; 0: what 1 % of the lengths exceed, of each picture, or for a video of "
         "16 clips spread over it")
      ->group(group);
  app.add_flag("--side-by-side", s.side_by_side, "in pictures and videos, the frame to the left of its flow")
      ->group(group);
  app.add_option("--fps", s.fps, "pictures a second of videos")->group(group);
  app.add_option("--bound", s.bound, "of jpg: pixels that become 255, longer flow is cut (default: 20)")
      ->group(group);
  app.add_option("--rounding", s.rounding,
                 "of jpg: round, or truncate as Hidden Two-Stream's authors (default: round)")
      ->group(group);
  app.add_option("--quality", s.quality, "of jpg, 1 to 100")->group(group);
  app.add_flag("--json", s.json, "results as one line of JSON on stdout")->group(group);
}

void declare(CLI::App& app, FlowSettings& s) {
  app.footer(kFooter);
  declare_data(app, s);
  declare_output(app, s);
  app.add_option("--truth", s.truth,
                 "true flow: a file .flo or KITTI's .png for two images; or a folder of flow_%05d.flo, "
                 "flow_%05d.png, kitti_%05d.png or jpg pairs (for several videos, <name>/ in it)")
      ->group("Error");
  app.add_option("--epe-border", s.border, "pixels at each edge left out of the errors")->group("Error");
  add_flags(app, machine_flags(s, "Machine"));
}

int run(FlowSettings& settings) {
  check_settings(settings);
  set_threads(settings.threads);
  return FlowProgram(settings).run();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::FlowSettings settings;
  return millrace::run_program({.name = "motionnet-flow",
                                .about = "Optical flow by a trained MotionNet.",
                                .setup = [&](CLI::App& app) { millrace::declare(app, settings); },
                                .run = [&](CLI::App&) { return millrace::run(settings); }},
                               argc, argv);
}
