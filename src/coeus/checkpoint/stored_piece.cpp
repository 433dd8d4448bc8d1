#include "coeus/checkpoint/stored_piece.h"

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus {

StoredTensor stored_whole(std::string name, StoredType type, std::vector<int64_t> shape,
                          std::filesystem::path file, uint64_t begin, uint64_t end) {
  StoredPiece piece{TensorSlice::whole_of(shape), std::move(file), begin, end, {}, 0};
  return {std::move(name), type, std::move(shape), {std::move(piece)}};
}

std::string name_of_piece(const std::string& tensor, const TensorSlice& slice) {
  if (slice.is_whole()) return tensor;
  std::vector<std::string> ranges;
  for (size_t d = 0; d < slice.size.size(); ++d) {
    ranges.push_back(fmt::format("{}:{}", slice.begin[d], slice.begin[d] + slice.size[d]));
  }
  return fmt::format("{}[{}]", tensor, fmt::join(ranges, ", "));
}

std::string place_of(const StoredTensor& tensor) {
  return tensor.pieces.size() == 1 ? " in " + tensor.pieces[0].file.string() : "";
}

uint64_t chunks_of(uint64_t bytes, uint64_t chunk_bytes) {
  return bytes / chunk_bytes + (bytes % chunk_bytes != 0);
}

bool cover_exactly(const std::vector<int64_t>& shape, const std::vector<TensorSlice>& boxes) {
  int64_t covered = 0;
  std::vector<const TensorSlice*> sorted;
  for (const TensorSlice& box : boxes) {
    covered += box.numel();
    if (box.numel() > 0) sorted.push_back(&box);
  }
  if (covered != TensorSlice::whole_of(shape).numel()) return false;
  // With the right number of elements, boxes that do not overlap cover everything. In the order of
  // their first rows only those that still reach into the next one's need a look.
  if (shape.empty()) return true;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->begin[0] < b->begin[0]; });
  std::vector<const TensorSlice*> open;
  for (const TensorSlice* box : sorted) {
    std::erase_if(
        open, [&](const auto* other) { return other->begin[0] + other->size[0] <= box->begin[0]; });
    if (std::any_of(open.begin(), open.end(),
                    [&](const auto* other) { return box->intersection(*other).has_value(); })) {
      return false;
    }
    open.push_back(box);
  }
  return true;
}

BoxWithin::BoxWithin(const TensorSlice& box, const TensorSlice& outer, uint64_t element_bytes)
    : run_bytes_(element_bytes) {
  COEUS_ASSERT(box.numel() > 0 && box.intersection(outer) == box);
  size_t d = box.size.size();
  uint64_t stride = element_bytes;
  // The dimensions that are taken in full, and the one above them, are one run.
  for (bool is_run = true; d-- > 0; stride *= static_cast<uint64_t>(outer.size[d])) {
    const auto size = static_cast<uint64_t>(box.size[d]);
    first_ += static_cast<uint64_t>(box.begin[d] - outer.begin[d]) * stride;
    if (is_run) {
      run_bytes_ *= size;
      is_run = box.size[d] == outer.size[d];
    } else {
      counts_.insert(counts_.begin(), size);
      strides_.insert(strides_.begin(), stride);
    }
  }
}

uint64_t BoxWithin::offset_of_run(uint64_t run) const {
  uint64_t offset = first_;
  for (size_t d = counts_.size(); d-- > 0; run /= counts_[d])
    offset += run % counts_[d] * strides_[d];
  return offset;
}

void BoxWithin::for_each_run(
    uint64_t begin, uint64_t length,
    const std::function<void(uint64_t offset, uint64_t length)>& take) const {
  while (length > 0) {
    const uint64_t within = begin % run_bytes_;
    const uint64_t n = std::min(length, run_bytes_ - within);
    take(offset_of_run(begin / run_bytes_) + within, n);
    begin += n;
    length -= n;
  }
}

}  // namespace coeus
