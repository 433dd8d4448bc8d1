// What tokens carry with them wherever they are stored: the attributes that masks are about.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

struct TokenAttributes;

/// One token as a mask sees it.
struct Token {
  int32_t index = 0;
  int32_t document = 0;
  int32_t offset = 0;
  /// Where the token came from, for the attributes a model adds; null for a token standing alone.
  const TokenAttributes* attributes = nullptr;
  int64_t place = 0;

  /// The token's value of an attribute that the model declared (`TokenAttributes::extra`).
  /// Throws Error when its row has no attribute of that name.
  int32_t attribute(std::string_view name) const;
};

/// The attributes of a list of tokens, one entry a token, in the order in which they are stored.
struct TokenAttributes {
  /// The token's place in its row, from 0, whatever the order of storage.
  std::vector<int32_t> index;
  /// Which packed document of the row the token belongs to.
  std::vector<int32_t> document;
  /// The token's place in its document, from 0, counted within the row.
  std::vector<int32_t> offset;
  /// Whatever else a model declares (modality, image row and column), by name.
  std::map<std::string, std::vector<int32_t>> extra = {};

  int64_t size() const { return static_cast<int64_t>(index.size()); }
  Token token(int64_t place) const {
    return {index[place], document[place], offset[place], this, place};
  }
  /// Throws Error unless all attributes have one entry a token and none of index and offset is
  /// negative; `whose` ("query", "key") goes into the message.
  void check(std::string_view whose) const;

  bool operator==(const TokenAttributes&) const = default;
};

/// One row of a batch: the attributes of its query tokens and of its key tokens. Both are the same
/// tokens in plain training; they differ in number and order under context parallelism, with a
/// cache of keys, and between encoder and decoder. A value that is cheap to copy.
class SequenceLayout {
 public:
  /// Throws Error when a list of attributes is null or does not pass TokenAttributes::check.
  SequenceLayout(std::shared_ptr<const TokenAttributes> query,
                 std::shared_ptr<const TokenAttributes> key);
  SequenceLayout(TokenAttributes query, TokenAttributes key);

  /// Tokens that attend to one another.
  static SequenceLayout self(TokenAttributes tokens);
  /// Documents packed one after another, `lengths` tokens each. Throws Error for a negative length
  /// or more than 2^30 tokens.
  static SequenceLayout from_document_lengths(std::span<const int64_t> lengths);

  const std::shared_ptr<const TokenAttributes>& query() const { return query_; }
  const std::shared_ptr<const TokenAttributes>& key() const { return key_; }
  int64_t query_length() const { return query_->size(); }
  int64_t key_length() const { return key_->size(); }

 private:
  std::shared_ptr<const TokenAttributes> query_;
  std::shared_ptr<const TokenAttributes> key_;
};

}  // namespace coeus
