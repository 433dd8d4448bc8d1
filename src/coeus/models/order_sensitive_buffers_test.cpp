#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/model.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

using testing::HasSubstr;

/// A model that declares what it is told to.
class Declaring : public llama3::Transformer {
 public:
  explicit Declaring(std::vector<OrderSensitiveBuffer> buffers)
      : Transformer(llama3::flavors().at("debugmodel"), AttentionEngine::kAuto,
                    at::TensorOptions().device(at::kMeta)),
        buffers_(std::move(buffers)) {}
  std::vector<OrderSensitiveBuffer> get_order_sensitive_buffers(int64_t, int64_t) const override {
    return buffers_;
  }

 private:
  std::vector<OrderSensitiveBuffer> buffers_;
};

std::string complaint(const Model& model) {
  try {
    check_order_sensitive_buffers(model, "llama3 debugmodel", 2, 64);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

OrderSensitiveBuffer buffer(const std::string& name, int64_t length = 64, int64_t dim = 1) {
  return {name, {2, length}, dim};
}

TEST(OrderSensitiveBuffers, AreWhatABatchHas) {
  EXPECT_EQ(complaint(Declaring({buffer("labels"), buffer("positions"), buffer("tokens")})), "");
}

TEST(OrderSensitiveBuffers, AreRefusedWithAnotherLengthOrDimension) {
  EXPECT_THAT(complaint(Declaring({buffer("tokens"), buffer("labels", 65), buffer("positions")})),
              HasSubstr("\"labels\" as [2, 65]"));
  EXPECT_THAT(
      complaint(Declaring({buffer("tokens"), buffer("labels"), buffer("positions", 64, 0)})),
      HasSubstr("dimension 0"));
}

TEST(OrderSensitiveBuffers, AreRefusedWhereABatchHasThemNotOrOneIsForgotten) {
  EXPECT_THAT(complaint(Declaring({buffer("tokens"), buffer("freqs_cis")})),
              HasSubstr("\"freqs_cis\""));
  EXPECT_THAT(complaint(Declaring({buffer("tokens"), buffer("tokens")})), HasSubstr("twice"));
  EXPECT_THAT(complaint(Declaring({buffer("tokens"), buffer("labels")})),
              HasSubstr("does not declare positions"));
}

std::shared_ptr<Model> meta_model(const std::string& name, const std::string& flavor) {
  return build_model({.name = name,
                      .flavor = flavor,
                      .seq_len = 64,
                      .tensors = at::TensorOptions().device(at::kMeta)});
}

TEST(LayersByMask, CountsTheLayersUnderEach) {
  using Layers = std::map<std::string, int64_t>;
  EXPECT_EQ(meta_model("llama3", "8B")->layers_by_mask(), Layers({{"attention", 32}}));
  EXPECT_EQ(meta_model("llama4", "17bx16e_irope")->layers_by_mask(),
            Layers({{"rope", 36}, {"nope", 12}}));
  EXPECT_EQ(meta_model("vlm", "debugmodel")->layers_by_mask().begin()->first, "llama3_masks");
  // The names are those of the masks themselves.
  for (const char* const flavor : {"debugmodel", "debugmodel_irope"}) {
    const auto model = meta_model("llama4", flavor);
    const std::vector<SequenceLayout> rows = {
        SequenceLayout::from_document_lengths(std::vector<int64_t>{64})};
    const AttentionMasks masks = model->get_attention_masks(rows);
    for (const auto& [name, layers] : model->layers_by_mask()) EXPECT_TRUE(masks.contains(name));
    EXPECT_EQ(masks.size(), model->layers_by_mask().size());
  }
}

}  // namespace
}  // namespace coeus
