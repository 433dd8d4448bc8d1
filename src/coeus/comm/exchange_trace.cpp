#include "coeus/comm/exchange_trace.h"

#include <torch/types.h>

namespace coeus {

std::shared_ptr<ExchangeTrace> ExchangeTrace::of(c10d::Work& work, const std::string& kind,
                                                 const std::string& what, const std::string& group,
                                                 size_t bytes) {
  auto trace = std::make_shared<ExchangeTrace>();
  trace->name_ = what + " over " + group;
  trace->range_ = {.row = "exchanges over " + group,
                   .name = kind + " " + what,
                   .begin_ns = TraceLog::now_ns(),
                   .bytes = static_cast<std::int64_t>(bytes)};
  // c10d tells the end of its collectives; that of a send or receive shows when it is waited for.
  if (!c10d::isP2POp(work.retrieveOpType()))
    work.getFuture()->addCallback([trace](c10::ivalue::Future&) { trace->arrived(); });
  return trace;
}

void ExchangeTrace::arrived() {
  if (has_arrived_.exchange(true)) return;
  range_.end_ns = TraceLog::now_ns();
  TraceLog::add(range_);
}

}  // namespace coeus
