#include "coeus/base/tensor_slice.h"

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus {

TensorSlice TensorSlice::whole_of(std::vector<int64_t> sizes) {
  std::vector<int64_t> zeros(sizes.size(), 0);
  return {sizes, std::move(zeros), std::move(sizes)};
}

int64_t TensorSlice::numel() const {
  int64_t product = 1;
  for (int64_t n : size) product *= n;
  return product;
}

TensorSlice TensorSlice::narrowed(int64_t dim, int64_t begin, int64_t size) const {
  COEUS_CHECK(dim >= 0 && dim < static_cast<int64_t>(this->size.size()),
              "[TensorSlice::narrowed] there is no dimension {} in a box of [{}]", dim,
              fmt::join(this->size, ", "));
  const auto d = static_cast<size_t>(dim);
  COEUS_CHECK(
      begin >= 0 && size >= 0 && begin <= this->size[d] && size <= this->size[d] - begin,
      "[TensorSlice::narrowed] {} indices from {} on do not lie within dimension {} of a box of "
      "[{}]",
      size, begin, dim, fmt::join(this->size, ", "));
  TensorSlice slice = *this;
  slice.begin[d] += begin;
  slice.size[d] = size;
  return slice;
}

std::optional<TensorSlice> TensorSlice::intersection(const TensorSlice& other) const {
  COEUS_CHECK(whole == other.whole,
              "[TensorSlice::intersection] the slices are of tensors of other sizes: [{}] and [{}]",
              fmt::join(whole, ", "), fmt::join(other.whole, ", "));
  TensorSlice common = *this;
  for (size_t d = 0; d < whole.size(); ++d) {
    const int64_t end = std::min(begin[d] + size[d], other.begin[d] + other.size[d]);
    common.begin[d] = std::max(begin[d], other.begin[d]);
    common.size[d] = end - common.begin[d];
    if (common.size[d] <= 0) return std::nullopt;
  }
  return common;
}

}  // namespace coeus
