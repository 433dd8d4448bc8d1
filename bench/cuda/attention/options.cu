#include "options.h"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace coeus::cuda {

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--check") {
      options.check = true;
    } else if (argument == "--time") {
      options.time = true;
    } else if (argument == "--forward-only") {
      options.forward_only = true;
    } else if (argument == "--no-hopper") {
      options.hopper = false;
    } else if (argument == "--deterministic") {
      options.deterministic = true;
    } else if (argument == "--repeats" && i + 1 < argc) {
      options.repeats = std::atoi(argv[++i]);
    } else if (argument == "--filter" && i + 1 < argc) {
      options.filter = argv[++i];
    } else {
      std::fprintf(stderr,
                   "usage: %s [--check] [--time] [--filter TEXT] [--forward-only] [--no-hopper] "
                   "[--deterministic] [--repeats N]\n",
                   argv[0]);
      std::exit(2);
    }
  }
  if (!options.check && !options.time) options.check = options.time = true;
  return options;
}

}  // namespace coeus::cuda
