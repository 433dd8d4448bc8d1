#include "coeus/data/tokenizer/tokenizer.h"

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/tokenizer_file.h"
#include "coeus/data/tokenizer/utf8.h"
#include "coeus/data/tokenizer/vocab_files.h"

namespace coeus {

struct Tokenizer::Impl {
  TokenizerParts parts;
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  bool post_processor_adds_bos = false;
  bool post_processor_adds_eos = false;

  // The ids of the text alone.
  std::vector<int32_t> encode(std::string_view text) const;
  void encode_section(std::string_view text, bool at_origin, std::vector<int32_t>& ids) const;
  void encode_normalized(const Piece& text, std::vector<int32_t>& ids) const;
  std::optional<int32_t> id_of(std::string_view token) const;
  std::optional<std::string_view> token_of(int32_t id) const;
};

std::vector<int32_t> Tokenizer::Impl::encode(std::string_view text) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (!parts.added_tokens.any_raw()) {
    encode_section(text, true, ids);
    return ids;
  }
  for (const auto& section : parts.added_tokens.cut_raw(text)) {
    if (section.id) {
      ids.push_back(*section.id);
    } else {
      encode_section(text.substr(section.begin, section.end - section.begin), section.begin == 0,
                     ids);
    }
  }
  return ids;
}

void Tokenizer::Impl::encode_section(std::string_view text, bool at_origin,
                                     std::vector<int32_t>& ids) const {
  NormalizedText normalized;
  if (!parts.normalizer.empty()) {
    normalized.text = text;
    parts.normalizer.apply(normalized);
    text = normalized.text;
    at_origin = at_origin && normalized.starts_at_origin;
  }
  if (!parts.added_tokens.any_normalized()) return encode_normalized({text, at_origin}, ids);
  for (const auto& section : parts.added_tokens.cut_normalized(text)) {
    if (section.id) {
      ids.push_back(*section.id);
    } else {
      encode_normalized({text.substr(section.begin, section.end - section.begin),
                         at_origin && section.begin == 0},
                        ids);
    }
  }
}

void Tokenizer::Impl::encode_normalized(const Piece& text, std::vector<int32_t>& ids) const {
  if (text.text.empty()) return;
  struct Words final : PieceSink {
    const Bpe& bpe;
    std::vector<int32_t>& ids;
    Words(const Bpe& b, std::vector<int32_t>& i) : bpe(b), ids(i) {}
    void take(const Piece& word) override { bpe.encode(word.text, ids); }
  } words(parts.bpe, ids);
  parts.pre_tokenizer.run(text, words);
}

std::optional<int32_t> Tokenizer::Impl::id_of(std::string_view token) const {
  if (const auto id = parts.added_tokens.id_of(token)) return id;
  const auto it = parts.vocabulary.find(token);
  return it == parts.vocabulary.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::string_view> Tokenizer::Impl::token_of(int32_t id) const {
  if (const auto added = parts.added_tokens.text_of(id)) return added;
  if (id < 0 || static_cast<size_t>(id) >= parts.tokens.size()) return std::nullopt;
  const std::string& token = parts.tokens[static_cast<size_t>(id)];
  return token.empty() ? std::nullopt : std::optional<std::string_view>(token);
}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  std::error_code ignored;
  COEUS_CHECK_DATA(std::filesystem::is_directory(folder, ignored),
                   "[tokenizer] {} is not a folder: name the folder that holds tokenizer.json",
                   folder.string());
  const auto config = read_tokenizer_config(folder / "tokenizer_config.json");
  auto impl = std::make_unique<Impl>(Impl{read_tokenizer_folder(folder, config)});
  if (config.bos_token) impl->bos_id = impl->id_of(*config.bos_token);
  if (config.eos_token) impl->eos_id = impl->id_of(*config.eos_token);
  const auto around_nothing = impl->parts.post_processor({});
  const auto adds = [&](const std::optional<int32_t>& id) {
    return id &&
           std::find(around_nothing.begin(), around_nothing.end(), *id) != around_nothing.end();
  };
  impl->post_processor_adds_bos = adds(impl->bos_id);
  impl->post_processor_adds_eos = adds(impl->eos_id);
  return Tokenizer(std::move(impl));
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  auto ids = impl_->encode(text);
  if (!impl_->parts.post_processor.empty()) ids = impl_->parts.post_processor(ids);
  if (options.add_bos && impl_->bos_id && !impl_->post_processor_adds_bos) {
    ids.insert(ids.begin(), *impl_->bos_id);
  }
  if (options.add_eos && impl_->eos_id && !impl_->post_processor_adds_eos) {
    ids.push_back(*impl_->eos_id);
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_without_special_tokens(std::string_view text) const {
  return impl_->parts.post_processor(impl_->encode(text), false);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const auto token = impl_->token_of(id);
    if (!token || (skip_special_tokens && impl_->parts.added_tokens.is_special(*token))) continue;
    tokens.emplace_back(*token);
  }
  return impl_->parts.decoder(std::move(tokens));
}

int64_t Tokenizer::vocab_size() const {
  auto size = static_cast<int64_t>(impl_->parts.vocabulary.size());
  for (const auto& [id, token] : impl_->parts.added_tokens.by_id()) {
    if (!impl_->parts.vocabulary.contains(token.content)) ++size;
  }
  return size;
}

int32_t Tokenizer::largest_id() const {
  const auto& added = impl_->parts.added_tokens.by_id();
  const auto largest_of_model = static_cast<int32_t>(impl_->parts.tokens.size()) - 1;
  return added.empty() ? largest_of_model : std::max(largest_of_model, added.rbegin()->first);
}

std::optional<int32_t> Tokenizer::bos_id() const { return impl_->bos_id; }
std::optional<int32_t> Tokenizer::eos_id() const { return impl_->eos_id; }

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  return impl_->id_of(token);
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  const auto token = impl_->token_of(id);
  return token ? std::optional(std::string(*token)) : std::nullopt;
}

}  // namespace coeus
