#include "coeus/train/metrics/loss_curve.h"

#include <gmock/gmock.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

LossCurve read(const std::string& text) {
  TemporaryFolder folder;
  return read_loss_curve(folder.write("file", text));
}

std::string complaint(const std::string& text) {
  TemporaryFolder folder;
  try {
    read_loss_curve(folder.write("file", text));
  } catch (const DataError& error) {
    return error.what();
  }
  return "no DataError";
}

TEST(LossCurve, OfJsonLinesTakesTheLaterLineOfAStepAndNoValidation) {
  LossCurve curve = read(
      "{\"step\": 1, \"loss\": 8.25, \"grad_norm\": 2.5, \"lr\": 1e-4}\n"
      "{\"step\": 1, \"validation_loss\": 1.5}\n"
      "\n"
      "{\"step\": 2, \"loss\": 7, \"grad_norm\": null}\n"
      "{\"step\": 1, \"loss\": 8.5, \"grad_norm\": 2.75}");
  ASSERT_EQ(curve.size(), 2u);
  EXPECT_EQ(curve[1].loss, 8.5);
  EXPECT_EQ(curve[1].grad_norm, 2.75);
  EXPECT_EQ(curve[2].loss, 7);
  EXPECT_TRUE(std::isnan(*curve[2].grad_norm));
}

TEST(LossCurve, TakesALineThatHasBothLosses) {
  EXPECT_EQ(read("{\"step\": 1, \"validation_loss\": 1.5, \"loss\": 8}")[1].loss, 8);
}

TEST(LossCurve, OfCsvFindsItsColumnsByName) {
  LossCurve curve = read(
      "lr,step,loss,grad_norm\r\n"
      "4e-4,1,7.66150951,2.85728931\r\n"
      "8e-4,2,nan,4.05\r\n");
  ASSERT_EQ(curve.size(), 2u);
  EXPECT_EQ(curve[1].loss, 7.66150951);
  EXPECT_EQ(curve[1].grad_norm, 2.85728931);
  EXPECT_TRUE(std::isnan(curve[2].loss));
}

TEST(LossCurve, NeedsNoGradNorm) {
  EXPECT_EQ(read("step,loss\n1,8\n")[1].grad_norm, std::nullopt);
  EXPECT_EQ(read("{\"step\":1,\"loss\":8}\n")[1].grad_norm, std::nullopt);
}

TEST(LossCurve, NamesFileAndLineOfWhatIsMalformed) {
  EXPECT_THAT(complaint("{\"step\": 1, \"loss\": 8}\n{\"step\": 2, \"lo"),
              HasSubstr("file:2: not a JSON object"));
  EXPECT_THAT(complaint("{\"step\": 1, \"loss\": 8}\n[1]\n"),
              HasSubstr("file:2: not a JSON object: [1]"));
  EXPECT_THAT(complaint("{\"step\": 1}\n"), HasSubstr("file:1: the object has no \"loss\""));
  EXPECT_THAT(complaint("{\"step\": 1, \"loss\": \"8\"}\n"),
              HasSubstr("file:1: \"loss\" must be a number, got \"8\""));
  EXPECT_THAT(complaint("{\"step\": 1.5, \"loss\": 8}\n"),
              HasSubstr("file:1: the object needs a whole number \"step\""));
  EXPECT_THAT(complaint("step,grad_norm\n1,2\n"), HasSubstr("file:1: neither a JSON object nor"));
  EXPECT_THAT(complaint("step,loss\n1,8\n2\n"), HasSubstr("file:3: 1 columns where the header"));
  EXPECT_THAT(complaint("step,loss\n1,8x\n"),
              HasSubstr("file:2: column loss must be a number, got \"8x\""));
  EXPECT_THAT(complaint("step,loss\n1.5,8\n"), HasSubstr("file:2: column step must be a number"));
  EXPECT_THAT(complaint("step,loss\n1,\n"), HasSubstr("file:2: column loss must be a number"));
}

TEST(LossCurve, RefusesAFileWithoutSteps) {
  EXPECT_THAT(complaint(""), HasSubstr("holds no step with a loss"));
  EXPECT_THAT(complaint("step,loss\n"), HasSubstr("holds no step with a loss"));
  EXPECT_THAT(complaint("{\"step\": 1, \"validation_loss\": 3}\n"),
              HasSubstr("holds no step with a loss"));
}

TEST(LossCurve, NamesAFileThatItCannotRead) {
  TemporaryFolder folder;
  EXPECT_THAT([&] { read_loss_curve(folder / "none"); },
              ThrowsMessage<DataError>(HasSubstr("none: No such file or directory")));
  EXPECT_THAT([&] { read_loss_curve(folder.path()); },
              ThrowsMessage<DataError>(HasSubstr("is a folder")));
}

}  // namespace
}  // namespace coeus
