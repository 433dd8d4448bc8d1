// Choosing tokens: what splitting a batch, sharding it and shuffling it come down to. Attributes
// come along with their tokens, so a mask lowered afterwards is right in the new layout.
#pragma once

#include <cstdint>
#include <span>

#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// The tokens at the given places, in the given order (places may repeat).
/// Throws Error for a place outside [0, size).
TokenAttributes select(const TokenAttributes& tokens, std::span<const int64_t> places);
/// The tokens at places [begin, end).
TokenAttributes select(const TokenAttributes& tokens, int64_t begin, int64_t end);

/// The layout with only the chosen query tokens; its keys are shared with `layout`.
SequenceLayout select_queries(const SequenceLayout& layout, std::span<const int64_t> places);
SequenceLayout select_queries(const SequenceLayout& layout, int64_t begin, int64_t end);

/// The layout with only the chosen key tokens; its queries are shared with `layout`.
SequenceLayout select_keys(const SequenceLayout& layout, std::span<const int64_t> places);
SequenceLayout select_keys(const SequenceLayout& layout, int64_t begin, int64_t end);

}  // namespace coeus
