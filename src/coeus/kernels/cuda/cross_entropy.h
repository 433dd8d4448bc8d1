// Softmax cross entropy on NVIDIA GPUs: plain pointers and a stream. Nothing waits for the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// Logits and what they should have said.
struct CrossEntropyRows {
  ElementType type = ElementType::kBFloat16;
  const void* logits = nullptr;     ///< [rows, vocab], contiguous
  const int64_t* labels = nullptr;  ///< [rows], each in [0, vocab) or kIgnoredLabel
  int64_t rows = 0;
  int vocab = 0;
};

/// Each row's log of the sum of exponentials and its loss, lse - logits[label]. A row of an ignored
/// label has 0 for both and is not read. One of another label outside the vocabulary has NaN for
/// both and sets bad_label.
struct CrossEntropyForward {
  CrossEntropyRows rows;
  float* lse = nullptr;      ///< [rows]
  float* losses = nullptr;   ///< [rows]
  int* bad_label = nullptr;  ///< set to 1 or left alone; may be null
};

/// grad_logits = (softmax(logits) - onehot(label)) * *scale, in float32 and rounded once to the
/// type of logits; 0 in rows of ignored labels. grad_logits may be logits.
struct CrossEntropyBackward {
  CrossEntropyRows rows;
  const float* lse = nullptr;  ///< [rows], as forward gives it
  const float* scale = nullptr;
  void* grad_logits = nullptr;  ///< [rows, vocab]
};

/// Both at once, for a loss that is computed a few rows at a time: logits become their gradients.
struct CrossEntropyForwardBackward {
  ElementType type = ElementType::kBFloat16;
  void* logits = nullptr;           ///< [rows, vocab]: in logits, out gradients
  const int64_t* labels = nullptr;  ///< [rows]
  int64_t rows = 0;
  int vocab = 0;
  const float* scale = nullptr;
  float* losses = nullptr;   ///< [rows]
  int* bad_label = nullptr;  ///< set to 1 or left alone; may be null
};

/// Start the work on a stream; they return at once. A row is read once from memory, and by
/// cross_entropy_forward_backward a second time from where it was kept on the chip. Throw
/// std::runtime_error where CUDA reports an error.
void cross_entropy_forward(const CrossEntropyForward& work, cudaStream_t stream);
void cross_entropy_backward(const CrossEntropyBackward& work, cudaStream_t stream);
void cross_entropy_forward_backward(const CrossEntropyForwardBackward& work, cudaStream_t stream);

/// *sum = the sum of `rows` losses, taken in double in an order that only `rows` fixes. Starts the
/// work on a stream and returns at once. Throws std::runtime_error where CUDA reports an error.
void cross_entropy_sum(const float* losses, int64_t rows, float* sum, cudaStream_t stream);

}  // namespace coeus::cuda
