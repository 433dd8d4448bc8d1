#include "coeus/train/metrics/tensorboard.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::ThrowsMessage;

std::string hex(std::string_view bytes) {
  std::string text;
  for (unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

// The same two events as tensorboard 2.21's own RecordWriter and protobuf classes write them.
constexpr const char* kGolden =
    "1800000000000000a37f4b2209000010b07b5fda411a0d627261696e2e4576656e743a32fa6f5860"
    "4d000000000000003d63d4a609000060b07b5fda4110ac022a3f0a230a1c6c6f73735f6d65747269"
    "63732f676c6f62616c5f6176675f6c6f737315162bf5400a0d0a066d6675282529150000c07f0a09"
    "0a026c721500000000d2c99b11";
const Scalars kScalars = {
    {"loss_metrics/global_avg_loss", 7.66150951}, {"mfu(%)", std::nan("")}, {"lr", 0.0}};

TEST(Crc32c, GivesTheStandardsCheckValue) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(TensorBoard, WritesTheBytesOfTensorBoardsOwnWriter) {
  EXPECT_EQ(hex(tfrecord(version_event(1769860800.25)) +
                tfrecord(scalars_event(kScalars, 300, 1769860801.5))),
            kGolden);
}

TEST(TensorBoard, WritesAFileOfItsOwnForEveryWriter) {
  TemporaryFolder folder;
  EventWriter first(folder / "tb/20260131-1200", 1769860800.25);
  EventWriter second(folder / "tb/20260131-1200", 1769860800.25);
  EXPECT_NE(first.path(), second.path());
  EXPECT_THAT(
      first.path().filename().string(),
      MatchesRegex(fmt::format("events.out.tfevents.1769860800\\..+\\.{}\\.[0-9]+", getpid())));
  first.write(kScalars, 300, 1769860801.5);
  EXPECT_EQ(hex(file_text(first.path())), kGolden) << "also while the writer is still open";
}

TEST(TensorBoard, NamesAFolderThatItCannotMake) {
  TemporaryFolder folder;
  folder.write("tb", "a file");
  EXPECT_THAT([&] { EventWriter(folder / "tb/20260131-1200", 0); },
              ThrowsMessage<ConfigError>(HasSubstr((folder / "tb").string() + " is a file")));
}

}  // namespace
}  // namespace coeus
