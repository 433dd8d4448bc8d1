#pragma once

#include <string>

namespace coeus {

/// How a command ended, and what it printed on standard output and error.
struct Outcome {
  int exit_code = -1;
  std::string output;
};

/// Runs a command line through a shell, in the project's folder.
Outcome run_command(const std::string& command);

/// Runs `coeus ARGUMENTS`, the built binary, so.
Outcome run_coeus(const std::string& arguments);

}  // namespace coeus
