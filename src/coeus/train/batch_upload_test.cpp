#include "coeus/train/batch_upload.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <future>

#include "coeus/ops/test_device.h"

namespace coeus {
namespace {

/// Two rows of three tokens, of which two stand for the two patches of an image, the second first.
Batch batch_with_images() {
  Batch batch{.batch_size = 2, .seq_len = 3, .row_length = 3};
  batch.tokens = {1, 9, 2, 3, 4, 9};
  batch.labels = {9, 2, -100, 4, 9, -100};
  batch.positions = {0, 1, 2, 0, 1, 2};
  batch.images.patch_dim = 2;
  batch.images.values = {0.5F, 1.5F, 2.5F, 3.5F};
  batch.images.grids = {{1, 2}};
  batch.images.token = 9;
  batch.images.order = {1, 0};
  batch.images.layout = layout_of(batch.images.grids);
  return batch;
}

void expect_of_batch(const BatchTensors& tensors) {
  const auto expect_equal = [](const at::Tensor& got, const at::Tensor& want) {
    ASSERT_TRUE(got.defined());
    EXPECT_EQ(got.device().type(), test_device().type());
    EXPECT_EQ(got.scalar_type(), want.scalar_type());
    EXPECT_TRUE(at::equal(got.to(at::kCPU), want)) << got << want;
  };
  expect_equal(tensors.tokens, at::tensor({1, 9, 2, 3, 4, 9}, at::kLong).view({2, 3}));
  expect_equal(tensors.labels, at::tensor({9, 2, -100, 4, 9, -100}, at::kLong).view({2, 3}));
  expect_equal(tensors.positions, at::tensor({0, 1, 2, 0, 1, 2}, at::kInt).view({2, 3}));
  expect_equal(tensors.images.patches, at::tensor({0.5F, 1.5F, 2.5F, 3.5F}).view({1, 2, 2}));
  expect_equal(tensors.images.order, at::tensor({1, 0}, at::kLong));
  expect_equal(tensors.images.places, at::tensor({1, 5}, at::kLong));
  EXPECT_EQ(tensors.images.token, 9);
  EXPECT_EQ(tensors.images.grids, (std::vector<ImageGrid>{{1, 2}}));
}

TEST(BatchUpload, GivesTheBatchsTensorsWhicheverThreadUploadedThem) {
  Batch batch = batch_with_images();
  std::async(std::launch::async, [&] {
    BatchUploader(test_device(), /*whole_masks=*/true).upload(batch);
  }).get();
  const void* const memory = batch.uploaded->tensors.tokens.const_data_ptr();
  const BatchTensors tensors = tensors_of(batch, test_device());
  expect_of_batch(tensors);
  EXPECT_EQ(tensors.tokens.const_data_ptr(), memory);
}

TEST(BatchUpload, ABatchThatWasNotUploadedIsCopiedWhenItIsWanted) {
  expect_of_batch(tensors_of(batch_with_images(), test_device()));
}

TEST(BatchUpload, ABatchOfTextHasNoImages) {
  Batch batch = batch_with_images();
  batch.images = {};
  const BatchTensors tensors = tensors_of(batch, test_device());
  EXPECT_FALSE(tensors.images.patches.defined());
  EXPECT_FALSE(tensors.images.places.defined());
}

}  // namespace
}  // namespace coeus
