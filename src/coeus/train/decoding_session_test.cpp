#include "coeus/train/decoding_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/mask/select.h"
#include "coeus/models/registry.h"
#include "coeus/ops/test_device.h"

namespace coeus {
namespace {

std::shared_ptr<Model> small_model(const std::string& mask) {
  auto model = build_model({.name = "llama3",
                            .flavor = "debugmodel",
                            .seq_len = 64,
                            .mask = mask,
                            .tensors = at::TensorOptions().device(test_device())});
  model->init_weights(7);
  return model;
}

/// Rows of documents of these lengths; the last one goes on without end.
TokenAttributes attributes_of(const std::vector<int64_t>& documents, int64_t length) {
  std::vector<int64_t> lengths = documents;
  lengths.push_back(length - std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  return *SequenceLayout::from_document_lengths(lengths).query();
}

/// Logits after every token, by one forward over the whole row.
at::Tensor whole_row(Model& model, const std::vector<int32_t>& tokens,
                     const TokenAttributes& attributes) {
  const at::NoGradGuard no_grad;
  const std::vector<SequenceLayout> rows = {SequenceLayout::self(attributes)};
  const auto row = [](const std::vector<int32_t>& values) {
    return at::tensor(values, at::TensorOptions().dtype(at::kInt).device(test_device()))
        .unsqueeze(0);
  };
  return model.forward(row(tokens).to(at::kLong), row(attributes.index),
                       model.get_attention_masks(rows))[0];
}

int32_t likeliest(const at::Tensor& logits) {
  return static_cast<int32_t>(logits[-1].argmax().item<int64_t>());
}

class CachedDecoding : public testing::TestWithParam<const char*> {};

TEST_P(CachedDecoding, GreedyTokensEqualThoseOfWholeRows) {
  const auto model = small_model(GetParam());
  const std::vector<int64_t> documents = {5, 9};
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 17; ++i) prompt.push_back(i * 119 % 2048);

  std::vector<int32_t> row = prompt;
  DecodingSession session(*model);
  at::Tensor logits =
      session.append(prompt, attributes_of(documents, 17), attributes_of(documents, 17).index);
  for (int32_t length = 17; length < 50; ++length) {
    const at::Tensor wanted = whole_row(*model, row, attributes_of(documents, length));
    ASSERT_LE((logits[-1] - wanted[-1]).abs().max().item<double>(), 1e-4) << length << " tokens";
    ASSERT_EQ(likeliest(logits), likeliest(wanted)) << length << " tokens";
    row.push_back(likeliest(wanted));
    const TokenAttributes token = select(attributes_of(documents, length + 1), length, length + 1);
    logits = session.append(std::span(row).last(1), token, token.index);
  }
  EXPECT_EQ(session.length(), 50);
}

INSTANTIATE_TEST_SUITE_P(Masks, CachedDecoding,
                         testing::Values("causal", "causal & document",
                                         "causal & sliding_window(6)",
                                         "causal & document & sliding_window(6)",
                                         "causal & document & (sliding_window(4) | sink(2))",
                                         "causal & chunk(8)"));

TEST(DecodingSession, AnyCutOfTheRowGivesTheSameLogits) {
  const auto model = small_model("causal & document & sliding_window(6)");
  std::vector<int32_t> row(40);
  for (int32_t i = 0; i < 40; ++i) row[i] = i * 77 % 2048;
  const TokenAttributes all = attributes_of({3, 20}, 40);
  const at::Tensor wanted = whole_row(*model, row, all);
  DecodingSession session(*model);
  std::vector<at::Tensor> logits;
  int64_t begin = 0;
  for (const int64_t count : {1, 12, 2, 25}) {
    const TokenAttributes part = select(all, begin, begin + count);
    logits.push_back(session.append(std::span(row).subspan(begin, count), part, part.index));
    begin += count;
  }
  EXPECT_LE((at::cat(logits) - wanted).abs().max().item<double>(), 1e-4);
}

TEST(DecodingSession, OneDocumentNeedsNoAttributes) {
  const auto model = small_model("causal & document");
  const std::vector<int32_t> row = {3, 1, 4, 1, 5, 9};
  DecodingSession session(*model);
  session.append(std::span(row).first(4));
  const at::Tensor logits = session.append(std::span(row).last(2));
  const at::Tensor wanted = whole_row(*model, row, attributes_of({}, 6));
  EXPECT_LE((logits - wanted.slice(0, 4)).abs().max().item<double>(), 1e-4);
}

TEST(DecodingSession, IsOverOnceTheModelFailed) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "a GPU that found an unknown token computes no more";
  const auto model = small_model("causal");
  DecodingSession session(*model);
  const std::vector<int32_t> row = {3, 1}, unknown = {9, 2048};
  session.append(row);
  EXPECT_ANY_THROW(session.append(unknown));
  EXPECT_EQ(session.length(), 2);
  try {
    session.append(row);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("start a new session"));
  }
}

TEST(DecodingSession, RefusesTokensWithoutAttributes) {
  const auto model = small_model("causal");
  DecodingSession session(*model);
  const std::vector<int32_t> row = {3, 1};
  EXPECT_THROW(session.append(row, attributes_of({}, 1), row), Error);
  EXPECT_THROW(session.append(std::span(row).first(0)), Error);
  EXPECT_EQ(session.length(), 0);
  session.append(row);
  TokenAttributes declared = select(attributes_of({}, 3), 2, 3);
  declared.extra["modality"] = {1};
  EXPECT_THROW(session.append(std::span(row).first(1), declared, std::span(row).first(1)), Error);
}

}  // namespace
}  // namespace coeus
