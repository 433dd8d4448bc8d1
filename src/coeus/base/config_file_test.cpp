#include "coeus/base/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "coeus/base/config_example.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct ConfigFile : testing::Test {
  ConfigFile() { describe(example, schema); }
  ConfigMistakes read(const std::string& text) {
    ConfigMistakes mistakes;
    read_config_toml(schema, text, "f.toml", mistakes);
    return mistakes;
  }
  Example example;
  ConfigSchema schema;
};

TEST_F(ConfigFile, SetsEveryKindOfValue) {
  EXPECT_THAT(read(R"(
[main]
flag = true
count = 7
rate = 0
mode = "SLOW"
[main.inner.most]
seed = 5
ratio = 0.25
path = "p"
names = ["b", "c"]
parts = ["left"]
groups = [["a", "b"], []]
texts = {one = "1"}
rows = [{name = "y"}, {name = "x", share = 2}]
)"),
              IsEmpty());
  EXPECT_TRUE(example.flag);
  EXPECT_EQ(example.count, 7);
  EXPECT_EQ(example.rate, 0.0);
  EXPECT_EQ(example.mode, "Slow");
  EXPECT_EQ(example.seed, 5);
  EXPECT_EQ(example.ratio, 0.25);
  EXPECT_EQ(example.path, "p");
  EXPECT_THAT(example.names, ElementsAre("b", "c"));
  EXPECT_THAT(example.parts, ElementsAre("left"));
  EXPECT_THAT(*example.groups, ElementsAre(ElementsAre("a", "b"), IsEmpty()));
  EXPECT_EQ(example.texts.at("one"), "1");
  ASSERT_EQ(example.rows.size(), 2u);
  EXPECT_EQ(example.rows[0].share, 1.0);
  EXPECT_EQ(example.rows[1].share, 2.0);
}

TEST_F(ConfigFile, NotesTheLineOfEachValueItSets) {
  read("[main]\n\nflag = true");
  EXPECT_EQ(schema.find("main.flag")->source.to_string(), "f.toml:3");
  EXPECT_EQ(schema.find("main.count")->source.to_string(), "default");
}

TEST_F(ConfigFile, UnsetsAnOptionalByNone) {
  example.seed = 5;
  EXPECT_THAT(read("main.inner.most.seed = \"None\""), IsEmpty());
  EXPECT_EQ(example.seed, std::nullopt);
}

TEST_F(ConfigFile, TakesATextForAListOnlyWhereThatIsAllowed) {
  EXPECT_THAT(read("main.inner.most.names = \"b,c\""), IsEmpty());
  EXPECT_THAT(example.names, ElementsAre("b", "c"));
  EXPECT_THAT(read("main.inner.most.parts = \"left\""),
              ElementsAre(HasSubstr("expected a list of \"left\", \"right\"")));
}

TEST_F(ConfigFile, TellsAllMistakesInTheOrderOfTheLines) {
  EXPECT_THAT(
      read(R"([main]
mode = "slwo"
count = 0
rate = nan
flag = "yes"
coutn = 1
[mian]
[main.inner.most]
seed = 1.5
parts = ["left", "up"]
)"),
      ElementsAre("f.toml:2: main.mode = \"slwo\": expected one of \"fast\", \"Slow\"",
                  "f.toml:3: main.count = 0: expected a whole number, at least 1, or -1",
                  "f.toml:4: main.rate = nan: expected a number, at least 0, less than 1",
                  "f.toml:5: main.flag = \"yes\": expected true or false",
                  "f.toml:6: unknown key main.coutn; did you mean main.count?",
                  "f.toml:7: unknown section [mian]; did you mean [main]?",
                  "f.toml:9: main.inner.most.seed = 1.5: expected a whole number, at least 0 "
                  "or None",
                  HasSubstr("f.toml:10: main.inner.most.parts = ")));
}

TEST_F(ConfigFile, LeavesAFieldAsItWasWhenItsValueIsRefused) {
  read("[main]\ncount = 0\nmode = \"slwo\"");
  EXPECT_EQ(example.count, 3);
  EXPECT_EQ(example.mode, "fast");
}

TEST_F(ConfigFile, ChecksTheElementsOfAnArrayOfTables) {
  EXPECT_THAT(
      read("main.inner.most.rows = [{share = 2}, {name = \"x\", shar = 1},\n"
           "{name = \"z\"}, {name = \"x\", share = 0}]"),
      ElementsAre("f.toml:1: lacks main.inner.most.rows[0].name: expected one of \"x\", \"y\"",
                  "f.toml:1: unknown key main.inner.most.rows[1].shar; did you mean "
                  "main.inner.most.rows[1].share?",
                  "f.toml:2: main.inner.most.rows[2].name = \"z\": expected one of \"x\", \"y\"",
                  "f.toml:2: main.inner.most.rows[3].share = 0: expected a number, more than 0"));
  EXPECT_THAT(read("main.inner.most.rows = [1]"),
              ElementsAre(HasSubstr("expected a list of tables")));
}

TEST_F(ConfigFile, WantsSectionsToBeTables) {
  EXPECT_THAT(read("main = 3"), ElementsAre("f.toml:1: main = 3: expected a section, [main]"));
}

TEST_F(ConfigFile, ListsTheKeysWhenNothingIsNear) {
  EXPECT_THAT(read("[main]\nzebra = 1"),
              ElementsAre("f.toml:2: unknown key main.zebra; [main] has: flag, count, rate, mode"));
}

TEST_F(ConfigFile, NamesLineAndColumnOfWhatIsNotToml) {
  EXPECT_THAT(read("[main]\ncount = = 3"), ElementsAre(HasSubstr("f.toml:2:9: not TOML: ")));
  EXPECT_THAT(read("[main]\ncount = 3\ncount = 4"), ElementsAre(HasSubstr("f.toml:3:")));
  EXPECT_THAT(read("[main]\npath = \"\xff\""), ElementsAre(HasSubstr("f.toml:2:")));
}

TEST_F(ConfigFile, NamesAFileThatCannotBeRead) {
  ConfigMistakes mistakes;
  const std::string folder = std::filesystem::temp_directory_path();
  read_config_file(schema, folder + "/there is no such file.toml", mistakes);
  read_config_file(schema, folder, mistakes);
  EXPECT_THAT(mistakes,
              ElementsAre(HasSubstr("file.toml: cannot read the configuration file: No such"),
                          HasSubstr(": cannot read the configuration file: Is a directory")));
}

TEST_F(ConfigFile, TakesAnEmptyText) { EXPECT_THAT(read(""), IsEmpty()); }

}  // namespace
}  // namespace coeus
