// Which part of a whole tensor somebody holds: a box, given by where it begins and how large it is.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace coeus {

/// The elements begin[d] <= i[d] < begin[d] + size[d] of a tensor of the sizes `whole`. All three
/// lists are as long as the tensor has dimensions (none for a scalar); a size may be 0, and then
/// the box is empty.
struct TensorSlice {
  std::vector<int64_t> whole;
  std::vector<int64_t> begin;
  std::vector<int64_t> size;

  bool operator==(const TensorSlice&) const = default;

  /// All of a tensor of these sizes.
  static TensorSlice whole_of(std::vector<int64_t> sizes);

  /// Whether no element of the whole lies outside of the box.
  bool is_whole() const { return size == whole; }
  /// Elements in the box; 1 for a scalar.
  int64_t numel() const;
  /// The indices [begin, begin + size) of this box's own dimension `dim`, the others as they are.
  /// Throws Error if there is no such dimension or the range leaves the box.
  TensorSlice narrowed(int64_t dim, int64_t begin, int64_t size) const;
  /// The box of the elements that lie in both, none if no element does. Throws Error for slices of
  /// tensors of other sizes.
  std::optional<TensorSlice> intersection(const TensorSlice& other) const;
};

}  // namespace coeus
