// The older form of a BPE tokenizer: a list of tokens and a list of merges, without a
// tokenizer.json.
#pragma once

#include <filesystem>

#include "coeus/data/tokenizer/tokenizer_file.h"

namespace coeus {

/// Reads `folder`'s tokenizer.json; where there is none, vocab.json ({token: id}) or, failing that,
/// vocab.txt (a token a line, its id the line's number from 0) together with merges.txt, as
/// TorchTitan does: byte-level BPE with GPT-2's pre-tokenizer and decoder and nothing around the
/// text. Throws DataError for files that are malformed, and, naming what is missing and what is
/// there, when they are not all there.
TokenizerParts read_tokenizer_folder(const std::filesystem::path& folder,
                                     const TokenizerConfig& config);

}  // namespace coeus
