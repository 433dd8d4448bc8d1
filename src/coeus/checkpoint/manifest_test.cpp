#include "coeus/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using testing::HasSubstr;

Manifest example() {
  Manifest manifest;
  manifest.coeus_version = "0.1.0";
  manifest.step = 20;
  manifest.files["model.safetensors"] = {123, {1, 2}};
  const TensorSlice whole = TensorSlice::whole_of({2, 3});
  manifest.tensors["model"] = {
      {"w",
       StoredType::kBF16,
       {2, 3},
       {{whole.narrowed(0, 0, 1), "model.safetensors", 111, 117, {{3, 4}}, kChunkBytes},
        {whole.narrowed(0, 1, 1), "model.safetensors", 117, 123, {{5, 6}}, kChunkBytes}}}};
  manifest.tensors["optimizer"];
  manifest.states["train_state"] = {{"step", 20}, {"lr", 0.1}, {"big", ~uint64_t{0}}};
  return manifest;
}

std::string refusal_of(const std::string& text) {
  try {
    parse_manifest(text, "manifest.json");
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("manifest.json"));
    return error.what();
  }
  return "";
}

// Puts a right checksum below a text that somebody changed.
std::string sealed(std::string text) {
  text.resize(text.size() - 36);
  std::string sum = to_string(checksum_of(text));
  return text + sum + "\"\n}\n";
}

std::string changed(const std::string& from, const std::string& to) {
  std::string text = to_text(example());
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return sealed(text.replace(at, from.size(), to));
}

TEST(Manifest, ComesBackAsItWas) {
  const Manifest written = example();
  const Manifest read = parse_manifest(to_text(written), "manifest.json");
  EXPECT_EQ(to_text(read), to_text(written));
  EXPECT_EQ(read.step, 20);
  EXPECT_EQ(read.files.at("model.safetensors").bytes, 123u);
  EXPECT_EQ(read.files.at("model.safetensors").header, (Checksum{1, 2}));
  const StoredTensor& tensor = read.tensors.at("model").at(0);
  EXPECT_EQ(tensor.type, StoredType::kBF16);
  EXPECT_THAT(tensor.shape, testing::ElementsAre(2, 3));
  ASSERT_EQ(tensor.pieces.size(), 2u);
  EXPECT_EQ(tensor.pieces[1].slice, (TensorSlice{{2, 3}, {1, 0}, {1, 3}}));
  EXPECT_EQ(tensor.pieces[1].file, "model.safetensors");
  EXPECT_EQ(tensor.pieces[1].begin, 117u);
  EXPECT_EQ(tensor.pieces[1].end, 123u);
  EXPECT_THAT(tensor.pieces[1].checksums, testing::ElementsAre(Checksum{5, 6}));
  EXPECT_EQ(read.states.at("train_state").at("lr").get<double>(), 0.1);
  EXPECT_FALSE(read.is_model_only());
}

TEST(Manifest, IsJsonWithTheChecksumLast) {
  auto json = nlohmann::ordered_json::parse(to_text(example()));
  EXPECT_EQ(std::prev(json.end()).key(), "checksum");
  EXPECT_THAT(json.at("checksum").get<std::string>(), testing::StartsWith("xxh3-128:"));
}

TEST(Manifest, NoticesEveryFlippedBitAndEveryCut) {
  const std::string text = to_text(example());
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(refusal_of(damaged), "") << "bit " << bit;
  }
  for (size_t n = 0; n < text.size(); ++n) EXPECT_NE(refusal_of(text.substr(0, n)), "") << n;
  EXPECT_NE(refusal_of(text + " "), "");
}

TEST(Manifest, RefusesWhatAFalseHandSealed) {
  EXPECT_EQ(refusal_of(changed("20", "21")), "");
  EXPECT_THAT(refusal_of(changed("\"format_version\": 2", "\"format_version\": 3")),
              HasSubstr("format_version is 3, this coeus reads 1 to 2"));
  EXPECT_THAT(refusal_of(changed("coeus checkpoint", "other checkpoint")), HasSubstr("format"));
  EXPECT_THAT(refusal_of(changed("\"file\":\"model.safetensors\"", "\"file\":\"../x\"")),
              HasSubstr("'../x' is no plain file name"));
  EXPECT_THAT(refusal_of(changed("\"step\": 20,\n  \"tensors\"", "\"step\": -1,\n  \"tensors\"")),
              HasSubstr("-1"));
  EXPECT_THAT(refusal_of(changed("BF16", "BF17")), HasSubstr("BF17"));
  EXPECT_THAT(refusal_of(changed("\"bytes\": 123", "\"bytes\": \"a\"")), HasSubstr("a size must"));
  EXPECT_THAT(refusal_of(changed("\"name\":\"w\"", "\"name\":3")), HasSubstr("not of its form"));
  EXPECT_THAT(refusal_of(changed("\"states\"", "\"stages\"")), HasSubstr("states"));
  EXPECT_THAT(refusal_of(changed("\"lr\": 0.1", "\"lr\": " + std::string(200000, '['))),
              HasSubstr("nested too deeply"));
}

TEST(Manifest, RefusesStatesThatJsonCannotKeep) {
  Manifest manifest = example();
  manifest.states["lr_scheduler"] = {{"last", std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_THROW(to_text(manifest), Error);
  manifest = example();
  manifest.states["dataloader"] = "\xFF";
  EXPECT_THROW(to_text(manifest), Error);
}

}  // namespace
}  // namespace coeus
