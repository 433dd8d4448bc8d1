// What attention layers keep of tokens seen before, so that a further token costs its own forward
// alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <map>
#include <vector>

namespace coeus::nn {

/// Keys and values of the tokens seen so far, of every attention layer of one model (Pope et al.,
/// "Efficiently scaling transformer inference", arXiv 2211.05102). It knows no order and no mask:
/// cached keys are the key tokens of a SequenceLayout whose queries are the new tokens, and their
/// attributes decide who sees them. So keys stand in the order in which they were given, already
/// rotated. Not for training: what it keeps has no gradient.
///
/// An attention module asks it in one line, once q, k and v of the new tokens are there:
///
///     if (cache != nullptr) cache->extend(this, {&k, &v});
///
/// and gives all keys to `attention` with the mask of the layout above. A layer may keep whatever
/// its keys and values are made of, such as the latents of multi-head latent attention.
class KeyValueCache {
 public:
  /// Appends `parts`, what the layer `owner` made of the new tokens, to what it gave before, and
  /// puts all of it in their place: [batch, new tokens, …] become [batch, all tokens, …], as views
  /// that are good until the next call. The layer gives the same number of parts, of the same
  /// dtypes and other sizes, every time. Throws Error when it does not, or when gradients are on.
  void extend(const void* owner, std::initializer_list<at::Tensor*> parts);

  /// Memory that it holds, with room for tokens to come.
  int64_t bytes() const;

 private:
  struct Kept {
    at::Tensor storage;  ///< [batch, capacity, …]
    int64_t length = 0;
  };
  static at::Tensor append(Kept& kept, const at::Tensor& part);

  std::map<const void*, std::vector<Kept>> layers_;
};

}  // namespace coeus::nn
