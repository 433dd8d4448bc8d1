#include "coeus/data/images/image_token_ids.h"

#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace coeus {

ImageTokenIds image_token_ids(const Tokenizer& tokenizer) {
  std::vector<std::string_view> missing;
  const auto id_of = [&](std::string_view name) {
    const auto id = tokenizer.token_to_id(name);
    // An entry that is no added token would be cut into pieces where it stands in a text.
    if (id && tokenizer.encode_without_special_tokens(name) == std::vector<int32_t>{*id}) {
      return *id;
    }
    missing.push_back(name);
    return -1;
  };
  const ImageTokenIds ids{.image = id_of(kImageToken),
                          .begin = id_of(kBeginOfImageToken),
                          .end = id_of(kEndOfImageToken),
                          .pad = id_of(kPadToken)};
  COEUS_CHECK_DATA(
      missing.empty(),
      "[image_text] the tokenizer (model.hf_assets_path) has no special token {}; train "
      "one with `coeus "
      "tokenizer train --image-tokens`, or name them in the added_tokens_decoder of "
      "its tokenizer_config.json",
      fmt::join(missing, ", "));
  return ids;
}

}  // namespace coeus
