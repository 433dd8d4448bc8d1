#include "coeus/operators/mask_classes.h"

#include <torch/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/draw.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/select.h"
#include "coeus/ops/attention_part.h"

namespace coeus {

namespace {

MaskPointer as_object(Mask mask) { return c10::make_intrusive<MaskObject>(std::move(mask)); }
BlockMaskPointer as_object(BlockMask mask) {
  return c10::make_intrusive<BlockMaskObject>(std::move(mask));
}

/// What a Python user passed as whole numbers, row after row; `what` goes into complaints.
at::Tensor as_rows(const at::Tensor& numbers, std::string_view what) {
  COEUS_CHECK(
      c10::isIntegralType(numbers.scalar_type(), /*includeBool=*/false) && numbers.dim() == 2,
      "[lower] {} must be a tensor of whole numbers, [batch, tokens], got {} {}", what,
      c10::toString(numbers.scalar_type()), numbers.sizes());
  return numbers.to(at::kCPU, at::kLong).contiguous();
}
std::span<const int64_t> row_of(const at::Tensor& rows, int64_t row) {
  return {rows.const_data_ptr<int64_t>() + row * rows.size(1), static_cast<size_t>(rows.size(1))};
}

/// A row whose tokens are in the same document where their numbers are equal.
SequenceLayout layout_of_numbers(std::span<const int64_t> numbers) {
  struct Document {
    int32_t name = 0;
    int32_t length = 0;
  };
  std::unordered_map<int64_t, Document> documents;
  TokenAttributes tokens;
  for (const int64_t number : numbers) {
    const auto name = static_cast<int32_t>(documents.size());
    Document& document = documents.try_emplace(number, Document{name}).first->second;
    tokens.index.push_back(static_cast<int32_t>(tokens.index.size()));
    tokens.document.push_back(document.name);
    tokens.offset.push_back(document.length++);
  }
  return SequenceLayout::self(std::move(tokens));
}

/// The rows with only the tokens at the given places of each as queries or as keys; all tokens
/// without places.
std::vector<SequenceLayout> with_places(std::vector<SequenceLayout> rows,
                                        const std::optional<at::Tensor>& places, bool of_queries) {
  if (!places.has_value()) return rows;
  const char* const what = of_queries ? "queries" : "keys";
  // One list of places serves all rows.
  const at::Tensor of_rows = as_rows(places->dim() == 1 ? places->unsqueeze(0) : *places, what);
  const auto batch = static_cast<int64_t>(rows.size());
  COEUS_CHECK(of_rows.size(0) == batch || of_rows.size(0) == 1,
              "[lower] {} names places in {} rows, but the documents fill {}", what,
              of_rows.size(0), batch);
  for (int64_t row = 0; row < batch; ++row) {
    const auto chosen = row_of(of_rows, of_rows.size(0) == 1 ? 0 : row);
    rows[row] = of_queries ? select_queries(rows[row], chosen) : select_keys(rows[row], chosen);
  }
  return rows;
}

BlockMaskPointer lower_rows(const Mask& mask, std::vector<SequenceLayout> rows,
                            const std::optional<at::Tensor>& queries,
                            const std::optional<at::Tensor>& keys) {
  rows = with_places(std::move(rows), queries, /*of_queries=*/true);
  rows = with_places(std::move(rows), keys, /*of_queries=*/false);
  return as_object(lower(mask, rows));
}

BlockMaskPointer lower_lengths(const MaskPointer& mask,
                               const std::vector<std::vector<int64_t>>& lengths,
                               const std::optional<at::Tensor>& queries,
                               const std::optional<at::Tensor>& keys) {
  std::vector<SequenceLayout> rows;
  for (const auto& row : lengths) rows.push_back(SequenceLayout::from_document_lengths(row));
  return lower_rows(mask->mask, std::move(rows), queries, keys);
}

BlockMaskPointer lower_documents(const MaskPointer& mask, const at::Tensor& documents,
                                 const std::optional<at::Tensor>& queries,
                                 const std::optional<at::Tensor>& keys) {
  const at::Tensor numbers = as_rows(documents, "documents");
  std::vector<SequenceLayout> rows;
  for (int64_t row = 0; row < numbers.size(0); ++row)
    rows.push_back(layout_of_numbers(row_of(numbers, row)));
  return lower_rows(mask->mask, std::move(rows), queries, keys);
}

std::string text_of(const BlockMaskPointer& self) {
  const BlockMask& mask = self->mask;
  const TileCounts tiles = mask.tile_counts();
  return fmt::format(
      "BlockMask({} rows of {} queries and {} keys, {:.1f}% of the pairs visible, {} full and {} "
      "partial tiles)",
      mask.batch_size(), mask.query_length(), mask.key_length(), 100 * (1 - mask.sparsity()),
      tiles.full, tiles.partial);
}

}  // namespace

void define_masks(torch::Library& library) {
  library.class_<MaskObject>("Mask")
      .def(torch::init([](const std::string& text) { return as_object(parse_mask(text)); }))
      .def("__and__",
           [](const MaskPointer& a, const MaskPointer& b) { return as_object(a->mask & b->mask); })
      .def("__or__",
           [](const MaskPointer& a, const MaskPointer& b) { return as_object(a->mask | b->mask); })
      .def("__invert__", [](const MaskPointer& self) { return as_object(~self->mask); })
      .def("__eq__", [](const MaskPointer& a, const MaskPointer& b) { return a->mask == b->mask; })
      .def("__ne__",
           [](const MaskPointer& a, const MaskPointer& b) { return !(a->mask == b->mask); })
      .def("__str__", [](const MaskPointer& self) { return self->mask.to_string(); })
      .def("__repr__",
           [](const MaskPointer& self) {
             return fmt::format("Mask(\"{}\")", self->mask.to_string());
           })
      .def("simplified", [](const MaskPointer& self) { return as_object(self->mask.simplified()); })
      .def_pickle([](const MaskPointer& self) { return self->mask.to_string(); },
                  [](const std::string& text) { return as_object(parse_mask(text)); });

  library.class_<BlockMaskObject>("BlockMask")
      .def("__str__", &text_of)
      .def("__repr__", &text_of)
      .def("batch_size", [](const BlockMaskPointer& self) { return self->mask.batch_size(); })
      .def("query_length", [](const BlockMaskPointer& self) { return self->mask.query_length(); })
      .def("key_length", [](const BlockMaskPointer& self) { return self->mask.key_length(); })
      .def("area", [](const BlockMaskPointer& self) { return self->mask.area(); })
      .def("sparsity", [](const BlockMaskPointer& self) { return self->mask.sparsity(); })
      .def("to_dense",
           [](const BlockMaskPointer& self) { return dense_mask(self->mask, at::kCPU).squeeze(1); })
      .def("draw",
           [](const BlockMaskPointer& self, int64_t row) {
             return draw_for_terminal(self->mask.row(row));
           },
           "", {torch::arg("row") = 0})
      .def("slice_rows", [](const BlockMaskPointer& self, int64_t begin,
                            int64_t end) { return as_object(self->mask.slice_rows(begin, end)); })
      .def("slice_queries", [](const BlockMaskPointer& self, int64_t begin, int64_t end) {
        return as_object(self->mask.slice_queries(begin, end));
      });

  library.def(
      "lower(__torch__.torch.classes.coeus.Mask mask, int[][] documents, *, Tensor? queries=None, "
      "Tensor? keys=None) -> __torch__.torch.classes.coeus.BlockMask",
      &lower_lengths);
  library.def(
      "lower.documents(__torch__.torch.classes.coeus.Mask mask, Tensor documents, *, "
      "Tensor? queries=None, Tensor? keys=None) -> __torch__.torch.classes.coeus.BlockMask",
      &lower_documents);
}

}  // namespace coeus
