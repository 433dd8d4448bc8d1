#include "run_command.h"

#include <sys/wait.h>

#include <array>
#include <cstdio>

#include "coeus/base/error.h"

namespace coeus {

Outcome run_command(const std::string& command) {
  FILE* pipe =
      popen(fmt::format("cd '{}' && {{ {}; }} 2>&1", COEUS_SOURCE_DIR, command).c_str(), "r");
  COEUS_ASSERT(pipe != nullptr);
  Outcome outcome;
  std::array<char, 4096> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.output.append(buffer.data(), n);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

Outcome run_coeus(const std::string& arguments) {
  return run_command(fmt::format("'{}' {}", COEUS_BINARY, arguments));
}

}  // namespace coeus
