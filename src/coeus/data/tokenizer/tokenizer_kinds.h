// The settings of published byte-level tokenizers, around which a new vocabulary can be trained.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

std::vector<std::string> tokenizer_kinds();

/// A tokenizer.json of the given kind without vocabulary, merges and added tokens; for llama3 with
/// a template that puts `bos_token` before every text. Throws Error for an unknown kind.
nlohmann::ordered_json tokenizer_skeleton(std::string_view kind, const std::string& bos_token,
                                          int64_t bos_id);

}  // namespace coeus
