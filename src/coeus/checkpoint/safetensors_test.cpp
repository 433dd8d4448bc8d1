#include "coeus/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string file_with(std::string json, size_t data_bytes) {
  uint64_t length = json.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  return file + json + std::string(data_bytes, 'd');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "a.safetensors");
}

std::string refusal_of(const std::string& file) {
  try {
    parse(file);
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("a.safetensors"));
    return error.what();
  }
  return "";
}

const char* const kA = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
const char* const kB = R"("b":{"dtype":"U8","shape":[3,1],"data_offsets":[8,11]})";

// Byte for byte what the safetensors wheel (0.8.0) writes for the same tensors.
TEST(Safetensors, LaysOutAFileAsTheReferenceImplementationDoes) {
  SafetensorsEntry b{"b", StoredType::kF32, {2}};
  SafetensorsEntry a{"a", StoredType::kI64, {1, 2}};
  auto layout = lay_out_safetensors({b, a}, {});
  std::string expected("p\0\0\0\0\0\0\0", 8);
  expected += R"({"a":{"dtype":"I64","shape":[1,2],"data_offsets":[0,16]},)"
              R"("b":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}})";
  EXPECT_EQ(layout.header_bytes, expected);
  EXPECT_EQ(layout.header.data_begin, 120u);
  EXPECT_EQ(layout.header.tensors[1].begin, 136u);
  EXPECT_EQ(layout.header.tensors[1].end, 144u);
}

TEST(Safetensors, ReadsWhatItLaysOut) {
  std::vector<SafetensorsEntry> entries;
  for (StoredType type : all_stored_types()) {
    entries.push_back({fmt::format("layer \"{}\" \n\\ \xC3\xA9", name_of(type)), type, {2, 3}});
  }
  entries.push_back({"scalar", StoredType::kF64, {}});
  entries.push_back({"empty", StoredType::kF32, {4, 0}});
  auto layout = lay_out_safetensors(entries, {{"format", "pt"}, {"k", "\"v\""}});
  EXPECT_EQ(layout.header.data_begin % 8, 0u);
  std::string file = layout.header_bytes;
  file.resize(layout.header.tensors.back().end);
  SafetensorsHeader read = parse(file);
  EXPECT_EQ(read.metadata, layout.header.metadata);
  ASSERT_EQ(read.tensors.size(), entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    // An empty tensor may sort before its neighbour, for it has no bytes.
    auto written =
        std::find_if(layout.header.tensors.begin(), layout.header.tensors.end(),
                     [&](const auto& entry) { return entry.name == read.tensors[i].name; });
    ASSERT_NE(written, layout.header.tensors.end());
    EXPECT_EQ(read.tensors[i].type, written->type);
    EXPECT_EQ(read.tensors[i].shape, written->shape);
    EXPECT_EQ(read.tensors[i].begin, written->begin);
    EXPECT_EQ(read.tensors[i].end, written->end);
    EXPECT_EQ(read.tensors[i].begin % bytes_of(read.tensors[i].type), 0u);
  }
}

// testdata/every_dtype.safetensors was made by the safetensors wheel, version 0.8.0.
TEST(Safetensors, ReadsAFileOfTheReferenceImplementation) {
  auto file = posix_file_system().open(COEUS_SOURCE_DIR
                                       "/src/coeus/checkpoint/testdata/every_dtype.safetensors");
  SafetensorsHeader header = read_safetensors_header(*file, "every_dtype.safetensors");
  EXPECT_EQ(header.metadata.at("made_by"), "safetensors 0.8.0");
  ASSERT_EQ(header.tensors.size(), all_stored_types().size() + 2);
  for (const auto& tensor : header.tensors) {
    if (tensor.name.starts_with("t.")) {
      EXPECT_EQ(tensor.name, fmt::format("t.{}", name_of(tensor.type)));
      EXPECT_THAT(tensor.shape, ElementsAre(3));
    }
  }
  EXPECT_EQ(header.tensors.back().name, "t.BOOL");
  std::string bools(3, '?');
  file->read(header.tensors.back().begin, std::as_writable_bytes(std::span(bools)));
  EXPECT_EQ(bools, std::string("\1\0\1", 3));
}

TEST(Safetensors, TakesTensorsListedInAnyOrder) {
  auto header = parse(file_with(fmt::format("{{{},{}}}", kB, kA), 11));
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[1].name, "b");
  EXPECT_TRUE(parse(file_with("{}", 0)).tensors.empty());
  EXPECT_TRUE(parse(file_with("{}   ", 0)).tensors.empty());
}

TEST(Safetensors, RefusesAFileCutAtAnyByte) {
  std::string file = file_with(fmt::format("{{{},{}}}", kA, kB), 11);
  EXPECT_EQ(parse(file).tensors.size(), 2u);
  for (size_t n = 0; n < file.size(); ++n) {
    EXPECT_NE(refusal_of(file.substr(0, n)), "") << n;
  }
  EXPECT_THAT(refusal_of(file + "x"), HasSubstr("goes on to byte 12"));
}

TEST(Safetensors, NamesTensorAndNumbersOfAMisplacedTensor) {
  auto with_b = [](const char* b, size_t bytes) {
    return refusal_of(file_with(fmt::format("{{{},\"b\":{}}}", kA, b), bytes));
  };
  EXPECT_THAT(
      with_b(R"({"dtype":"U8","shape":[3],"data_offsets":[7,10]})", 10),
      HasSubstr("tensor 'b' begins at byte 7 of the data, but tensor 'a' ends at byte 8: they "
                "overlap"));
  EXPECT_THAT(with_b(R"({"dtype":"U8","shape":[3],"data_offsets":[9,12]})", 12),
              HasSubstr("belong to no tensor"));
  EXPECT_THAT(with_b(R"({"dtype":"U8","shape":[3],"data_offsets":[8,11]})", 10),
              HasSubstr("tensor 'b' claims bytes [8, 11) of the 10 bytes of data"));
  EXPECT_THAT(with_b(R"({"dtype":"U8","shape":[3],"data_offsets":[11,8]})", 11),
              HasSubstr("claims bytes [11, 8)"));
  EXPECT_THAT(with_b(R"({"dtype":"U16","shape":[3],"data_offsets":[8,11]})", 11),
              HasSubstr("tensor 'b' of dtype U16 and shape [3] needs 6 bytes, but its data_offsets "
                        "[8, 11] hold 3"));
  EXPECT_THAT(with_b(R"({"dtype":"U8","shape":[3],"data_offsets":[0,3]})", 8),
              HasSubstr("overlap"));
}

TEST(Safetensors, RefusesNumbersThatOverflow) {
  auto shape = [](const char* shape) {
    return refusal_of(file_with(
        fmt::format(R"({{"a":{{"dtype":"F32","shape":{},"data_offsets":[0,0]}}}})", shape), 0));
  };
  EXPECT_THAT(shape("[4611686018427387904,4]"), HasSubstr("overflows"));
  EXPECT_THAT(shape("[4611686018427387904,4,0]"), HasSubstr("overflows"));
  EXPECT_THAT(shape("[0,4611686018427387904,4]"), HasSubstr("overflows"));
  EXPECT_THAT(shape("[9223372036854775808]"), HasSubstr("out of range"));
  EXPECT_THAT(shape("[99999999999999999999999]"), HasSubstr("no whole number of 64 bits"));
  EXPECT_EQ(shape("[0,7]"), "");
  auto offsets = [](const char* offsets) {
    return refusal_of(file_with(
        fmt::format(R"({{"a":{{"dtype":"U8","shape":[1],"data_offsets":{}}}}})", offsets), 1));
  };
  EXPECT_THAT(offsets("[18446744073709551615,0]"), HasSubstr("claims bytes"));
  EXPECT_THAT(offsets("[0,18446744073709551615]"), HasSubstr("claims bytes"));
  EXPECT_EQ(offsets("[0,1]"), "");
}

TEST(Safetensors, RefusesHeadersOfAnotherForm) {
  auto json = [](const std::string& text) { return refusal_of(file_with(text, 8)); };
  EXPECT_THAT(json(fmt::format("{{{},{}}}", kA, kA)), HasSubstr("tensor 'a' is listed twice"));
  EXPECT_THAT(json(R"({"a":{"dtype":"F32","dtype":"F32"}})"), HasSubstr("has dtype twice"));
  EXPECT_THAT(json(R"({"a":{"dtype":"F32","shape":[2]}})"), HasSubstr("has no data_offsets"));
  EXPECT_THAT(json(R"({"a":{"dtype":"F33"}})"), HasSubstr("dtype 'F33'"));
  EXPECT_THAT(json(R"({"a":{"dtype":7}})"), HasSubstr("a number where none may stand, in dtype"));
  EXPECT_THAT(json(R"({"a":{"dtype":["F32"]}})"), HasSubstr("an array"));
  EXPECT_THAT(json(R"({"a":{"shape":"2"}})"), HasSubstr("a string"));
  EXPECT_THAT(json(R"({"a":{"shape":2}})"), HasSubstr("a number"));
  EXPECT_THAT(json(R"({"a":{"shape":[-2]}})"), HasSubstr("a negative number"));
  EXPECT_THAT(json(R"({"a":{"shape":[2.0]}})"), HasSubstr("the number 2.0"));
  EXPECT_THAT(json(R"({"a":{"shape":[[2]]}})"), HasSubstr("an array"));
  EXPECT_THAT(json(R"({"a":{"shape":[null]}})"), HasSubstr("null"));
  EXPECT_THAT(json(R"({"a":{"shape":[{}]}})"), HasSubstr("an object"));
  EXPECT_THAT(json(R"({"a":{"data_offsets":[0,8,9]}})"), HasSubstr("3 data_offsets"));
  EXPECT_THAT(json(R"({"a":{"more":1}})"), HasSubstr("unknown field 'more'"));
  EXPECT_THAT(json(R"({"a":1})"), HasSubstr("a number"));
  EXPECT_THAT(json(R"({"a":true})"), HasSubstr("a boolean"));
  EXPECT_THAT(json(R"({"__metadata__":{"k":1}})"), HasSubstr("a number"));
  EXPECT_THAT(json(R"({"__metadata__":{"k":{}}})"), HasSubstr("an object"));
  EXPECT_THAT(json(R"({"__metadata__":{"k":"1","k":"2"}})"), HasSubstr("has k twice"));
  EXPECT_THAT(json("[]"), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(json(" {}"), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(json("{} {}"), HasSubstr("no JSON"));
  EXPECT_THAT(json("{\"\xFF\":1}"), HasSubstr("no JSON at byte 10"));
  EXPECT_THAT(json("{\"a\":" + std::string(1000000, '[')), HasSubstr("an array"));
  EXPECT_THAT(json("{\"a\":" + std::string(1000000, '{')), HasSubstr("no JSON"));
}

TEST(Safetensors, RefusesHeaderLengthsThatCannotBe) {
  std::string file = file_with("{}", 0);
  for (uint64_t length : {uint64_t{3}, uint64_t{99'000'000}, uint64_t{100'000'001},
                          uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string lying = file;
    lying.replace(0, 8, reinterpret_cast<const char*>(&length), 8);
    EXPECT_THAT(refusal_of(lying), HasSubstr(fmt::format("claims {} bytes", length)));
  }
}

// Whatever bytes change, the reader answers with a header that fits the file or a CheckpointError.
TEST(Safetensors, SurvivesRandomDamage) {
  const std::string file =
      file_with(fmt::format("{{{},{},\"__metadata__\":{{\"k\":\"v\"}}}}", kA, kB), 11);
  std::mt19937_64 random(5);
  const std::string alphabet = "{}[]\":,0123456789-.eEFU\\u\xC3 \n";
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = file;
    for (size_t n = random() % 4 + 1; n > 0; --n) {
      const size_t at = random() % damaged.size();
      const char byte = random() % 2 ? alphabet[random() % alphabet.size()] : char(random());
      if (random() % 3 == 0) damaged.erase(at, random() % 3);
      if (random() % 3 == 0) damaged.insert(at, 1, byte);
      if (at < damaged.size()) damaged[at] = byte;
    }
    try {
      uint64_t end = 0;
      for (const auto& tensor : parse(damaged).tensors) {
        EXPECT_EQ(tensor.end - tensor.begin, *bytes_of(tensor.type, tensor.shape));
        EXPECT_GE(tensor.begin, end);
        end = tensor.end;
        EXPECT_LE(end, damaged.size());
      }
    } catch (const CheckpointError&) {
    }
  }
}

TEST(Safetensors, RefusesToLayOutWhatCouldNotBeReadBack) {
  SafetensorsEntry a{"a", StoredType::kF32, {2}};
  EXPECT_THROW(lay_out_safetensors({a, a}, {}), Error);
  EXPECT_THROW(lay_out_safetensors({{"__metadata__", StoredType::kF32, {2}}}, {}), Error);
  EXPECT_THROW(lay_out_safetensors({{"\xFF", StoredType::kF32, {2}}}, {}), Error);
  EXPECT_THROW(lay_out_safetensors({{"a", StoredType::kF32, {int64_t{1} << 62}}}, {}), Error);
  EXPECT_THROW(lay_out_safetensors({{"a", StoredType::kF32, {-1}}}, {}), Error);
}

}  // namespace
}  // namespace coeus
