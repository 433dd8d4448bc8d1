#include "coeus/data/byte_reader.h"

#include <gmock/gmock.h>

#include "coeus/base/error.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

DataFile only_file(const std::string& path) { return find_data_files(path, {})[0]; }

std::string read_all(ByteReader& reader, size_t chunk = 1000) {
  std::string all;
  std::string buffer(chunk, '\0');
  while (size_t got = reader.read(buffer.data(), buffer.size())) all.append(buffer, 0, got);
  return all;
}

/// Does not compress to almost nothing.
std::string long_text() {
  std::string text;
  for (uint64_t i = 0, x = 1; i < 40000; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    text += std::to_string(x >> 40) + "\n";
  }
  return text;
}

class ByteReaderOfEachKind : public testing::TestWithParam<const char*> {
 protected:
  TestFolder folder_;
};

TEST_P(ByteReaderOfEachKind, ReadsAllAndFromAnyOffset) {
  std::string text = long_text();
  auto reader = open_bytes(only_file(folder_.write(std::string("a") + GetParam(), text)));
  EXPECT_EQ(read_all(*reader), text);
  EXPECT_EQ(read_all(*reader), "");
  for (size_t offset : {size_t{0}, size_t{200000}, size_t{7}, size_t{7}, text.size() - 1}) {
    reader->seek(offset);
    ASSERT_EQ(read_all(*reader), text.substr(offset)) << offset;
  }
  reader->seek(text.size() + 10);
  EXPECT_EQ(read_all(*reader), "");
}

TEST_P(ByteReaderOfEachKind, NamesTheLineOfAnOffset) {
  auto file = only_file(folder_.write(std::string("a") + GetParam(), "ab\ncd\n\nef"));
  EXPECT_EQ(line_at(file, 0), file.path.string() + ":1");
  EXPECT_EQ(line_at(file, 2), file.path.string() + ":1");
  EXPECT_EQ(line_at(file, 3), file.path.string() + ":2");
  EXPECT_EQ(line_at(file, 8), file.path.string() + ":4");
}

INSTANTIATE_TEST_SUITE_P(Kinds, ByteReaderOfEachKind, testing::Values(".txt", ".gz", ".zst"),
                         [](const auto& info) { return std::string(info.param + 1); });

class CompressedBytes : public ByteReaderOfEachKind {};

TEST_P(CompressedBytes, JoinsStreamsLaidEndToEnd) {
  std::string name = std::string("a") + GetParam();
  auto compress = name.ends_with(".gz") ? TestFolder::gzip : TestFolder::zstd;
  auto path = folder_.write_raw(name, compress("one ") + compress("") + compress("two"));
  EXPECT_EQ(read_all(*open_bytes(only_file(path))), "one two");
}

TEST_P(CompressedBytes, ReportsATruncatedFileWhereverItWasCut) {
  std::string name = std::string("a") + GetParam();
  std::string text = long_text();
  auto whole = name.ends_with(".gz") ? TestFolder::gzip(text) : TestFolder::zstd(text);
  for (size_t size :
       {whole.size() - 1, whole.size() - 6, whole.size() / 2, size_t{12}, size_t{4}}) {
    auto path = folder_.write_raw(name, whole.substr(0, size));
    auto message = message_of<DataError>([&] { read_all(*open_bytes(only_file(path)), 1 << 20); });
    EXPECT_THAT(message, AllOf(HasSubstr(path), HasSubstr("truncated"))) << size;
  }
}

TEST_P(CompressedBytes, ReportsWhatIsNotCompressed) {
  auto path = folder_.write_raw(std::string("a") + GetParam(), "plain text, not compressed at all");
  EXPECT_THAT(message_of<DataError>([&] { read_all(*open_bytes(only_file(path))); }),
              HasSubstr(path));
}

TEST_P(CompressedBytes, ReportsAnEmptyFile) {
  auto path = folder_.write_raw(std::string("a") + GetParam(), "");
  EXPECT_THAT(message_of<DataError>([&] { read_all(*open_bytes(only_file(path))); }),
              HasSubstr(path));
}

TEST_P(CompressedBytes, BreaksOffALongSkipWhenStopped) {
  std::stop_source stop;
  auto file = only_file(folder_.write(std::string("a") + GetParam(), long_text()));
  auto reader = open_bytes(file, stop.get_token());
  reader->seek(10);
  stop.request_stop();
  EXPECT_THROW(reader->seek(200000), ReadStopped);
}

INSTANTIATE_TEST_SUITE_P(Kinds, CompressedBytes, testing::Values(".gz", ".zst"),
                         [](const auto& info) { return std::string(info.param + 1); });

TEST(GzipBytes, ReportsAFlippedBit) {
  TestFolder folder;
  auto bytes = TestFolder::gzip(long_text());
  bytes[bytes.size() / 2] ^= 4;
  auto path = folder.write_raw("a.gz", bytes);
  EXPECT_THAT(message_of<DataError>([&] { read_all(*open_bytes(only_file(path))); }),
              HasSubstr(path));
}

TEST(ReadRange, GivesTheBytesAndReportsAShrunkFile) {
  TestFolder folder;
  auto file = only_file(folder.write("a.txt", "0123456789"));
  EXPECT_EQ(read_range(file, 2, 5), "234");
  EXPECT_EQ(read_range(file, 10, 10), "");
  EXPECT_THAT(message_of<DataError>([&] { read_range(file, 8, 11); }), HasSubstr("changed"));
}

TEST(ByteReader, ReportsAFileThatWentAway) {
  TestFolder folder;
  auto file = only_file(folder.write("a.txt", "text"));
  std::filesystem::remove(file.path);
  EXPECT_THAT(message_of<DataError>([&] { open_bytes(file); }),
              AllOf(HasSubstr(file.path.string()), HasSubstr("No such file")));
}

}  // namespace
}  // namespace coeus
