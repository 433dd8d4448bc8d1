// A small configuration with a member of every kind, for the tests of the reader.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/config_schema.h"

namespace coeus {

struct ExampleRow {
  std::string name;
  double share = 1.0;
};

struct Example {
  bool flag = false;
  std::int64_t count = 3;
  double rate = 0.5;
  std::string mode = "fast";
  std::optional<std::int64_t> seed;
  std::optional<double> ratio;
  std::optional<std::string> path;
  std::vector<std::string> names = {"a"};
  std::vector<std::string> parts;
  std::optional<std::vector<std::vector<std::string>>> groups;
  std::map<std::string, std::string> texts;
  std::vector<ExampleRow> rows;
};

inline void describe(ExampleRow& row, ConfigSection& section) {
  section.field("name", row.name, "A name.").one_of({"x", "y"});
  section.field("share", row.share, "A share.").more_than(0);
}

inline void describe(Example& example, ConfigSchema& schema) {
  ConfigSection main = schema.section("main");
  main.field("flag", example.flag, "A switch.");
  main.field("count", example.count, "A count.").at_least(1).or_value(-1);
  main.field("rate", example.rate, "A rate.").at_least(0).less_than(1);
  main.field("mode", example.mode, "A word.").one_of_any_case({"fast", "Slow"});
  ConfigSection inner = main.section("inner.most");
  inner.field("seed", example.seed, "A number or none.").at_least(0);
  inner.field("ratio", example.ratio, "A part or none.").at_most(1);
  inner.field("path", example.path, "A path | a name.");
  inner.field("names", example.names, "Words.").may_be_text();
  inner.field("parts", example.parts, "Known words.").one_of({"left", "right"});
  inner.field("groups", example.groups, "Words of words.");
  inner.field("texts", example.texts, "Words by name.");
  inner.tables("rows", example.rows, "Rows.");
}

}  // namespace coeus
