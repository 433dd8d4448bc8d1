// coeus compare: are two runs' losses the same?
#include <fmt/core.h>

#include <fstream>
#include <memory>
#include <string>

#include "coeus/train/metrics/compare.h"
#include "coeus/train/metrics/draw_curves.h"
#include "commands.h"

namespace coeus {

namespace {

struct CompareArguments {
  std::string a;
  std::string b;
  CompareLimits limits;
  bool same_steps = false;
  bool table = false;
  std::string svg;
};

void write_svg(const CompareArguments& arguments, const LossCurve& a, const LossCurve& b) {
  std::ofstream file(arguments.svg, std::ios::binary);
  file << draw_curves_svg(a, b, "A: " + arguments.a, "B: " + arguments.b);
  file.close();
  COEUS_CHECK(!file.fail(), "[compare] cannot write {}: does its folder exist?", arguments.svg);
}

ExitCode compare(const CompareArguments& arguments) {
  const LossCurve a = read_loss_curve(arguments.a);
  const LossCurve b = read_loss_curve(arguments.b);
  const Comparison comparison = compare_curves(a, b, arguments.limits);
  if (!arguments.svg.empty()) write_svg(arguments, a, b);
  if (arguments.table) fmt::print("{}", step_table(a, b));
  fmt::print("A: {}\nB: {}\n{}", arguments.a, arguments.b,
             comparison_table(comparison, arguments.limits));
  const bool steps_agree = comparison.only_in_a.empty() && comparison.only_in_b.empty();
  if (arguments.same_steps && !steps_agree) fmt::print("the steps are not the same\n");
  return comparison.within() && (steps_agree || !arguments.same_steps) ? ExitCode::kDone
                                                                       : ExitCode::kFailure;
}

}  // namespace

void add_compare_command(CLI::App& program, Command& chosen) {
  auto arguments = std::make_shared<CompareArguments>();
  CLI::App* command = program.add_subcommand(
      "compare",
      "Compare the losses and gradient norms of two runs, step by step.\n"
      "Prints the largest differences and where they are. Exits with 0 when every demanded limit "
      "is kept (or none is demanded), 1 when one is not.\n"
      "Examples:\n"
      "  coeus compare outputs/a/metrics.jsonl outputs/b/metrics.jsonl --bitwise\n"
      "  coeus compare outputs/metrics.jsonl reference.csv --atol 2e-5 --rtol 2e-3 --last-step 10");
  command
      ->add_option("A", arguments->a, "A metrics.jsonl, or a CSV file with step,loss[,grad_norm]")
      ->required();
  command->add_option("B", arguments->b, "The same")->required();
  auto* atol = command->add_option("--atol", arguments->limits.loss_absolute,
                                   "Largest allowed absolute difference of the loss");
  auto* rtol = command->add_option("--rtol", arguments->limits.grad_norm_relative,
                                   "Largest allowed relative difference of grad_norm");
  command->add_flag("--bitwise", arguments->limits.bitwise, "Demand exactly equal numbers")
      ->excludes(atol)
      ->excludes(rtol);
  command->add_flag("--same-steps", arguments->same_steps,
                    "Demand that both logged the same steps");
  command->add_flag("--table", arguments->table, "Print every common step's losses");
  command->add_option("--svg", arguments->svg,
                      "Draw both losses and their difference to this file");
  command->add_option("--first-step", arguments->limits.first_step, "Leave earlier steps out");
  command->add_option("--last-step", arguments->limits.last_step, "Leave later steps out");
  command->callback([arguments, &chosen] { chosen = [arguments] { return compare(*arguments); }; });
}

}  // namespace coeus
