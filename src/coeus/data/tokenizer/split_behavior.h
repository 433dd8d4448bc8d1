// What becomes of the places where a pre-tokenizer's pattern matches.
#pragma once

#include <string_view>
#include <utility>

#include "coeus/data/tokenizer/json_node.h"

namespace coeus {

/// A match is a piece of its own (isolated), dropped (removed), joined to the piece before or
/// behind it, or joined to the matches beside it (contiguous).
enum class SplitBehavior {
  kIsolated,
  kRemoved,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};

/// The behaviour that a tokenizer file names. Throws DataError for an unknown name.
SplitBehavior read_split_behavior(const JsonNode& node);

/// A stretch [begin, end) of a text, and whether the pattern matched it.
struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool match = false;
};

/// Cuts a text into pieces: feed it the spans that cover the text, in order; `emit(begin, end)` is
/// called for each piece that is not empty. Call finish() at the end.
template <class Emit>
class Splitter {
 public:
  Splitter(SplitBehavior behavior, Emit emit) : behavior_(behavior), emit_(std::move(emit)) {}

  void add(Span span) {
    switch (behavior_) {
      case SplitBehavior::kIsolated:
        flush(span);
        return;
      case SplitBehavior::kRemoved:
        if (!span.match) flush(span);
        return;
      case SplitBehavior::kContiguous:
        join(span, span.match == previous_match_);
        return;
      case SplitBehavior::kMergedWithPrevious:
        join(span, span.match && !previous_match_);
        return;
      case SplitBehavior::kMergedWithNext:
        // A match joins what follows it, unless that is a match too.
        if (pending_.match && !span.match) {
          pending_ = {pending_.begin, span.end, false};
          return;
        }
        flush(pending_);
        pending_ = span;
        return;
    }
  }

  void finish() {
    flush(pending_);
    pending_ = {};
  }

 private:
  void join(Span span, bool to_pending) {
    if (to_pending) {
      pending_.end = span.end;
    } else {
      flush(pending_);
      pending_ = span;
    }
    previous_match_ = span.match;
  }
  void flush(const Span& span) {
    if (span.begin < span.end) emit_(span.begin, span.end);
  }

  SplitBehavior behavior_;
  Emit emit_;
  Span pending_{};  // empty at the start: joining it to the first span changes nothing
  bool previous_match_ = false;
};

}  // namespace coeus
