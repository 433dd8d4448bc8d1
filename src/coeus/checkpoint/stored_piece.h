// A tensor as it lies on the disk: whole in one file, or in boxes spread over files as the ranks
// that saved it held it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "coeus/base/checksum.h"
#include "coeus/base/tensor_slice.h"
#include "coeus/checkpoint/stored_type.h"

namespace coeus {

/// A box of a tensor: the bytes [begin, end) of a file, row-major.
struct StoredPiece {
  TensorSlice slice;
  std::filesystem::path file;
  uint64_t begin = 0;
  uint64_t end = 0;
  /// One for each `chunk_bytes` of its bytes, the last of what is left; none where nobody made any.
  std::vector<Checksum> checksums;
  uint64_t chunk_bytes = 0;

  uint64_t bytes() const { return end - begin; }
};

struct StoredTensor {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  std::vector<StoredPiece> pieces;
};

/// A tensor that lies whole in one file, without checksums.
StoredTensor stored_whole(std::string name, StoredType type, std::vector<int64_t> shape,
                          std::filesystem::path file, uint64_t begin, uint64_t end);

/// What a piece is called in its file and in messages: "norm.weight" if it is whole, otherwise with
/// its place, "wq.weight[0:128, 64:128]".
std::string name_of_piece(const std::string& tensor, const TensorSlice& slice);

/// " in FILE" for a tensor that lies whole in one file, for messages.
std::string place_of(const StoredTensor& tensor);

/// How many checksums cover so many bytes.
uint64_t chunks_of(uint64_t bytes, uint64_t chunk_bytes);

/// Whether every element of the tensor lies in exactly one of the boxes, which are of its shape.
bool cover_exactly(const std::vector<int64_t>& shape, const std::vector<TensorSlice>& boxes);

/// Where the bytes of a box lie among those of a larger box that is stored row-major.
class BoxWithin {
 public:
  /// `box` is not empty and lies within `outer`.
  BoxWithin(const TensorSlice& box, const TensorSlice& outer, uint64_t element_bytes);

  /// Calls take(offset among the outer bytes, length) for the runs that make up the bytes [begin,
  /// begin + length) of the box, in order.
  void for_each_run(uint64_t begin, uint64_t length,
                    const std::function<void(uint64_t offset, uint64_t length)>& take) const;

 private:
  uint64_t offset_of_run(uint64_t run) const;

  uint64_t first_ = 0;
  uint64_t run_bytes_ = 0;
  std::vector<uint64_t> counts_;   ///< of runs along the outer dimensions
  std::vector<uint64_t> strides_;  ///< bytes
};

}  // namespace coeus
