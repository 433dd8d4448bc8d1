#include "coeus/base/config_print.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "coeus/base/config_example.h"
#include "coeus/base/config_file.h"
#include "coeus/base/config_text.h"

namespace coeus {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(ConfigText, QuotesWhatTomlMustNotHoldAsItIs) {
  EXPECT_EQ(quote_toml("a\"b\\c\n\t\x01 ü"), "\"a\\\"b\\\\c\\n\\t\\u0001 ü\"");
}

TEST(ConfigText, WritesFloatsThatReadBackAsFloats) {
  EXPECT_EQ(float_to_toml(1), "1.0");
  EXPECT_EQ(float_to_toml(0.1), "0.1");
  EXPECT_EQ(float_to_toml(std::numeric_limits<double>::infinity()), "inf");
}

TEST(ConfigPrint, SaysWhereEachValueCameFrom) {
  Example example;
  ConfigSchema schema;
  describe(example, schema);
  ConfigMistakes mistakes;
  read_config_toml(schema, "main.count = 7", "f.toml", mistakes);
  const std::string printed = print_effective_toml(schema);
  EXPECT_THAT(printed, HasSubstr("[main]\nflag = false"));
  EXPECT_THAT(printed, testing::ContainsRegex("\ncount = 7 +# f.toml:1\n"));
  EXPECT_THAT(printed, testing::ContainsRegex("\nrate = 0.5 +# default\n"));
  EXPECT_THAT(printed, HasSubstr("\n[main.inner.most]\n# seed is not set"));
}

TEST(ConfigPrint, ReadsBackAsTheSame) {
  Example first;
  first.rate = 0.1 + 0.2;
  first.ratio = 1.0;
  first.path = "a \"b\"\n";
  first.names = {};
  first.groups = {{"a"}, {}};
  first.texts = {{"a b", "c"}};
  first.rows = {{"x", 0.5}, {"y", 3}};
  ConfigSchema schema;
  describe(first, schema);
  const std::string printed = print_effective_toml(schema);

  Example second;
  ConfigSchema second_schema;
  describe(second, second_schema);
  ConfigMistakes mistakes;
  read_config_toml(second_schema, printed, "f.toml", mistakes);
  EXPECT_THAT(mistakes, IsEmpty());
  EXPECT_EQ(second.rate, first.rate);
  EXPECT_EQ(second.path, first.path);
  EXPECT_EQ(second.texts, first.texts);
  EXPECT_EQ(second.groups, first.groups);
  EXPECT_EQ(second.rows.at(1).share, 3);
  EXPECT_EQ(print_effective_toml(second_schema).substr(0, 30), printed.substr(0, 30));
}

TEST(ConfigPrint, DocumentsEveryKeyInItsSectionsTable) {
  Example example;
  ConfigSchema schema;
  describe(example, schema);
  const std::string reference =
      print_reference(schema, [](const ConfigField& field) { return "state of " + field.key(); });
  EXPECT_THAT(reference, HasSubstr("\n## [main.inner.most]\n"));
  EXPECT_THAT(reference,
              HasSubstr("| `count` | a whole number, at least 1, or -1 | `3` | A count. | "
                        "state of main.count |\n"));
  EXPECT_THAT(reference, HasSubstr("| None | A path \\| a name. |"));
}

}  // namespace
}  // namespace coeus
