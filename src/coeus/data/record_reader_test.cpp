#include "coeus/data/record_reader.h"

#include <gmock/gmock.h>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

RecordReader reader_of(std::string contents, RecordFormat format, size_t part_bytes = 8) {
  return RecordReader(open_bytes(std::move(contents)), format, "file", {}, part_bytes);
}

std::vector<std::string> records(std::string contents, RecordFormat format, size_t part_bytes = 8) {
  auto reader = reader_of(std::move(contents), format, part_bytes);
  std::vector<std::string> all;
  for (Record record; reader.next(record);) all.emplace_back(record.bytes);
  return all;
}

TEST(RecordReader, GivesLinesAndPassesOverBlankOnes) {
  EXPECT_THAT(records("a\n\n  \t\r\nb\r\nc", RecordFormat::kLines), ElementsAre("a", "b\r", "c"));
  EXPECT_THAT(records("", RecordFormat::kLines), IsEmpty());
  EXPECT_THAT(records("\n\n", RecordFormat::kLines), IsEmpty());
}

TEST(RecordReader, GivesWhatLiesBetweenPercents) {
  EXPECT_THAT(records("%\na\nb\n%\n%\n \n%\n50%\n%c\n%\r\nd\n%", RecordFormat::kPercent),
              ElementsAre("a\nb", "50%\n%c", "d"));
  EXPECT_THAT(records("a\n%\nb", RecordFormat::kPercent), ElementsAre("a", "b"));
  EXPECT_THAT(records("%\n%\n", RecordFormat::kPercent), IsEmpty());
}

TEST(RecordReader, PassesOverAByteOrderMark) {
  EXPECT_THAT(records("\xEF\xBB\xBF{}\n\xEF\xBB\xBF{}", RecordFormat::kLines),
              ElementsAre("{}", "\xEF\xBB\xBF{}"));
  EXPECT_THAT(records("\xEF\xBB", RecordFormat::kLines), ElementsAre("\xEF\xBB"));
}

TEST(RecordReader, CutsPartsBeforeALineThatStartsWithoutABlank) {
  // Part size 8: the first place from byte 8 on that follows a line end and is not blank.
  EXPECT_THAT(records("one two\n\n three\nfour", RecordFormat::kParts, 8),
              ElementsAre("one two\n\n three\n", "four"));
  EXPECT_THAT(records("one two\nthree", RecordFormat::kParts, 8),
              ElementsAre("one two\n", "three"));
  EXPECT_THAT(records("short", RecordFormat::kParts, 8), ElementsAre("short"));
}

TEST(RecordReader, CutsATextWithoutLinesBetweenCharacters) {
  std::string umlauts;
  for (int i = 0; i < 20; ++i) umlauts += "ä";
  auto parts = records("x" + umlauts, RecordFormat::kParts, 4);
  ASSERT_GT(parts.size(), 3u);
  std::string joined;
  for (const auto& part : parts) {
    joined += part;
    EXPECT_NE(static_cast<unsigned char>(part[0]) & 0xC0, 0x80);
  }
  EXPECT_EQ(joined, "x" + umlauts);
}

TEST(RecordReader, SaysWhichPartIsTheLast) {
  for (size_t size = 1; size < 40; ++size) {
    auto reader = reader_of(std::string(size, 'x'), RecordFormat::kParts, 4);
    size_t sum = 0;
    for (Record record; reader.next(record);) {
      EXPECT_EQ(record.begin, sum);
      sum += record.bytes.size();
      EXPECT_EQ(record.last_part, sum == size);
    }
    EXPECT_EQ(sum, size);
  }
}

TEST(RecordReader, GoesOnFromAnyRecordsStart) {
  // Longer than the reader's buffer, with records longer than it too.
  std::string contents;
  for (int i = 0; i < 300; ++i) {
    contents += std::to_string(i) + std::string(static_cast<size_t>(i * i * 37 % 9973), 'x');
    contents += i % 7 == 0 ? "\n%\n" : "\n";
  }
  contents += std::string(700000, 'y') + "\n%\nend";
  for (auto format : {RecordFormat::kLines, RecordFormat::kPercent, RecordFormat::kParts}) {
    auto all = records(contents, format, 5000);
    auto reader = reader_of(contents, format, 5000);
    for (size_t i = 0; i < all.size(); i += 13) {
      auto again = reader_of(contents, format, 5000);
      again.seek(reader.offset());
      Record record;
      for (size_t j = i; j < std::min(i + 13, all.size()); ++j) {
        ASSERT_TRUE(again.next(record));
        ASSERT_EQ(record.bytes, all[j]);
        ASSERT_TRUE(reader.next(record));
        ASSERT_EQ(record.bytes, all[j]);
        ASSERT_EQ(contents.substr(record.begin, record.bytes.size()), all[j]);
      }
    }
  }
}

TEST(RecordReader, EndsALongReadWhenStopped) {
  std::stop_source stop;
  RecordReader reader(open_bytes(std::string(1000, 'x')), RecordFormat::kLines, "file",
                      stop.get_token());
  stop.request_stop();
  Record record;
  EXPECT_THROW(reader.next(record), ReadStopped);
}

}  // namespace
}  // namespace coeus
