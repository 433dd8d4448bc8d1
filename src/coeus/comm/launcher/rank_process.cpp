#include "coeus/comm/launcher/rank_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "coeus/base/error.h"

namespace coeus {

namespace {

struct Pipe {
  FileDescriptor reader, writer;
};

Pipe make_pipe() {
  int ends[2];
  COEUS_CHECK(::pipe2(ends, O_CLOEXEC) == 0, "[coeus launch] cannot open a pipe: {}",
              std::strerror(errno));
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

std::vector<std::string> child_environment(const RankStart& start) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name(std::string_view(*entry).substr(0, std::strcspn(*entry, "=")));
    bool kept = !start.set.contains(name);
    for (const std::string& gone : start.unset) kept = kept && name != gone;
    if (kept) variables.emplace_back(*entry);
  }
  for (const auto& [name, value] : start.set)
    variables.push_back(fmt::format("{}={}", name, value));
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

/// Between fork and exec: nothing that allocates or takes a lock.
[[noreturn]] void become(pid_t launcher, char* const* command, char* const* environment, int input,
                         int output, int errors, int inherited, int failure) {
  ::setpgid(0, 0);
  // The launcher may be dead by the time that this asks to die with it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != launcher) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (inherited >= 0) ::fcntl(inherited, F_SETFD, 0);
  if (::dup2(input, STDIN_FILENO) >= 0 && ::dup2(output, STDOUT_FILENO) >= 0 &&
      ::dup2(errors, STDERR_FILENO) >= 0) {
    ::execve(command[0], command, environment);
  }
  const int error = errno;
  const ssize_t ignored = ::write(failure, &error, sizeof error);
  ::_exit(ignored > 0 ? 127 : 126);
}

}  // namespace

RankProcess start_rank(const RankStart& start) {
  COEUS_ASSERT(!start.command.empty());
  Pipe output = make_pipe(), errors = make_pipe(), failure = make_pipe();
  const FileDescriptor input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<std::string> command = start.command, environment = child_environment(start);
  const std::vector<char*> command_pointers = pointers(command);
  const std::vector<char*> environment_pointers = pointers(environment);
  const pid_t launcher = ::getpid();
  const pid_t child = ::fork();
  COEUS_CHECK(child >= 0, "[coeus launch] cannot start rank {}: {}", start.rank,
              std::strerror(errno));
  if (child == 0) {
    become(launcher, command_pointers.data(), environment_pointers.data(), input.number(),
           output.writer.number(), errors.writer.number(), start.inherited,
           failure.writer.number());
  }
  // Here too: a signal may be sent before the child has come so far.
  ::setpgid(child, child);
  failure.writer.close();
  int error = 0;
  if (::read(failure.reader.number(), &error, sizeof error) == sizeof error) {
    ::waitpid(child, nullptr, 0);
    throw Error(
        fmt::format("[coeus launch] cannot run {}: {}", start.command[0], std::strerror(error)));
  }
  for (const FileDescriptor* reader : {&output.reader, &errors.reader})
    ::fcntl(reader->number(), F_SETFL, O_NONBLOCK);
  return {start.rank, child, std::move(output.reader), std::move(errors.reader)};
}

void signal_rank(const RankProcess& process, int signal) { ::kill(-process.id, signal); }

}  // namespace coeus
