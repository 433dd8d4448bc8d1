#include "coeus/data/synthetic_dataset.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/random.h"

namespace coeus {

namespace {

uint64_t draw(uint64_t document, uint64_t number) {
  constexpr uint64_t kSeed = 0;
  uint64_t key = mix64(kSeed + (document + 1) * kGoldenGamma);
  return mix64(key + (number + 1) * kGoldenGamma);
}

}  // namespace

SyntheticDataset::SyntheticDataset(int64_t vocab_size)
    : Dataset("synthetic"), vocab_size_(vocab_size) {
  COEUS_CHECK_CONFIG(vocab_size >= 3 && vocab_size <= std::numeric_limits<int32_t>::max(),
                     "[dataset synthetic] vocab_size must be from 3 to 2^31 - 1, got {}",
                     vocab_size);
}

bool SyntheticDataset::next(Document& document) {
  auto i = static_cast<uint64_t>(number_++);
  auto n = static_cast<uint64_t>(vocab_size_ - 2);
  uint64_t base = uint64_t{8} << (draw(i, 0) % 6);
  uint64_t length = base + draw(i, 1) % base;

  document = {.tokenized = true};
  document.tokens.reserve(length + 2);
  document.tokens.push_back(static_cast<int32_t>(vocab_size_ - 2));
  uint64_t token = 0;
  for (uint64_t k = 0; k < length; ++k) {
    uint64_t drawn = draw(i, 2 + k);
    token = (k == 0 ? drawn : 5 * token + 1 + drawn % 8) % n;
    document.tokens.push_back(static_cast<int32_t>(token));
  }
  document.tokens.push_back(static_cast<int32_t>(vocab_size_ - 1));
  return true;
}

void SyntheticDataset::seek(const DatasetPosition& position) {
  COEUS_CHECK_AS(CheckpointError, position.size() == 1 && position[0] >= 0,
                 "[data] {} is no position in synthetic documents", position);
  number_ = position[0];
}

nlohmann::json SyntheticDataset::identity() const {
  return {{"kind", "synthetic"}, {"vocab_size", vocab_size_}};
}

}  // namespace coeus
