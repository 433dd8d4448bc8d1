// Names and layouts that other programs give a model's tensors, as a table of rules that is read in
// both directions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/base/tensor_slice.h"

namespace coeus {

/// How the numbers of a native tensor lie in the foreign one.
enum class ForeignLayout : uint8_t {
  kSame,
  /// Natively neighbouring rows of a head are rotated together (2i, 2i + 1), there rows half a head
  /// apart (i, i + d / 2).
  kRotaryHalves,
  /// Native [experts, ...]: each expert's is a foreign tensor of its own, its number in the name.
  kOnePerExpert,
  /// The last two dimensions change places.
  kTransposed,
  /// The same, and the native tensor is the first or second half of the foreign last dimension.
  kTransposedFirstHalf,
  kTransposedSecondHalf,
};

/// One line of the table. A "{}" in a name is a layer's number, and with kOnePerExpert a second one
/// in the foreign name the expert's.
struct NameRule {
  std::string native;
  std::string foreign;  ///< empty: the tensor has no place there
  ForeignLayout layout = ForeignLayout::kSame;
  int64_t heads = 0;         ///< of kRotaryHalves
  int64_t layer_offset = 0;  ///< foreign layer number less the native one
  /// The foreign tensor repeats numbers that stand in another: it is written, and when it is read
  /// must be equal to the native tensor.
  bool is_copy = false;
};

/// The table of a model, and what there may be beside it.
struct ForeignNames {
  std::vector<NameRule> rules;
  /// Foreign names that say nothing to this model; "{}" is a number and a last "*" anything.
  std::vector<std::string> ignored;
  /// What a tensor of the output has from the embedding where the two are tied: foreign names.
  std::string output;
  std::string embedding;
};

struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
  bool operator==(const NamedShape&) const = default;
};

/// A native and a foreign tensor that share numbers.
struct TensorLink {
  std::string native;
  std::string foreign;
  ForeignLayout layout = ForeignLayout::kSame;
  int64_t head_rows = 0;          ///< of kRotaryHalves: the rows of one head
  std::optional<int64_t> expert;  ///< of kOnePerExpert: the native tensor's part
  bool is_copy = false;
};

/// The rules applied to the tensors of one model. Both sides are handled in slabs: a tensor of
/// three dimensions (all experts of a layer) expert by expert, any other whole.
struct ForeignModel {
  std::vector<NamedShape> native;
  std::vector<NamedShape> foreign;    ///< in the native tensors' order, copies included
  std::vector<std::string> left_out;  ///< native tensors without a foreign name
  std::multimap<std::string, TensorLink> of_native;  ///< without copies
  std::multimap<std::string, TensorLink> of_foreign;
};

/// Throws Error, naming it, for a tensor that no rule knows or whose shape does not suit its rule.
ForeignModel foreign_model(const ForeignNames& names, const std::vector<NamedShape>& native);

/// Whether the table says that a foreign name may be left unread.
bool is_ignored(const ForeignNames& names, const std::string& foreign);

/// The slabs of a tensor of this shape: one, or one for each of the first of three dimensions.
int64_t slabs_of(const std::vector<int64_t>& shape);

/// The box of the foreign tensor that holds the numbers of a box of the native one. Of
/// kRotaryHalves the box is of whole heads, of kOnePerExpert of the link's one expert.
TensorSlice foreign_slice(const TensorLink& link, const TensorSlice& native);

/// The least box around `native` that foreign_slice takes.
TensorSlice in_whole_heads(const TensorLink& link, const TensorSlice& native);

/// Views of a native box and of its foreign_slice that are the same numbers, shaped alike: copying
/// one to the other converts, either way.
std::pair<at::Tensor, at::Tensor> matching_views(const TensorLink& link,
                                                 const at::Tensor& native_part,
                                                 const at::Tensor& foreign_part);

}  // namespace coeus
