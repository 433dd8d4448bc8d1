#include "coeus/comm/launcher/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "coeus/base/error.h"

namespace coeus {

SignalReader::SignalReader(const std::vector<int>& signals) {
  ::sigemptyset(&taken_);
  for (const int signal : signals) ::sigaddset(&taken_, signal);
  ::pthread_sigmask(SIG_BLOCK, &taken_, &before_);
  descriptor_ = FileDescriptor(::signalfd(-1, &taken_, SFD_CLOEXEC | SFD_NONBLOCK));
  COEUS_CHECK(descriptor_.is_open(), "[coeus launch] cannot wait for signals: {}",
              std::strerror(errno));
}

SignalReader::~SignalReader() {
  // Nobody asks any more; what is left would otherwise end the process now.
  while (next()) {
  }
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<int> SignalReader::next() {
  signalfd_siginfo info;
  if (::read(descriptor_.number(), &info, sizeof info) != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace coeus
