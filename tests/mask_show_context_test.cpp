// `coeus mask show --cp`: the plan that is printed, drawn and refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "coeus/base/temporary_folder.h"
#include "run_command.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Outcome show(const std::string& arguments) { return run_coeus("mask show " + arguments); }

nlohmann::json figures(const std::string& arguments) {
  const Outcome outcome = show(arguments + " --json");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  return nlohmann::json::parse(outcome.output);
}

TEST(MaskShowContext, PrintsThePlanBelowThePicture) {
  const Outcome outcome = show("causal --seq-len 64 --tile 16 --cp 2 --balancer none");
  EXPECT_EQ(outcome.exit_code, 0);
  const size_t picture = outcome.output.find("lowered in");
  const size_t plan = outcome.output.find("context parallel over 2 ranks, balancer none");
  ASSERT_NE(plan, std::string::npos) << outcome.output;
  EXPECT_LT(picture, plan);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("max/mean work 1.492, at best 1.000"),
                                    HasSubstr("mask \"causal\", 1 layer: ")));
  EXPECT_THAT(show("causal --seq-len 64").output, Not(HasSubstr("context parallel")));
}

TEST(MaskShowContext, GivesTheFiguresAsJson) {
  const auto object = figures("causal --seq-len 8 --cp 2 --balancer none --method allgather");
  EXPECT_EQ(object.at("area"), 36);
  EXPECT_EQ(object.at("cp"), 2);
  EXPECT_EQ(object.at("balancer"), "none");
  EXPECT_EQ(object.at("method"), "allgather");
  EXPECT_THAT(object.at("work"), ElementsAre(10, 26));
  EXPECT_THAT(object.at("tokens"), ElementsAre(4, 4));
  EXPECT_THAT(object.at("needed_tokens"), ElementsAre(0, 4));
  EXPECT_DOUBLE_EQ(object.at("max_over_mean"), 26.0 / 18);
  EXPECT_DOUBLE_EQ(object.at("lower_bound"), 1);
  EXPECT_GE(object.at("plan_ms"), 0.0);
  EXPECT_GT(object.at("seconds"), 0.0);
  EXPECT_FALSE(figures("causal --seq-len 8").contains("cp"));
}

TEST(MaskShowContext, EachMethodCanBeAskedFor) {
  for (const char* method : {"allgather", "ring", "alltoall", "needed"})
    EXPECT_EQ(figures(std::string("causal --seq-len 64 --cp 2 --method ") + method).at("method"),
              method);
}

TEST(MaskShowContext, BalancesSeveralMasksTogether) {
  const std::string masks =
      "--documents 300,700 --cp 4 'causal & document & chunk(64)' --layers 3 "
      "--and-mask 'causal & document:1' --and-mask 'full:2' ";
  const auto object = figures(masks);
  EXPECT_THAT(object.at("tokens"), Each(250));
  EXPECT_LT(object.at("max_over_mean"), 1.02);
  ASSERT_EQ(object.at("masks").size(), 3u);
  EXPECT_EQ(object.at("masks")[1].at("mask"), "causal & document");
  EXPECT_EQ(object.at("masks")[0].at("layers"), 3);
  EXPECT_EQ(object.at("masks")[2].at("layers"), 2);
  EXPECT_EQ(object.at("masks")[0].at("method"), object.at("method"));
}

TEST(MaskShowContext, SlackLetsJointDealUnequally) {
  const std::string row = "'causal & document' --documents 100,900 --cp 4 ";
  EXPECT_THAT(figures(row).at("tokens"), Each(250));
  EXPECT_THAT(figures(row + "--slack 0.5").at("tokens"), Not(Each(250)));
}

TEST(MaskShowContext, DrawsThePlan) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "plan.svg").string();
  const Outcome outcome = show("causal --seq-len 64 --cp 3 --balancer headtail --svg " + file);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("wrote " + file));
  std::ifstream stream(file);
  const std::string svg{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_THAT(svg, HasSubstr("64 tokens over 3 ranks, balancer headtail"));
}

TEST(MaskShowContext, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const std::string& arguments, const std::string& words) {
    const Outcome outcome = show("causal --seq-len 64 " + arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(words)) << arguments;
  };
  for (const std::string option :
       {"--balancer none", "--method ring", "--slack 0.1", "--layers 2", "--and-mask full:1"})
    refuses(option, option.substr(0, option.find(' ')) + " requires --cp");
  refuses("--cp 65", "only 64 tokens");
  refuses("--cp 0", "--cp");
  refuses("--cp 2 --dense", "excludes --dense");
  refuses("--cp 2 --balancer best", "per_document, ptrr or joint");
  refuses("--cp 2 --method best", "alltoall or needed");
  refuses("--cp 2 --balancer none --slack 0.1", "none deals equal shares");
  refuses("--cp 2 --slack 1", "--slack");
  refuses("--cp 2 --layers 0", "--layers");
  for (const std::string mask : {"full", "full:", "full:0", "full:2x", ":1"})
    refuses("--cp 2 --and-mask '" + mask + "'", mask == ":1" ? "column 1" : "how many layers");
}

}  // namespace
}  // namespace coeus
