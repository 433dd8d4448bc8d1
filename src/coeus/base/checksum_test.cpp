#include "coeus/base/checksum.h"

#include <gtest/gtest.h>

#include <vector>

namespace coeus {
namespace {

std::vector<std::byte> pattern(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 131 + 7);
  return bytes;
}

// What `printf '' | xxhsum -H2` and `printf coeus | xxhsum -H2` print.
TEST(Checksum, EqualsXxhsum) {
  EXPECT_EQ(to_string(checksum_of("")), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(to_string(checksum_of("coeus")), "1d1e61316081acd168b66be490324233");
}

TEST(Checksum, OfPiecesEqualsThatOfTheWhole) {
  auto bytes = pattern(5000);
  for (size_t piece : {1, 7, 64, 1024, 4999}) {
    ChecksumStream stream;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      stream.update(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_EQ(stream.digest(), checksum_of(bytes)) << piece;
  }
}

TEST(Checksum, EverySingleBitCounts) {
  auto bytes = pattern(300);
  Checksum whole = checksum_of(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    EXPECT_NE(checksum_of(bytes), whole) << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
  }
}

TEST(Checksum, ReadsWhatItPrintsAndNothingElse) {
  Checksum checksum{0x0123456789abcdef, 0xfedcba9876543210};
  EXPECT_EQ(to_string(checksum), "0123456789abcdeffedcba9876543210");
  EXPECT_EQ(parse_checksum(to_string(checksum)), checksum);
  EXPECT_EQ(parse_checksum(""), std::nullopt);
  EXPECT_EQ(parse_checksum("0123456789abcdeffedcba987654321"), std::nullopt);
  EXPECT_EQ(parse_checksum("0123456789ABCDEFfedcba9876543210"), std::nullopt);
  EXPECT_EQ(parse_checksum("-123456789abcdeffedcba9876543210"), std::nullopt);
}

}  // namespace
}  // namespace coeus
