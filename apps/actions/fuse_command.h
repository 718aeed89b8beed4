// twostream-eval --fuse A.csv B.csv ...: fuses and measures score files, ours or others', without networks or
// videos.
#pragma once

namespace millrace {

// Whether a command line of twostream-eval asks for it: --fuse is among its words.
bool asks_to_fuse(int argc, char** argv);
// Runs it from the command line to the exit code, as run_program does.
int fuse_program(int argc, char** argv);

}  // namespace millrace
