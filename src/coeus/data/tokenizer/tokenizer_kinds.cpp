#include "coeus/data/tokenizer/tokenizer_kinds.h"

#include "coeus/base/error.h"

namespace coeus {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeekNumbers = R"(\p{N}{1,3})";
constexpr const char* kDeepSeekIdeographs = "[一-龥\u3040-ゟ゠-ヿ]+";
constexpr const char* kDeepSeekWords =
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

Json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json split(const char* expression) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", expression}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json words_then_bytes(std::initializer_list<const char*> expressions) {
  Json steps = Json::array();
  for (const char* expression : expressions) steps.push_back(split(expression));
  steps.push_back(byte_level(false, true, false));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

Json bos_template(const std::string& bos_token, int64_t bos_id) {
  const auto special = [&](int type_id) {
    return Json{{"SpecialToken", {{"id", bos_token}, {"type_id", type_id}}}};
  };
  const auto sequence = [](const char* id, int type_id) {
    return Json{{"Sequence", {{"id", id}, {"type_id", type_id}}}};
  };
  const Json token = {
      {"id", bos_token}, {"ids", Json::array({bos_id})}, {"tokens", Json::array({bos_token})}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({special(0), sequence("A", 0)})},
          {"pair", Json::array({special(0), sequence("A", 0), special(1), sequence("B", 1)})},
          {"special_tokens", {{bos_token, token}}}};
}

}  // namespace

std::vector<std::string> tokenizer_kinds() { return {"llama3", "gpt2", "qwen2", "deepseek_v3"}; }

nlohmann::ordered_json tokenizer_skeleton(std::string_view kind, const std::string& bos_token,
                                          int64_t bos_id) {
  Json file = {{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", Json::array()},
               {"normalizer", nullptr},
               {"pre_tokenizer", nullptr},
               {"post_processor", byte_level(false, false, true)},
               {"decoder", byte_level(true, true, true)},
               {"model",
                {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", false},
                 {"byte_fallback", false},
                 {"ignore_merges", false},
                 {"vocab", Json::object()},
                 {"merges", Json::array()}}}};
  if (kind == "llama3") {
    file["pre_tokenizer"] = words_then_bytes({kLlama3Words});
    file["post_processor"] = {{"type", "Sequence"},
                              {"processors", Json::array({byte_level(true, true, true),
                                                          bos_template(bos_token, bos_id)})}};
    file["model"]["ignore_merges"] = true;
  } else if (kind == "gpt2") {
    file["pre_tokenizer"] = byte_level(false, true, true);
  } else if (kind == "qwen2") {
    file["normalizer"] = {{"type", "NFC"}};
    file["pre_tokenizer"] = words_then_bytes({kQwen2Words});
  } else if (kind == "deepseek_v3") {
    file["pre_tokenizer"] =
        words_then_bytes({kDeepSeekNumbers, kDeepSeekIdeographs, kDeepSeekWords});
  } else {
    throw Error(fmt::format("[tokenizer] '{}' is not a kind of tokenizer: take one of {}", kind,
                            fmt::join(tokenizer_kinds(), ", ")));
  }
  return file;
}

}  // namespace coeus
