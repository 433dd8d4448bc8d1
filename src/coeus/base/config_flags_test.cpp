#include "coeus/base/config_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/config_example.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct ConfigFlags : testing::Test {
  ConfigFlags() { describe(example, schema); }
  ConfigMistakes read(const std::vector<std::string>& arguments) {
    ConfigMistakes mistakes;
    const ConfigArguments parsed = parse_config_arguments(schema, arguments, mistakes);
    read_config_flags(schema, parsed.flags, mistakes);
    others = parsed.others;
    return mistakes;
  }
  Example example;
  ConfigSchema schema;
  std::vector<std::string> others;
};

TEST_F(ConfigFlags, TakesAValueAfterEqualsOrInTheNextArgument) {
  EXPECT_THAT(read({"--main.count=5", "--main.rate", "0.25", "file"}), IsEmpty());
  EXPECT_EQ(example.count, 5);
  EXPECT_EQ(example.rate, 0.25);
  EXPECT_THAT(others, ElementsAre("file"));
  EXPECT_THAT(read({"--main.count", "-1"}), IsEmpty());
  EXPECT_EQ(example.count, -1);
}

TEST_F(ConfigFlags, SetsSwitchesWithAndWithoutAValue) {
  for (const auto& on : {"--main.flag", "--main.flag=true", "--main.flag=True"}) {
    example.flag = false;
    EXPECT_THAT(read({on, "file"}), IsEmpty());
    EXPECT_TRUE(example.flag) << on;
    EXPECT_THAT(others, ElementsAre("file"));
  }
  for (const auto& off : {"--main.no_flag", "--main.no-flag", "--main.flag=false"}) {
    example.flag = true;
    EXPECT_THAT(read({off, "file"}), IsEmpty());
    EXPECT_FALSE(example.flag) << off;
  }
  EXPECT_THAT(read({"--main.flag", "true"}), IsEmpty());
  EXPECT_TRUE(example.flag);
  EXPECT_THAT(others, IsEmpty());
}

TEST_F(ConfigFlags, ReadsListsTablesAndNone) {
  example.seed = 5;
  EXPECT_THAT(
      read({"--main.inner.most.names=b, c", "--main.inner.most.seed=None",
            "--main.inner.most.groups=[[\"a\"], [\"b\", \"c\"]]", "--main.inner.most.texts.one=1",
            "--main.inner.most.texts.two", "2", "--main.inner.most.rows=[{name=\"x\"}]"}),
      IsEmpty());
  EXPECT_THAT(example.names, ElementsAre("b", "c"));
  EXPECT_EQ(example.seed, std::nullopt);
  EXPECT_THAT(*example.groups, ElementsAre(ElementsAre("a"), ElementsAre("b", "c")));
  EXPECT_EQ(example.texts.at("one") + example.texts.at("two"), "12");
  EXPECT_EQ(example.rows.at(0).name, "x");
  EXPECT_EQ(schema.find("main.inner.most.rows")->source.to_string(), "--main.inner.most.rows");

  EXPECT_THAT(read({"--main.inner.most.names=[\"d,e\"]"}), IsEmpty());
  EXPECT_THAT(example.names, ElementsAre("d,e"));
  EXPECT_THAT(read({"--main.inner.most.names="}), IsEmpty());
  EXPECT_THAT(example.names, IsEmpty());
}

TEST_F(ConfigFlags, GoesOnWithTheKnownWordsOfAList) {
  EXPECT_THAT(read({"--main.inner.most.parts", "left", "right", "file"}), IsEmpty());
  EXPECT_THAT(example.parts, ElementsAre("left", "right"));
  EXPECT_THAT(others, ElementsAre("file"));
}

TEST_F(ConfigFlags, TheLastOfEqualFlagsWins) {
  EXPECT_THAT(read({"--main.count=5", "--main.count=6"}), IsEmpty());
  EXPECT_EQ(example.count, 6);
}

TEST_F(ConfigFlags, TakesDashesForUnderscoresInNamesOnly) {
  EXPECT_THAT(read({"--main.inner.most.path=a-b_c"}), IsEmpty());
  EXPECT_EQ(example.path, "a-b_c");
}

TEST_F(ConfigFlags, TellsAllMistakes) {
  EXPECT_THAT(
      read({"--main.cuont", "4", "--main.no_falg", "--main.count=4x", "--main.count=1e3",
            "--main.rate=1", "--main.flag=1", "--main.no_flag=true", "--main.inner.most.rows=[",
            "--count=3", "--main.mode"}),
      ElementsAre("--main.cuont: unknown flag; did you mean --main.count?",
                  "--main.no_falg: unknown flag; did you mean --main.no_flag?",
                  "--main.no_flag=true: takes no value: use --main.flag=true or --main.no_flag",
                  "--count: unknown flag; did you mean --main.count?",
                  "--main.mode: needs a value: expected one of \"fast\", \"Slow\"",
                  "--main.count=4x: expected a whole number, at least 1, or -1",
                  "--main.count=1e3: expected a whole number, at least 1, or -1",
                  "--main.rate=1: expected a number, at least 0, less than 1",
                  "--main.flag=1: expected true or false",
                  "--main.inner.most.rows=[: expected a list of tables"));
  EXPECT_THAT(others, IsEmpty()) << "the value of an unknown flag is no argument of its own";
}

}  // namespace
}  // namespace coeus
