// A save that goes on in a thread of its own.
#pragma once

#include <functional>
#include <future>

namespace coeus {

/// At most one at a time; all functions are for one thread.
class PendingSave {
 public:
  PendingSave() = default;
  PendingSave(PendingSave&&) = default;
  PendingSave& operator=(PendingSave&&) = delete;
  /// Waits; an error is logged.
  ~PendingSave();

  /// Runs `write` in a thread. Nothing else may be pending.
  void start(std::function<void()> write);
  /// Waits until nothing is pending and throws what the pending save threw.
  void wait();
  /// The same, but a CheckpointSaveError is logged: another save takes its place.
  void wait_and_log();

 private:
  std::future<void> done_;
};

}  // namespace coeus
