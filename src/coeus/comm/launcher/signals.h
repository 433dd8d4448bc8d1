#pragma once

#include <csignal>
#include <optional>
#include <vector>

#include "coeus/comm/listening_socket.h"

namespace coeus {

/// While it lives, signals of this process are read here instead of doing what they do. One that
/// the process was started to ignore stays ignored.
class SignalReader {
 public:
  explicit SignalReader(const std::vector<int>& signals);
  ~SignalReader();
  SignalReader(const SignalReader&) = delete;
  SignalReader& operator=(const SignalReader&) = delete;

  /// Readable, for poll, when there is a signal.
  int descriptor() const { return descriptor_.number(); }
  std::optional<int> next();

 private:
  sigset_t before_;
  sigset_t taken_;
  FileDescriptor descriptor_;
};

}  // namespace coeus
