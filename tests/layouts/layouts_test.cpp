// The same loss in every layout. CI trains a dozen; COEUS_LAYOUTS=all trains every model in every
// layout, and COEUS_LAYOUTS_TABLE names a file for the rows of the table in docs/layouts.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"
#include "layout_run.h"

namespace coeus {
namespace {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Case {
  LayoutModel model;
  Layout layout;
};

std::vector<Case> cases() {
  const bool all = environment("COEUS_LAYOUTS") == "all";
  std::vector<Case> cases;
  for (const LayoutModel& model : layout_models())
    for (const Layout& layout : layouts()) {
      const bool in_ci =
          std::find(layout.in_ci.begin(), layout.in_ci.end(), model.label()) != layout.in_ci.end();
      if (layout.needs_experts && !model.has_experts) continue;
      if (all || in_ci) cases.push_back({model, layout});
    }
  return cases;
}

class SameLoss : public testing::TestWithParam<Case> {
 protected:
  /// One process's, trained once for each model by the tests of one program.
  LossCurve of_one_process(const LayoutModel& model) const {
    static std::map<std::string, LossCurve> curves;
    LossCurve& curve = curves[model.label()];
    if (curve.empty()) curve = train_in_layout(model, {}, "", temporary_.path() / "one");
    return curve;
  }
  const TemporaryFolder temporary_;
};

TEST_P(SameLoss, AsOneProcess) {
  const auto& [model, layout] = GetParam();
  const LossCurve one = of_one_process(model);
  ASSERT_EQ(one.size(), 10U);
  const LossCurve many = train_in_layout(model, layout, "", temporary_.path() / "many");
  const Comparison comparison = expect_same(one, many);
  const std::string table = environment("COEUS_LAYOUTS_TABLE");
  if (!table.empty() && !many.empty())
    std::ofstream(table, std::ios::app) << fmt::format(
        "| {} | {} | {} | {:.1e} | {:.1e} |\n", model.label(), layout.name, layout.ranks,
        comparison.loss.difference, comparison.grad_norm.value().difference);
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return as_name(info.param.model.label() + "_" + info.param.layout.name);
}

INSTANTIATE_TEST_SUITE_P(Layouts, SameLoss, testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace coeus
