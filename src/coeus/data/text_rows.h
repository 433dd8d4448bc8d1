#pragma once

#include "coeus/data/row_source.h"
#include "coeus/data/token_stream.h"

namespace coeus {

/// Row g is piece g of a token stream.
class TextRows : public RowSource {
 public:
  /// As TokenStream, for rows of seq_len tokens.
  TextRows(Dataset& dataset, TextEncoder encoder, int64_t vocab_size, int64_t seq_len,
           bool infinite);

  /// Throws DataError when the whole data is shorter than a row.
  bool prepare() override;
  TokenAttributes take(std::span<int32_t> tokens, std::span<int32_t> labels,
                       ImagePatches& images) override;
  void skip() override;
  nlohmann::json state() const override;
  void load_state(const nlohmann::json& state) override;

 private:
  const Dataset& dataset_;
  int64_t seq_len_;
  TokenStream stream_;
};

}  // namespace coeus
