#include "coeus/checkpoint/foreign_names.h"

#include <torch/types.h>

#include <algorithm>
#include <set>

#include "coeus/base/error.h"

namespace coeus {

namespace {

constexpr std::string_view kNumber = "{}";

/// The numbers that stand for "{}" in `name`, if it is of the pattern.
std::optional<std::vector<int64_t>> numbers_of(std::string_view pattern, std::string_view name) {
  std::vector<int64_t> numbers;
  while (!pattern.empty()) {
    if (pattern == "*") return numbers;
    if (pattern.starts_with(kNumber)) {
      const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
      if (digits == 0 || digits > 9) return std::nullopt;
      numbers.push_back(std::stoll(std::string(name.substr(0, digits))));
      name.remove_prefix(digits);
      pattern.remove_prefix(kNumber.size());
    } else {
      if (name.empty() || name.front() != pattern.front()) return std::nullopt;
      name.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  if (!name.empty()) return std::nullopt;
  return numbers;
}

std::string with_numbers(std::string_view pattern, const std::vector<int64_t>& numbers) {
  std::string name;
  size_t next = 0;
  for (size_t at = 0; at < pattern.size();) {
    if (pattern.substr(at).starts_with(kNumber)) {
      COEUS_ASSERT(next < numbers.size());
      name += std::to_string(numbers[next++]);
      at += kNumber.size();
    } else {
      name += pattern[at++];
    }
  }
  COEUS_ASSERT(next == numbers.size());
  return name;
}

bool is_half(ForeignLayout layout) {
  return layout == ForeignLayout::kTransposedFirstHalf ||
         layout == ForeignLayout::kTransposedSecondHalf;
}

bool is_transposed(ForeignLayout layout) {
  return layout == ForeignLayout::kTransposed || is_half(layout);
}

std::vector<int64_t> foreign_shape(const NameRule& rule, const NamedShape& native) {
  std::vector<int64_t> shape = native.shape;
  const size_t n = shape.size();
  if (rule.layout == ForeignLayout::kRotaryHalves) {
    COEUS_CHECK(n == 2 && rule.heads > 0 && shape[0] % (2 * rule.heads) == 0,
                "[foreign_model] '{}' of shape [{}] does not hold {} heads of even width",
                native.name, fmt::join(shape, ", "), rule.heads);
  } else if (rule.layout != ForeignLayout::kSame) {
    COEUS_CHECK(n == 3, "[foreign_model] '{}' has the shape [{}]; its rule wants three dimensions",
                native.name, fmt::join(shape, ", "));
  }
  if (rule.layout == ForeignLayout::kOnePerExpert) shape.erase(shape.begin());
  if (is_transposed(rule.layout)) std::swap(shape[n - 2], shape[n - 1]);
  if (is_half(rule.layout)) shape[n - 1] *= 2;
  return shape;
}

class Builder {
 public:
  void add(const NameRule& rule, const NamedShape& native, std::vector<int64_t> numbers) {
    if (rule.foreign.empty()) {
      model_.left_out.push_back(native.name);
      return;
    }
    if (!numbers.empty()) numbers[0] += rule.layer_offset;
    const std::vector<int64_t> shape = foreign_shape(rule, native);
    const int64_t head_rows = rule.heads > 0 ? native.shape.at(0) / rule.heads : 0;
    TensorLink link = {native.name, "", rule.layout, head_rows, {}, rule.is_copy};
    if (rule.layout != ForeignLayout::kOnePerExpert) {
      link.foreign = with_numbers(rule.foreign, numbers);
      add(link, shape);
      return;
    }
    numbers.push_back(0);
    for (int64_t expert = 0; expert < native.shape[0]; ++expert) {
      numbers.back() = expert;
      link.foreign = with_numbers(rule.foreign, numbers);
      link.expert = expert;
      add(link, shape);
    }
  }

  ForeignModel finish(std::vector<NamedShape> native) {
    model_.native = std::move(native);
    return std::move(model_);
  }

 private:
  void add(const TensorLink& link, const std::vector<int64_t>& shape) {
    if (names_.insert(link.foreign).second) {
      model_.foreign.push_back({link.foreign, shape});
    } else {
      // Only halves share a foreign tensor, and each has its own.
      const auto [first, last] = model_.of_foreign.equal_range(link.foreign);
      COEUS_ASSERT(is_half(link.layout) && std::distance(first, last) == 1 &&
                   first->second.layout != link.layout);
    }
    if (!link.is_copy) model_.of_native.emplace(link.native, link);
    model_.of_foreign.emplace(link.foreign, link);
  }

  ForeignModel model_;
  std::set<std::string> names_;
};

}  // namespace

ForeignModel foreign_model(const ForeignNames& names, const std::vector<NamedShape>& native) {
  Builder builder;
  for (const NamedShape& tensor : native) {
    bool is_known = false;
    for (const NameRule& rule : names.rules) {
      const auto numbers = numbers_of(rule.native, tensor.name);
      if (!numbers) continue;
      builder.add(rule, tensor, *numbers);
      is_known |= !rule.is_copy;
    }
    COEUS_CHECK(is_known, "[foreign_model] no rule names '{}' of shape [{}]", tensor.name,
                fmt::join(tensor.shape, ", "));
  }
  return builder.finish(native);
}

bool is_ignored(const ForeignNames& names, const std::string& foreign) {
  return std::any_of(names.ignored.begin(), names.ignored.end(),
                     [&](const auto& pattern) { return numbers_of(pattern, foreign).has_value(); });
}

int64_t slabs_of(const std::vector<int64_t>& shape) { return shape.size() == 3 ? shape[0] : 1; }

TensorSlice foreign_slice(const TensorLink& link, const TensorSlice& native) {
  TensorSlice slice = native;
  const size_t n = slice.whole.size();
  if (link.layout == ForeignLayout::kOnePerExpert) {
    COEUS_ASSERT(n == 3 && slice.size[0] == 1 && slice.begin[0] == link.expert);
    for (auto* list : {&slice.whole, &slice.begin, &slice.size}) list->erase(list->begin());
  }
  if (is_transposed(link.layout)) {
    for (auto* list : {&slice.whole, &slice.begin, &slice.size})
      std::swap((*list)[n - 2], (*list)[n - 1]);
  }
  if (is_half(link.layout)) {
    if (link.layout == ForeignLayout::kTransposedSecondHalf)
      slice.begin[n - 1] += slice.whole[n - 1];
    slice.whole[n - 1] *= 2;
  }
  return slice;
}

TensorSlice in_whole_heads(const TensorLink& link, const TensorSlice& native) {
  if (link.layout != ForeignLayout::kRotaryHalves) return native;
  TensorSlice slice = native;
  const int64_t end = native.begin[0] + native.size[0];
  slice.begin[0] -= slice.begin[0] % link.head_rows;
  slice.size[0] = (end + link.head_rows - 1) / link.head_rows * link.head_rows - slice.begin[0];
  return slice;
}

std::pair<at::Tensor, at::Tensor> matching_views(const TensorLink& link,
                                                 const at::Tensor& native_part,
                                                 const at::Tensor& foreign_part) {
  switch (link.layout) {
    case ForeignLayout::kRotaryHalves: {
      const int64_t pairs = link.head_rows / 2;
      const int64_t heads = native_part.size(0) / link.head_rows;
      return {native_part.unflatten(0, {heads, pairs, 2}),
              foreign_part.unflatten(0, {heads, 2, pairs}).transpose(1, 2)};
    }
    case ForeignLayout::kOnePerExpert:
      return {native_part.squeeze(0), foreign_part};
    case ForeignLayout::kSame:
      return {native_part, foreign_part};
    default:
      return {native_part, foreign_part.transpose(-1, -2)};
  }
}

}  // namespace coeus
