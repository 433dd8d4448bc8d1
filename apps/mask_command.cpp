// coeus mask show: what a mask looks like and costs, lowered, and how its rows spread over ranks.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/mask/draw.h"
#include "coeus/mask/lower.h"
#include "coeus/parallel/context/plan/draw_plan.h"
#include "commands.h"

namespace coeus {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

/// How the row is to be spread over ranks (context parallelism).
struct PlanArguments {
  int64_t ranks = 0;  ///< 0: not at all
  std::string balancer = "joint";
  std::string method = "auto";
  double slack = 0;
  int64_t layers = 1;
  std::vector<std::string> further_masks;
};

struct MaskArguments {
  std::string expression;
  int64_t seq_len = 0;
  std::vector<int64_t> documents;
  int64_t tile = 128;
  int64_t tile_k = 0;
  std::string svg;
  std::string png;
  bool json = false;
  bool dense = false;
  PlanArguments plan;
};

/// The documents' lengths; what they leave of seq_len is one more document.
std::vector<int64_t> document_lengths(const MaskArguments& arguments) {
  auto lengths = arguments.documents;
  for (const int64_t length : lengths) {
    COEUS_CHECK_CONFIG(length >= 1, "[mask show] a document of {} tokens in --documents", length);
  }
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  COEUS_CHECK_CONFIG(total > 0 || arguments.seq_len > 0,
                     "[mask show] say how long the row is: --seq-len N or --documents 100,400,12");
  COEUS_CHECK_CONFIG(arguments.seq_len == 0 || total <= arguments.seq_len,
                     "[mask show] the documents hold {} tokens, more than --seq-len {}", total,
                     arguments.seq_len);
  if (total < arguments.seq_len) lengths.push_back(arguments.seq_len - total);
  return lengths;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  COEUS_CHECK(!file.fail(), "[mask show] cannot write {}: does its folder exist?", path);
}

/// A mask lowered for one row.
struct Shown {
  Mask mask;
  SequenceLayout layout;
  std::vector<int64_t> documents;
  LowerOptions options;
  BlockMask lowered;
  double milliseconds;
};

/// The row with all of its masks, spread over ranks. Lists of one, as drawings take them.
struct Planned {
  std::vector<ContextRow> rows;
  std::vector<ContextPlan> plans;
  PlanReport report;
};

Shown lower_mask(const MaskArguments& arguments) {
  Mask mask = parse_mask(arguments.expression);
  std::vector<int64_t> documents = document_lengths(arguments);
  auto layout = SequenceLayout::from_document_lengths(documents);
  const LowerOptions options{arguments.tile,
                             arguments.tile_k > 0 ? arguments.tile_k : arguments.tile};
  const std::vector<SequenceLayout> rows{layout};
  const auto start = Clock::now();
  BlockMask lowered = lower(mask, rows, options);
  const Milliseconds took = Clock::now() - start;
  return {std::move(mask), std::move(layout),  std::move(documents),
          options,         std::move(lowered), took.count()};
}

/// A mask of --and-mask, "EXPR:LAYERS".
LayersMask further_mask(const std::string& text, const Shown& shown) {
  const size_t colon = std::min(text.rfind(':'), text.size());
  const char* const end = text.data() + text.size();
  int64_t layers = 0;
  const auto read = std::from_chars(text.data() + std::min(colon + 1, text.size()), end, layers);
  COEUS_CHECK_CONFIG(read.ec == std::errc() && read.ptr == end && layers >= 1,
                     "[mask show] --and-mask \"{}\" does not end in how many layers take the mask; "
                     "say it after a colon, as in \"causal & document:12\"",
                     text);
  const Mask mask = parse_mask(text.substr(0, colon));
  return {mask.to_string(), lower_row(mask, shown.layout, shown.options), layers};
}

Planned plan_row(const PlanArguments& arguments, const Shown& shown) {
  const Balancer balancer = balancer_from_name(arguments.balancer);
  COEUS_CHECK_CONFIG(arguments.slack == 0 || balancer == Balancer::kJoint,
                     "[mask show] --slack {} is for --balancer joint; {} deals equal shares",
                     arguments.slack, arguments.balancer);
  std::optional<ContextMethod> method;
  if (arguments.method != "auto") method = context_method_from_name(arguments.method);
  std::vector<LayersMask> masks{
      {shown.mask.to_string(), shown.lowered.shared_row(0), arguments.layers}};
  for (const std::string& text : arguments.further_masks)
    masks.push_back(further_mask(text, shown));

  Planned planned;
  const auto start = Clock::now();
  planned.rows.emplace_back(shown.layout, std::move(masks));
  planned.plans.push_back(balance(
      planned.rows[0], {.balancer = balancer, .ranks = arguments.ranks, .slack = arguments.slack}));
  planned.report.plan_milliseconds = Milliseconds(Clock::now() - start).count();
  planned.report.balancer = balancer;
  for (size_t mask = 0; mask < planned.rows[0].masks.size(); ++mask) {
    const auto& [rows, plans, report] = planned;
    planned.report.costs.push_back(method ? cost_of(*method, rows, plans, mask, report.model)
                                          : cheapest_method(rows, plans, mask, report.model));
  }
  return planned;
}

void draw_files(const MaskArguments& arguments, const Shown& shown,
                const std::optional<Planned>& planned) {
  const BlockMaskRow& row = shown.lowered.row(0);
  if (!arguments.svg.empty()) {
    const size_t masks = planned ? planned->rows[0].masks.size() : 1;
    const std::string title =
        masks == 1 ? shown.mask.to_string() : fmt::format("{} masks, balanced together", masks);
    write_file(arguments.svg,
               planned ? plan_svg(planned->rows[0], planned->plans[0], planned->report, title)
                       : draw_svg(row, shown.layout, title));
  }
  if (!arguments.png.empty()) write_file(arguments.png, draw_png(row, shown.layout));
}

void print_summary(const MaskArguments& arguments, const Shown& shown,
                   const std::optional<Planned>& planned) {
  const auto& [mask, layout, documents, options, lowered, milliseconds] = shown;
  const TileCounts counts = lowered.tile_counts(0);
  fmt::print("{}\n", mask.to_string());
  if (mask.simplified() != mask) fmt::print("= {}\n", mask.simplified().to_string());
  if (documents.size() <= 16) fmt::print("documents {}\n", fmt::join(documents, ", "));
  fmt::print("{}", draw_for_terminal(lowered.row(0)));
  fmt::print(
      "area {} of {} x {} pairs, {:.2f} % hidden\n"
      "tiles of {} x {}: {} full, {} partial, {} empty; {} bytes; lowered in {:.3f} ms\n",
      lowered.area(0), lowered.query_length(), lowered.key_length(), 100 * lowered.sparsity(),
      lowered.tile_q(), lowered.tile_k(), counts.full, counts.partial, counts.empty,
      lowered.bytes(), milliseconds);
  if (planned) fmt::print("{}", plan_text(planned->rows, planned->plans, planned->report));
  if (!arguments.svg.empty()) fmt::print("wrote {}\n", arguments.svg);
  if (!arguments.png.empty()) fmt::print("wrote {}\n", arguments.png);
}

nlohmann::ordered_json mask_json(const Shown& shown) {
  const TileCounts counts = shown.lowered.tile_counts(0);
  return {
      {"area", shown.lowered.area(0)},     {"sparsity", shown.lowered.sparsity()},
      {"full_tiles", counts.full},         {"partial_tiles", counts.partial},
      {"empty_tiles", counts.empty},       {"bytes", shown.lowered.bytes()},
      {"lowering_ms", shown.milliseconds},
  };
}

/// `method` and `seconds` are those of EXPR's mask, as all that mask_json says is.
nlohmann::ordered_json plan_json(const Planned& planned) {
  const PlanFigures figures = figures_of(planned.rows, planned.plans);
  const PlanReport& report = planned.report;
  auto masks = nlohmann::ordered_json::array();
  for (size_t i = 0; i < report.costs.size(); ++i) {
    masks.push_back({{"mask", planned.rows[0].masks[i].name},
                     {"layers", planned.rows[0].masks[i].layers},
                     {"method", name_of(report.costs[i].method)},
                     {"received_bytes", report.costs[i].received_bytes},
                     {"seconds", report.costs[i].seconds}});
  }
  return {
      {"cp", planned.plans[0].rank_count()},
      {"balancer", name_of(report.balancer)},
      {"max_over_mean", figures.max_over_mean()},
      {"lower_bound", figures.lower_bound()},
      {"work", figures.work},
      {"tokens", figures.tokens},
      {"needed_tokens", figures.needed},
      {"plan_ms", *report.plan_milliseconds},
      {"method", name_of(report.costs[0].method)},
      {"seconds", report.costs[0].seconds},
      {"masks", masks},
  };
}

ExitCode show(const MaskArguments& arguments) {
  constexpr int64_t kLongestDense = 16384;
  const Shown shown = lower_mask(arguments);
  const int64_t tokens = shown.layout.query_length();
  COEUS_CHECK_CONFIG(!arguments.dense || tokens <= kLongestDense,
                     "[mask show] --dense prints rows of up to {} tokens, not {}", kLongestDense,
                     tokens);
  std::optional<Planned> planned;
  if (arguments.plan.ranks > 0) planned = plan_row(arguments.plan, shown);
  draw_files(arguments, shown, planned);
  if (arguments.json) {
    auto figures = mask_json(shown);
    if (planned) figures.update(plan_json(*planned));
    fmt::print("{}\n", figures.dump());
  } else if (arguments.dense) {
    fmt::print("{}", draw_dense(shown.lowered, 0));
  } else {
    print_summary(arguments, shown, planned);
  }
  return ExitCode::kDone;
}

/// The options of plans; all but --cp itself need it.
void add_plan_options(CLI::App& command, PlanArguments& plan) {
  auto* const cp =
      command
          .add_option("--cp", plan.ranks, "Spread the row over this many ranks and show the plan")
          ->check(CLI::PositiveNumber);
  command
      .add_option("--balancer", plan.balancer,
                  "Who gets which tokens: joint (default), none, headtail, per_document or ptrr")
      ->needs(cp);
  command
      .add_option("--method", plan.method,
                  "How keys are exchanged: auto (default), allgather, ring, alltoall or needed")
      ->needs(cp);
  command
      .add_option("--slack", plan.slack,
                  "By which share of the mean joint may let ranks' tokens differ (default 0)")
      ->check(CLI::Range(0.0, 0.99))
      ->needs(cp);
  command.add_option("--layers", plan.layers, "How many layers take EXPR (default 1)")
      ->check(CLI::PositiveNumber)
      ->needs(cp);
  command
      .add_option("--and-mask", plan.further_masks,
                  "\"EXPR:LAYERS\": other layers' mask, balanced together with it; may be repeated")
      ->allow_extra_args(false)
      ->needs(cp);
}

}  // namespace

void add_mask_command(CLI::App& program, Command& chosen) {
  auto arguments = std::make_shared<MaskArguments>();
  CLI::App* mask = program.add_subcommand("mask", "Look at attention masks.");
  mask->require_subcommand(1);
  CLI::App* command = mask->add_subcommand(
      "show",
      "Lower a mask to tiles and show it: a picture, the visible area, the tiles and their "
      "memory.\n"
      "Leaves: full causal document sliding_window(left, right=0) chunk(n) prefix(n) sink(n) "
      "dilated(n); operators ~ & | and parentheses.\n"
      "Examples:\n"
      "  coeus mask show 'causal & document' --documents 100,400,12\n"
      "  coeus mask show 'causal & document & chunk(2048)' --seq-len 8192 --svg irope.svg\n"
      "  coeus mask show 'sink(4) | sliding_window(64)' --seq-len 1000 --tile 64 --json\n"
      "  coeus mask show 'causal & chunk(8192)' --layers 3 --and-mask 'causal:1' --seq-len 65536 "
      "--cp 8");
  command->add_option("EXPR", arguments->expression, "The mask")->required();
  command->add_option("--seq-len", arguments->seq_len, "Tokens of the row (default: the documents)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--documents", arguments->documents,
                   "Lengths of the packed documents; what they leave of --seq-len is one more")
      ->delimiter(',');
  command->add_option("--tile", arguments->tile, "Tokens a tile (default 128)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--tile-k", arguments->tile_k, "Keys a tile, if not as many as queries")
      ->check(CLI::Range(1, 4096));
  command->add_option("--svg", arguments->svg, "Write the picture as SVG to this file");
  command->add_option("--png", arguments->png, "Write the picture as PNG to this file");
  auto* json = command->add_flag("--json", arguments->json, "Print the figures as one JSON object");
  add_plan_options(*command, arguments->plan);
  command->add_flag("--dense", arguments->dense, "Print the mask itself as rows of 0 and 1")
      ->excludes(json)
      ->excludes(command->get_option("--cp"));
  command->callback([arguments, &chosen] { chosen = [arguments] { return show(*arguments); }; });
}

}  // namespace coeus
