#pragma once

#include <string>

namespace coeus {

/// What std::signal takes.
using SignalHandler = void (*)(int);

/// While it lives, SIGTERM and SIGINT (Ctrl-C) ask the run to stop after its step; the same signal
/// a second time ends the process at once. A signal that the process was started to ignore stays
/// ignored. One object at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Whether a signal came.
  bool requested() const;
  /// Its name, "SIGTERM" or "SIGINT"; empty before.
  std::string name() const;

 private:
  SignalHandler terminate_before_;
  SignalHandler interrupt_before_;
};

}  // namespace coeus
