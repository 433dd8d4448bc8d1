#include "coeus/nn/key_value_cache.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

constexpr int64_t kTokenDim = 1;

std::vector<int64_t> with_tokens(const at::Tensor& part, int64_t tokens) {
  std::vector<int64_t> sizes = part.sizes().vec();
  sizes[kTokenDim] = tokens;
  return sizes;
}

}  // namespace

at::Tensor KeyValueCache::append(Kept& kept, const at::Tensor& part) {
  COEUS_CHECK(part.dim() >= 2, "[KeyValueCache] what is kept must be [batch, tokens, …], got {}",
              part.sizes());
  const int64_t length = kept.length + part.size(kTokenDim);
  if (!kept.storage.defined()) {
    kept.storage = at::empty(with_tokens(part, length), part.options());
  } else {
    const int64_t capacity = kept.storage.size(kTokenDim);
    COEUS_CHECK(with_tokens(part, capacity) == kept.storage.sizes() &&
                    part.scalar_type() == kept.storage.scalar_type(),
                "[KeyValueCache] a layer kept {} {} and now gives {} {}; only the number of tokens "
                "may change",
                c10::toString(kept.storage.scalar_type()), with_tokens(kept.storage, kept.length),
                c10::toString(part.scalar_type()), part.sizes());
    if (length > capacity) {
      // Doubled, so that a token is copied a bounded number of times.
      const at::Tensor larger =
          at::empty(with_tokens(part, std::max(length, 2 * capacity)), kept.storage.options());
      larger.narrow(kTokenDim, 0, kept.length)
          .copy_(kept.storage.narrow(kTokenDim, 0, kept.length));
      kept.storage = larger;
    }
  }
  kept.storage.narrow(kTokenDim, kept.length, part.size(kTokenDim)).copy_(part);
  kept.length = length;
  return kept.storage.narrow(kTokenDim, 0, length);
}

void KeyValueCache::extend(const void* owner, std::initializer_list<at::Tensor*> parts) {
  COEUS_CHECK(!at::GradMode::is_enabled(),
              "[KeyValueCache] keys of earlier tokens have no gradient; run without gradients "
              "(at::NoGradGuard), or without a cache");
  std::vector<Kept>& kept = layers_[owner];
  if (kept.empty()) kept.resize(parts.size());
  COEUS_CHECK(kept.size() == parts.size(),
              "[KeyValueCache] a layer kept {} tensors and now gives {}", kept.size(),
              parts.size());
  size_t next = 0;
  for (at::Tensor* part : parts) *part = append(kept[next++], *part);
}

int64_t KeyValueCache::bytes() const {
  int64_t sum = 0;
  for (const auto& [owner, parts] : layers_)
    for (const Kept& kept : parts) sum += static_cast<int64_t>(kept.storage.nbytes());
  return sum;
}

}  // namespace coeus::nn
