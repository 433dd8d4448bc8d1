// A row that a model continues token by token.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "coeus/mask/sequence_layout.h"
#include "coeus/models/model.h"
#include "coeus/nn/key_value_cache.h"

namespace coeus {

/// One row of tokens that grows. Each token goes through the model once: to later ones it is a key
/// token of a layout whose queries are the new tokens, so every mask says of it what it says in a
/// row that is computed whole. The model outlives the session.
class DecodingSession {
 public:
  explicit DecodingSession(Model& model) : model_(model), device_(device_of(model)) {}

  /// Takes the row's next tokens, with their attributes and what RoPE sees of them, one entry a
  /// token. Returns the logits after each of them, [tokens, vocab]. All attributes are named alike
  /// from call to call. Throws Error when sizes or names differ or there is no token, and ever
  /// after a call that failed within the model.
  at::Tensor append(std::span<const int32_t> tokens, const TokenAttributes& attributes,
                    std::span<const int32_t> positions);

  /// The same for tokens of one document that is alone in the row and starts with it.
  at::Tensor append(std::span<const int32_t> tokens);

  /// How many tokens the row has.
  int64_t length() const { return seen_.size(); }

 private:
  Model& model_;
  at::Device device_;
  nn::KeyValueCache cache_;
  TokenAttributes seen_;
  bool failed_ = false;  ///< the layers may have cached different numbers of tokens
};

}  // namespace coeus
