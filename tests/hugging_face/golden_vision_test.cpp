// Siglip2's vision tower sees what the transformers library's sees.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/random.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/vlm/hugging_face.h"
#include "coeus/models/vlm/masks.h"
#include "coeus/models/vlm/siglip2.h"
#include "golden_file.h"

namespace coeus {
namespace {

using nlohmann::json;

/// Pixels from -1 to 1, as make_golden.py draws them: [rows * columns, patch_dim].
at::Tensor pixels_of(int64_t number, int64_t patches, int64_t patch_dim) {
  const CounterRandom random(2025, "image " + std::to_string(number));
  const at::Tensor pixels = at::empty({patches, patch_dim}, at::kFloat);
  float* const values = pixels.mutable_data_ptr<float>();
  for (int64_t i = 0; i < pixels.numel(); ++i)
    values[i] = static_cast<float>(random.uniform(i) * 2 - 1);
  return pixels;
}

class GoldenVision : public testing::Test {
 protected:
  GoldenVision()
      : golden_(golden_file("siglip2")),
        sizes_(vlm::siglip2_sizes_from_hugging_face(golden_["config"])),
        tower_(sizes_, AttentionEngine::kAuto, at::TensorOptions()) {
    const auto hf = write_model_folder(folder_ / "hf", golden_["config"], golden_["tensors"]);
    NamedTensors tensors;
    for (const auto& item : tower_.named_parameters())
      tensors.emplace_back(item.key(), item.value());
    HuggingFaceWeights(posix_file_system(), hf, vlm::siglip2_hugging_face_format(sizes_),
                       shapes_of(tensors), {})
        .fill(tensors);
    for (const json& image : golden_["images"]) {
      const auto number = static_cast<int64_t>(grids_.size());
      grids_.push_back({image["rows"], image["columns"]});
      patches_.push_back(
          pixels_of(number, grids_.back().rows * grids_.back().columns, sizes_.patch_dim()));
      expected_.push_back(matrix_of(image["hidden"]));
    }
  }

  /// Of some images in one row.
  at::Tensor hidden(const std::vector<at::Tensor>& patches, const std::vector<ImageGrid>& grids) {
    const at::NoGradGuard no_grad;
    std::vector<int64_t> lengths;
    for (const at::Tensor& image : patches) lengths.push_back(image.size(0));
    const SequenceLayout row = SequenceLayout::from_document_lengths(lengths);
    return tower_.forward(at::cat(patches).unsqueeze(0), grids,
                          vlm::get_image_masks(vlm::document_masks(), row))[0];
  }

  const TemporaryFolder folder_;
  json golden_;
  vlm::Siglip2Sizes sizes_;
  vlm::VisionTransformer tower_;
  std::vector<ImageGrid> grids_;
  std::vector<at::Tensor> patches_;
  std::vector<at::Tensor> expected_;
};

TEST_F(GoldenVision, OfOneImageAtATime) {
  for (size_t i = 0; i < grids_.size(); ++i)
    EXPECT_LT((hidden({patches_[i]}, {grids_[i]}) - expected_[i]).abs().max().item<double>(), 1e-4)
        << grids_[i].rows << " x " << grids_[i].columns;
}

TEST_F(GoldenVision, OfImagesPackedIntoARow) {
  EXPECT_LT((hidden(patches_, grids_) - at::cat(expected_)).abs().max().item<double>(), 1e-4);
}

}  // namespace
}  // namespace coeus
