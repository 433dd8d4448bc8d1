#include "coeus/checkpoint/piece_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/memory_file_system.h"

namespace coeus {
namespace {

using testing::HasSubstr;

/// A file with three bytes of something else before a piece of ten, in chunks of four.
class PieceReaderTest : public testing::Test {
 protected:
  PieceReaderTest() {
    files.put("/f", "---0123456789");
    for (const char* chunk : {"0123", "4567", "89"})
      piece.checksums.push_back(checksum_of(std::string_view(chunk)));
  }

  using Parts = std::vector<std::pair<uint64_t, uint64_t>>;

  std::string read(const Parts& parts) {
    const auto file = files.open("/f");
    PieceReader reader(*file, name, piece);
    std::string text;
    for (const auto& [offset, length] : parts) {
      std::string part(length, '\0');
      reader.read(offset, std::as_writable_bytes(std::span(part)));
      text += part;
    }
    return text;
  }

  const std::string name = "w";
  MemoryFileSystem files;
  StoredPiece piece{TensorSlice::whole_of({4, 5}).narrowed(0, 1, 2), "/f", 3, 13, {}, 4};
};

TEST_F(PieceReaderTest, ReadsAnyPartInAnyOrder) {
  EXPECT_EQ(read({{0, 10}}), "0123456789");
  EXPECT_EQ(read({{7, 3}, {1, 2}, {0, 1}, {2, 5}}), "78912023456");
}

TEST_F(PieceReaderTest, ComparesEveryChunkThatIsReadInFull) {
  for (const auto& parts : std::vector<Parts>{{{0, 10}},
                                              {{4, 4}},
                                              {{2, 3}, {5, 3}, {4, 4}},
                                              {{4, 1}, {5, 3}},
                                              {{3, 2}, {5, 2}, {7, 1}}}) {
    EXPECT_NO_THROW(read(parts));
    files.content("/f")[8] = 'x';
    try {
      read(parts);
      ADD_FAILURE() << "not noticed";
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr("/f: tensor 'w[1:3, 0:5]' is damaged: its bytes [7, 11)"));
    }
    files.content("/f")[8] = '5';
  }
}

TEST_F(PieceReaderTest, ComparesTheLastChunkThoughItIsShort) {
  files.content("/f").back() = 'x';
  EXPECT_NO_THROW(read({{0, 9}}));
  EXPECT_THROW(read({{8, 2}}), CheckpointError);
}

TEST_F(PieceReaderTest, ReadsNoMoreToCompareAChunkThatIsReadInPart) {
  files.content("/f")[8] = 'x';
  EXPECT_EQ(read({{4, 3}}), "4x6");
  EXPECT_EQ(read({{5, 3}}), "x67");
  EXPECT_EQ(read({{4, 1}, {6, 2}}), "467");
}

TEST_F(PieceReaderTest, VerifiesOneChunkThroughASmallBuffer) {
  const auto file = files.open("/f");
  std::vector<std::byte> buffer(3);
  for (uint64_t chunk : {0, 1, 2}) EXPECT_NO_THROW(verify_chunk(*file, name, piece, chunk, buffer));
  files.content("/f")[8] = 'x';
  EXPECT_NO_THROW(verify_chunk(*file, name, piece, 0, buffer));
  EXPECT_THROW(verify_chunk(*file, name, piece, 1, buffer), CheckpointError);
}

TEST(OpenFilesTest, OpensAFileOnceButKeepsNotAllOpen) {
  MemoryFileSystem memory;
  int opened = 0;
  InterceptedFileSystem files(memory, [&](const FileOperation& operation) {
    opened += operation.name == "open";
    return 0;
  });
  OpenFiles open(files);
  for (int i = 0; i < 100; ++i) {
    const auto path = fmt::format("/f{}", i);
    memory.put(path, std::string(static_cast<size_t>(i), 'x'));
    EXPECT_EQ(open.at(path).size(), static_cast<uint64_t>(i));
  }
  EXPECT_EQ(open.at("/f99").size(), 99u);
  EXPECT_EQ(opened, 100);
  EXPECT_EQ(open.at("/f0").size(), 0u);
  EXPECT_EQ(opened, 101);
}

}  // namespace
}  // namespace coeus
