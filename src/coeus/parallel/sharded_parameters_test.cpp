#include "coeus/parallel/sharded_parameters.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/init.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/parameter.h"

namespace coeus {
namespace {

nn::Linear without_memory() {
  const nn::WithoutMemory guard;
  return nn::Linear(6, 4, at::TensorOptions());
}

TEST(ShardedParameters, AreAllocatedAsSlicesAndDrawnAsTheWholeIs) {
  nn::Linear whole(6, 4, at::TensorOptions());
  nn::init_normal(whole->weight, 1, "weight", 1.0);

  nn::Linear layer = without_memory();
  EXPECT_FALSE(nn::has_memory(layer->weight));
  ShardedParameters parameters(*layer);
  parameters.narrow("weight", 0, 1, 2);
  parameters.narrow("weight", 1, 3, 3);
  parameters.materialize();
  const auto slices = parameters.slices();
  {
    const nn::SlicedInit sliced(slices);
    nn::init_normal(layer->weight, 1, "weight", 1.0);
  }
  EXPECT_TRUE(at::equal(layer->weight, whole->weight.narrow(0, 1, 2).narrow(1, 3, 3)));
  EXPECT_TRUE(at::equal(layer->parameters()[0], layer->weight));
  EXPECT_TRUE(layer->weight.requires_grad());
}

TEST(ShardedParameters, WhatHasMemoryIsNotSplit) {
  nn::Linear layer(6, 4, at::TensorOptions());
  ShardedParameters parameters(*layer);
  EXPECT_THROW(parameters.narrow("weight", 0, 0, 2), Error);
  EXPECT_THROW(parameters.at("bias"), Error);
}

TEST(ShardedParameters, ChunksAreThoseOfTorch) {
  for (const int64_t size : {1, 4, 7, 8, 30})
    for (const int64_t ranks : {1, 2, 3, 4, 8}) {
      const auto chunks = at::arange(size).chunk(ranks);
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const ChunkRange range = chunk_of(size, ranks, rank);
        if (rank < static_cast<int64_t>(chunks.size())) {
          EXPECT_EQ(range.begin, chunks[rank][0].item<int64_t>());
          EXPECT_EQ(range.size, chunks[rank].size(0));
        } else {
          EXPECT_EQ(range.size, 0);
        }
        EXPECT_EQ(chunk_sizes(size, ranks)[rank], range.size);
      }
    }
}

}  // namespace
}  // namespace coeus
