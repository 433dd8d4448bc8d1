#include "coeus/data/tokenizer/tokenizer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "coeus/data/tokenizer/tokenizer_limits.h"

namespace coeus {
namespace {

Vocabulary read_vocabulary(const JsonNode& node) {
  if (!node.value().is_object()) node.fail("must be an object of token: id");
  Vocabulary vocabulary;
  vocabulary.reserve(node.value().size());
  for (const auto& [token, id] : node.value().items()) {
    if (!id.is_number_integer()) node.at(token).integer(0, kMaximumTokenId);
    const bool in_range = id.is_number_unsigned() && id.get<uint64_t>() <= kMaximumTokenId;
    vocabulary.emplace(token,
                       in_range ? id.get<int32_t>()
                                : static_cast<int32_t>(node.at(token).integer(0, kMaximumTokenId)));
  }
  return vocabulary;
}

// Both forms: "a b", and ["a", "b"] for tokens that may hold spaces.
std::vector<Merge> read_merges(const JsonNode& node) {
  std::vector<Merge> merges;
  merges.reserve(node.value().size());
  for (const auto& element : node.elements()) {
    if (element.value().is_array()) {
      const auto pair = element.elements();
      if (pair.size() != 2) element.fail("a merge joins two tokens");
      merges.emplace_back(pair[0].text(), pair[1].text());
      continue;
    }
    const std::string text = element.text();
    if (text.starts_with("#version")) continue;
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      element.fail(fmt::format("'{}' is not two tokens with a space between them", text));
    }
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

void refuse_unless_empty(const JsonNode& model, std::string_view key) {
  const auto node = model.find(key);
  if (node && !node->text().empty()) node->fail("is not supported: only null and \"\" are");
}

Bpe read_model(const JsonNode& node, const Vocabulary& vocabulary, bool words_are_bytes) {
  if (const auto type = node.find("type"); type && type->text() != "BPE") {
    type->fail(fmt::format("the model '{}' is not supported (supported: BPE)", type->text()));
  }
  node.allow_only({"type", "dropout", "unk_token", "continuing_subword_prefix",
                   "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                   "merges"});
  if (const auto dropout = node.find("dropout")) {
    if (!dropout->value().is_number() || dropout->value().get<double>() != 0) {
      dropout->fail("merging at random is not supported: set it to null");
    }
  }
  refuse_unless_empty(node, "continuing_subword_prefix");
  refuse_unless_empty(node, "end_of_word_suffix");
  BpeOptions options;
  options.words_are_bytes = words_are_bytes;
  options.byte_fallback = node.boolean_or("byte_fallback", false);
  options.ignore_merges = node.boolean_or("ignore_merges", false);
  options.fuse_unknown = node.boolean_or("fuse_unk", false);
  if (const auto unknown = node.find("unk_token")) options.unknown_token = unknown->text();
  try {
    return Bpe(vocabulary, read_merges(node.at("merges")), options);
  } catch (const std::invalid_argument& error) {
    node.fail(error.what());
  }
}

// A part of the file that may be absent or null.
template <class Part>
Part read_part(const JsonNode& root, std::string_view key) {
  const auto node = root.find(key);
  return node ? Part(*node) : Part();
}

std::vector<std::string> tokens_by_id(const Vocabulary& vocabulary) {
  int32_t largest = -1;
  for (const auto& [token, id] : vocabulary) largest = std::max(largest, id);
  std::vector<std::string> tokens(static_cast<size_t>(largest + 1));
  for (const auto& [token, id] : vocabulary) tokens[static_cast<size_t>(id)] = token;
  return tokens;
}

// A token by its content alone, or with its flags; absent flags as TorchTitan fills them in.
AddedToken read_config_token(const JsonNode& node) {
  if (!node.value().is_object()) return {.content = node.text(), .special = true};
  return {.content = node.at("content").text(),
          .single_word = node.boolean_or("single_word", false),
          .lstrip = node.boolean_or("lstrip", false),
          .rstrip = node.boolean_or("rstrip", false),
          .normalized = node.boolean_or("normalized", true),
          .special = node.boolean_or("special", true)};
}

// The first mention of a token decides its place, the last one its flags.
void add_config_token(const AddedToken& token, std::vector<AddedToken>& tokens) {
  for (auto& other : tokens) {
    if (other.content == token.content) {
      other = token;
      return;
    }
  }
  tokens.push_back(token);
}

}  // namespace

TokenizerParts read_tokenizer_file(const std::filesystem::path& path,
                                   const TokenizerConfig& config) {
  return read_tokenizer(read_json_file(path), path.string(), config);
}

TokenizerParts read_tokenizer(const nlohmann::json& document, const std::string& name,
                              const TokenizerConfig& config) {
  const JsonNode root(document, name);
  if (const auto version = root.find("version"); version && version->text() != "1.0") {
    version->fail(fmt::format("'{}' is not known: only 1.0 is", version->text()));
  }
  for (const auto* key : {"truncation", "padding"}) {
    if (const auto node = root.find(key)) {
      node->fail("is not supported: training cuts and joins texts itself; set it to null");
    }
  }
  auto normalizer = read_part<Normalizer>(root, "normalizer");
  auto pre_tokenizer = read_part<PreTokenizer>(root, "pre_tokenizer");
  const JsonNode model = root.at("model");
  auto vocabulary = read_vocabulary(model.at("vocab"));
  auto bpe = read_model(model, vocabulary, pre_tokenizer.yields_bytes());
  auto tokens = tokens_by_id(vocabulary);
  AddedTokens added_tokens;
  const AddedTokens::Base base{vocabulary, tokens, normalizer};
  if (const auto added = root.find("added_tokens")) added_tokens.add_from_file(*added, base);
  try {
    added_tokens.add_missing(config.special_tokens, base);
  } catch (const std::invalid_argument& error) {
    root.fail(
        fmt::format("a special token of tokenizer_config.json cannot be added: {}", error.what()));
  }
  return {std::move(normalizer),
          std::move(pre_tokenizer),
          std::move(bpe),
          std::move(added_tokens),
          read_part<PostProcessor>(root, "post_processor"),
          read_part<Decoder>(root, "decoder"),
          std::move(vocabulary),
          std::move(tokens)};
}

TokenizerConfig read_tokenizer_config(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  const auto document = read_json_file(path);
  const JsonNode root(document, path.string());
  TokenizerConfig config;
  for (const auto* key : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token",
                          "cls_token", "mask_token"}) {
    const auto node = root.find(key);
    if (!node) continue;
    const AddedToken token = read_config_token(*node);
    add_config_token(token, config.special_tokens);
    if (key == std::string_view("bos_token")) config.bos_token = token.content;
    if (key == std::string_view("eos_token")) config.eos_token = token.content;
  }
  if (const auto list = root.find("added_tokens_decoder")) {
    if (!list->value().is_object()) list->fail("must be an object of id: token");
    const auto in_order = read_json_file<nlohmann::ordered_json>(path);
    for (const auto& [id, token] : in_order["added_tokens_decoder"].items()) {
      add_config_token(read_config_token(list->at(id)), config.special_tokens);
    }
  }
  return config;
}

}  // namespace coeus
