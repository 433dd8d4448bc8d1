#pragma once

#include <cstdint>
#include <span>

#include "coeus/data/dataset.h"
#include "coeus/data/text_encoder.h"

namespace coeus {

/// Throws ConfigError when a data set of text has no encoder or vocab_size is not positive, and
/// DataError when BOS or EOS lies outside the vocabulary.
void check_encoder(const Dataset& dataset, const TextEncoder& encoder, int64_t vocab_size);

/// Throws DataError, naming the document and the token, for tokens outside the vocabulary.
void check_tokens(const Document& document, std::span<const int32_t> tokens,
                  const TextEncoder& encoder, int64_t vocab_size);

}  // namespace coeus
