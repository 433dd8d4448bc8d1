// Exchanges between ranks as traces show them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "coeus/base/trace_log.h"

namespace coeus {

/// An exchange in the TraceLog, from its start to its arrival, which may be long before anybody
/// waits for it: "all_gather layers.3 parameters" in the row "exchanges over dp_shard".
class ExchangeTrace {
 public:
  /// One that has just been started.
  static std::shared_ptr<ExchangeTrace> of(c10d::Work& work, const std::string& kind,
                                           const std::string& what, const std::string& group,
                                           size_t bytes);
  /// "layers.3 parameters over dp_shard".
  const std::string& name() const { return name_; }
  /// The exchange is over; called again, does nothing.
  void arrived();

 private:
  std::string name_;
  TraceRange range_;
  std::atomic<bool> has_arrived_ = false;
};

}  // namespace coeus
