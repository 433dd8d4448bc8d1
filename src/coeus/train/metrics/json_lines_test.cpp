#include "coeus/train/metrics/json_lines.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

JsonObject step(int64_t number) {
  JsonObject line;
  line.add("step", number);
  return line;
}

TEST(JsonObject, KeepsTheOrderAndEveryDigit) {
  JsonObject line;
  line.add("step", int64_t{1} << 60);
  line.add("loss", double{7.66150951f});
  line.add("narrow", 7.66150951f);
  line.add("lr", 8e-4);
  EXPECT_EQ(line.text(), R"({"step": 1152921504606846976, "loss": 7.6615095138549805, )"
                         R"("narrow": 7.6615095, "lr": 8e-04})");
}

TEST(JsonObject, StaysJsonForNumbersAndNamesThatJsonLacks) {
  JsonObject line;
  line.add("loss", std::nan(""));
  line.add("grad_norm", INFINITY);
  line.add("narrow", -INFINITY);
  line.add_null("mfu");
  line.add("a \"name\"\n", 1.0);
  auto parsed = nlohmann::json::parse(line.text());
  for (const char* key : {"loss", "grad_norm", "narrow", "mfu"}) EXPECT_TRUE(parsed[key].is_null());
  EXPECT_EQ(parsed["a \"name\"\n"], 1.0);
  EXPECT_EQ(JsonObject().text(), "{}");
}

TEST(MetricsFile, IsReadableLineByLineWhileItIsWritten) {
  TemporaryFolder folder;
  MetricsFile file(folder / "metrics.jsonl", false);
  file.write(step(1));
  EXPECT_EQ(file_text(folder / "metrics.jsonl"), "{\"step\": 1}\n");
  file.write(step(2));
  EXPECT_EQ(file_text(folder / "metrics.jsonl"), "{\"step\": 1}\n{\"step\": 2}\n");
}

TEST(MetricsFile, OfAResumedRunAppends) {
  TemporaryFolder folder;
  auto path = folder.write("metrics.jsonl", "{\"step\": 1}\n");
  MetricsFile(path, true).write(step(2));
  EXPECT_EQ(file_text(path), "{\"step\": 1}\n{\"step\": 2}\n");
}

TEST(MetricsFile, DropsTheHalfLineOfAnInterruption) {
  TemporaryFolder folder;
  auto path = folder.write("metrics.jsonl", "{\"step\": 1}\n{\"step\": 2, \"lo");
  MetricsFile(path, true).write(step(2));
  EXPECT_EQ(file_text(path), "{\"step\": 1}\n{\"step\": 2}\n");
  folder.write("metrics.jsonl", "{\"st");
  MetricsFile(path, true).write(step(1));
  EXPECT_EQ(file_text(path), "{\"step\": 1}\n");
}

TEST(MetricsFile, EndsALastLineThatOnlyLacksItsEnd) {
  TemporaryFolder folder;
  auto path = folder.write("metrics.jsonl", "{\"step\": 1}");
  MetricsFile(path, true).write(step(2));
  EXPECT_EQ(file_text(path), "{\"step\": 1}\n{\"step\": 2}\n");
}

TEST(MetricsFile, OfANewRunKeepsTheOlderRunsUnderAnotherName) {
  TemporaryFolder folder;
  auto path = folder.write("metrics.jsonl", "old\n");
  MetricsFile(path, false).write(step(1));
  MetricsFile(path, false).write(step(2));
  EXPECT_EQ(file_text(path), "{\"step\": 2}\n");
  EXPECT_EQ(file_text(folder / "metrics.1.jsonl"), "old\n");
  EXPECT_EQ(file_text(folder / "metrics.2.jsonl"), "{\"step\": 1}\n");
}

TEST(MetricsFile, NamesAPathThatItCannotOpen) {
  EXPECT_THAT([] { MetricsFile("/proc/no/metrics.jsonl", false); },
              ThrowsMessage<ConfigError>(HasSubstr("cannot open /proc/no/metrics.jsonl")));
}

}  // namespace
}  // namespace coeus
