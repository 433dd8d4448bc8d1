#include "coeus/data/text_encoder.h"

#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {

TextEncoder make_text_encoder(const std::shared_ptr<const Tokenizer>& tokenizer) {
  return {.encode =
              [tokenizer](std::string_view text, std::vector<int32_t>& tokens) {
                auto ids = tokenizer->encode_without_special_tokens(text);
                tokens.insert(tokens.end(), ids.begin(), ids.end());
              },
          .bos_id = tokenizer->bos_id(),
          .eos_id = tokenizer->eos_id(),
          .token_text =
              [tokenizer](int32_t token) { return tokenizer->id_to_token(token).value_or(""); }};
}

}  // namespace coeus
