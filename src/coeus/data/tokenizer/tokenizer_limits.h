// What a tokenizer file may ask for.
#pragma once

#include <cstdint>

namespace coeus {

/// Ids index tables: a larger one is a mistake, not a vocabulary.
inline constexpr int64_t kMaximumTokenId = (1 << 24) - 1;

}  // namespace coeus
