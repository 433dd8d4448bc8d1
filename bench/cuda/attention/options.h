// What is asked of the check of attention on its command line.
#pragma once

#include <string>

namespace coeus::cuda {

/// What to do, and with which kernels and cases.
struct Options {
  bool check = false;
  bool time = false;
  bool forward_only = false;
  int repeats = 0;  ///< of each timed case, to see whether its bits change
  bool hopper = true;
  bool deterministic = false;
  std::string filter;
};

/// Those of a command line; ends the program, with 2, when there is anything else on it.
Options parse(int argc, char** argv);

}  // namespace coeus::cuda
