// One launch over many tensors of different sizes: each block gets a piece of one of them.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "coeus/kernels/cuda/check.h"

namespace coeus::cuda {

/// Up to kTensors of them, each as kPointers arrays of `size` elements; what a launch takes as an
/// argument.
template <int kPointers>
struct TensorList {
  static constexpr int kTensors = 48;
  static constexpr int64_t kPiece = 16384;  ///< elements of a block

  void* pointers[kTensors][kPointers];
  int64_t sizes[kTensors];
  int first_block[kTensors + 1];  ///< of each, and the number of all
  int number[kTensors];           ///< its place among all tensors of the call
  int count;
};

/// A block's piece of a tensor.
template <int kPointers>
struct Piece {
  int tensor = 0;
  int64_t begin = 0, end = 0;

  __device__ explicit Piece(const TensorList<kPointers>& list) {
    const int block = static_cast<int>(blockIdx.x);
    int low = 0, high = list.count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (list.first_block[middle] <= block ? low : high) = middle;
    }
    tensor = low;
    begin = int64_t{block - list.first_block[low]} * TensorList<kPointers>::kPiece;
    end = min(begin + TensorList<kPointers>::kPiece, list.sizes[low]);
  }
};

/// Calls start(list, blocks) for lists that hold all tensors that are not empty, in order.
/// pointers_of(tensor, array) fills a tensor's pointers in; `size_of_tensor` tells its elements.
template <int kPointers, class Tensor, class PointersOf, class Start>
void for_each_list(std::span<const Tensor> tensors, PointersOf pointers_of, Start start) {
  using List = TensorList<kPointers>;
  List list;
  const auto clear = [&] {
    list.count = 0;
    list.first_block[0] = 0;
  };
  const auto flush = [&] {
    if (list.count > 0) start(list, list.first_block[list.count]);
    clear();
  };
  clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[i];
    if (tensor.size == 0) continue;
    if (list.count == List::kTensors) flush();
    pointers_of(tensor, list.pointers[list.count]);
    list.sizes[list.count] = tensor.size;
    list.number[list.count] = static_cast<int>(i);
    const int64_t blocks = (tensor.size + List::kPiece - 1) / List::kPiece;
    list.first_block[list.count + 1] = list.first_block[list.count] + static_cast<int>(blocks);
    ++list.count;
  }
  flush();
}

}  // namespace coeus::cuda
