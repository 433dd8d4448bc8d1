// The parts of a tokenizer, as a tokenizer.json describes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "coeus/data/tokenizer/added_tokens.h"
#include "coeus/data/tokenizer/bpe.h"
#include "coeus/data/tokenizer/decoder.h"
#include "coeus/data/tokenizer/normalizer.h"
#include "coeus/data/tokenizer/post_processor.h"
#include "coeus/data/tokenizer/pre_tokenizer.h"

namespace coeus {

struct TokenizerParts {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokens added_tokens;
  PostProcessor post_processor;
  Decoder decoder;
  Vocabulary vocabulary;            ///< the model's, without added tokens
  std::vector<std::string> tokens;  ///< the model's, by id; empty where an id has no token
};

/// What tokenizer_config.json says that matters here.
struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  /// All tokens that it describes, in the order in which TorchTitan adds them to the tokenizer.
  std::vector<AddedToken> special_tokens;
};

/// Reads a tokenizer.json with a BPE model. Throws DataError, naming file and place, for whatever
/// is malformed or not supported: nothing in the file that could change an id is passed over.
/// Special tokens of `config` that the file lacks are added, with the next free ids.
TokenizerParts read_tokenizer_file(const std::filesystem::path& path,
                                   const TokenizerConfig& config);

/// The same for the contents of such a file; `name` stands for the file in messages.
TokenizerParts read_tokenizer(const nlohmann::json& document, const std::string& name,
                              const TokenizerConfig& config);

/// Reads a tokenizer_config.json; without the file, nothing is said.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& path);

}  // namespace coeus
