#include "coeus/checkpoint/read_slice.h"

#include <torch/types.h>

#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

at::Tensor narrowed_to(at::Tensor tensor, const TensorSlice& held, const TensorSlice& part) {
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) {
    const auto d = static_cast<size_t>(dim);
    tensor = tensor.narrow(dim, part.begin[d] - held.begin[d], part.size[d]);
  }
  return tensor;
}

void read_slice(OpenFiles& files, const StoredTensor& stored, const TensorSlice& wanted,
                const at::Tensor& into) {
  at::NoGradGuard no_grad;
  for (const StoredPiece& piece : stored.pieces) {
    const auto common = wanted.intersection(piece.slice);
    if (!common) continue;
    PieceReader reader(files.at(piece.file), stored.name, piece);
    const BoxWithin box(*common, piece.slice, bytes_of(stored.type));
    fill_tensor(narrowed_to(into.detach(), wanted, *common), stored.type,
                [&](uint64_t offset, std::span<std::byte> bytes) {
                  box.for_each_run(offset, bytes.size(), [&](uint64_t at, uint64_t length) {
                    reader.read(at, bytes.first(length));
                    bytes = bytes.subspan(length);
                  });
                });
  }
}

}  // namespace coeus
