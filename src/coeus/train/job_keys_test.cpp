// What holds for every key of a job alike.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "coeus/base/config_file.h"
#include "coeus/base/config_flags.h"
#include "coeus/base/config_print.h"
#include "coeus/train/job_config.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Job {
  Job() { describe(config, schema); }
  ConfigMistakes read(const std::string& text) {
    ConfigMistakes mistakes;
    read_config_toml(schema, text, "f.toml", mistakes);
    return mistakes;
  }
  JobConfig config;
  ConfigSchema schema;
};

std::vector<std::string> all_keys() { return Job().schema.keys(); }

/// Counts how many unknown keys are answered by the right one.
struct Answers {
  void ask(const std::string& wrong, const std::string& right) {
    const ConfigMistakes mistakes = job.read(wrong + " = 1");
    ASSERT_EQ(mistakes.size(), 1u) << wrong;
    EXPECT_THAT(mistakes[0], HasSubstr("f.toml:1: unknown "));
    ++asked;
    if (mistakes[0].ends_with(fmt::format("; did you mean {}?", right)))
      ++right_answers;
    else
      last_wrong = mistakes[0];
  }
  double share() const { return double(right_answers) / double(asked); }

  Job job;
  int asked = 0;
  int right_answers = 0;
  std::string last_wrong;
};

using Misspell = std::string (*)(std::string, std::size_t, std::mt19937&);

TEST(JobKeys, AMisspeltKeyIsAnsweredByTheRightOne) {
  const std::map<std::string, Misspell> kinds = {
      {"dropped", [](std::string name, std::size_t i, std::mt19937&) { return name.erase(i, 1); }},
      {"doubled",
       [](std::string name, std::size_t i, std::mt19937&) { return name.insert(i, 1, name[i]); }},
      {"swapped",
       [](std::string name, std::size_t i, std::mt19937&) {
         if (i + 1 < name.size()) std::swap(name[i], name[i + 1]);
         return name;
       }},
      {"replaced", [](std::string name, std::size_t i, std::mt19937& random) {
         name[i] = char('a' + random() % 26);
         return name;
       }}};
  std::mt19937 random(1);
  for (const auto& [kind, misspell] : kinds) {
    Answers answers;
    for (const std::string& key : all_keys()) {
      const std::string name(name_in_section(key));
      for (int repeat = 0; repeat < 4; ++repeat) {
        const std::string wrong =
            fmt::format("{}.{}", section_of(key), misspell(name, random() % name.size(), random));
        if (answers.job.schema.find(wrong) == nullptr && !wrong.ends_with('.'))
          answers.ask(wrong, key);
      }
    }
    EXPECT_GT(answers.asked, 300) << kind;
    EXPECT_GE(answers.share(), 0.95) << kind << ", such as " << answers.last_wrong;
  }
}

TEST(JobKeys, DashesForUnderscoresAreAnsweredByTheRightKey) {
  Answers answers;
  for (const std::string& key : all_keys()) {
    std::string name(name_in_section(key));
    if (name.find('_') == std::string::npos) continue;
    std::replace(name.begin(), name.end(), '_', '-');
    answers.ask(fmt::format("{}.{}", section_of(key), name), key);
  }
  EXPECT_EQ(answers.right_answers, answers.asked) << answers.last_wrong;
}

TEST(JobKeys, AKeyInTheWrongSectionIsAnsweredByTheRightOne) {
  std::map<std::string, int> names;
  for (const std::string& key : all_keys()) ++names[std::string(name_in_section(key))];
  Answers answers;
  for (const std::string& key : all_keys()) {
    const std::string name(name_in_section(key));
    if (names[name] > 1) continue;
    for (const std::string& section : answers.job.schema.sections())
      if (section != section_of(key)) answers.ask(fmt::format("{}.{}", section, name), key);
    answers.ask(name, key);
  }
  EXPECT_GT(answers.asked, 2000);
  EXPECT_GE(answers.share(), 0.95) << answers.last_wrong;
}

/// A value of a type that the field does not take.
std::string of_wrong_type(const ConfigField& field) {
  const bool takes_text = std::holds_alternative<std::string*>(field.target()) ||
                          std::holds_alternative<std::optional<std::string>*>(field.target());
  return takes_text ? "5" : field.is_switch() ? "1" : "1979-05-27";
}

TEST(JobKeys, AValueOfTheWrongTypeIsRefusedWithItsLine) {
  Job job;
  for (const ConfigField& field : job.schema.fields()) {
    const std::string value = of_wrong_type(field);
    EXPECT_THAT(job.read(fmt::format("# one\n# two\n{} = {}", field.key(), value)),
                ElementsAre(fmt::format("f.toml:3: {} = {}: expected {}", field.key(), value,
                                        field.expected())));
    const bool is_table =
        std::holds_alternative<std::map<std::string, std::string>*>(field.target());
    EXPECT_THAT(
        job.read(fmt::format("{} = {{a = 1}}", field.key())),
        ElementsAre(HasSubstr(is_table ? "a table" : field.key() + " = a table: expected ")));
  }
  EXPECT_EQ(job.config, JobConfig{});
}

/// A right value that is most likely not the default, as a flag's text.
std::string another_value(const ConfigField& field, std::mt19937& random) {
  const auto pick = [&] { return field.allowed()[random() % field.allowed().size()]; };
  if (field.is_switch()) return random() % 2 ? "true" : "false";
  if (field.key() == "activation_checkpoint.selective_ac_option") return random() % 2 ? "op" : "7";
  if (field.is_optional() && random() % 4 == 0) return "None";
  if (std::holds_alternative<std::optional<std::vector<std::vector<std::string>>>*>(field.target()))
    return R"([["tok_embeddings", "layers.0"], [], ["output"]])";
  if (std::holds_alternative<ConfigTables>(field.target()))
    return R"([{dataset = "json", path = "a b", weight = 0.3}, {dataset = "fortunes"}])";
  if (std::holds_alternative<std::map<std::string, std::string>*>(field.target()))
    return R"({rope = "causal", "no pe" = "full"})";
  if (!field.allowed().empty()) return pick();
  if (std::holds_alternative<std::int64_t*>(field.target()) ||
      std::holds_alternative<std::optional<std::int64_t>*>(field.target()))
    return fmt::format("{}", 1 + random() % 100000);
  if (std::holds_alternative<double*>(field.target()) ||
      std::holds_alternative<std::optional<double>*>(field.target()))
    return fmt::format("{}", double(random() + 1) / 4294967297.0);
  return random() % 2 ? "a\"b\\c,\td=# [ü]" : "x";
}

TEST(JobKeys, WhatIsPrintedReadsBackTheSame) {
  std::mt19937 random(2);
  for (int repeat = 0; repeat < 50; ++repeat) {
    Job first;
    std::vector<ConfigFlag> flags;
    for (const ConfigField& field : first.schema.fields())
      flags.push_back({field.key(), another_value(field, random), "--" + field.key()});
    ConfigMistakes mistakes;
    read_config_flags(first.schema, flags, mistakes);
    ASSERT_THAT(mistakes, IsEmpty());

    Job second;
    ASSERT_THAT(second.read(print_effective_toml(first.schema)), IsEmpty());
    EXPECT_TRUE(second.config == first.config) << print_effective_toml(first.schema);
  }
}

TEST(JobKeys, EveryKeySaysWhatItMeans) {
  Job job;
  for (const ConfigField& field : job.schema.fields())
    EXPECT_TRUE(field.meaning().size() > 5 && field.meaning().ends_with('.')) << field.key();
}

TEST(JobKeys, DefaultsAreAllowedValues) {
  Job job;
  for (const ConfigField& field : job.schema.fields()) EXPECT_TRUE(field.is_valid()) << field.key();
}

}  // namespace
}  // namespace coeus
