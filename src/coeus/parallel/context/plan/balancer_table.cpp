#include "coeus/parallel/context/plan/balancer_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/mask/lower.h"

namespace coeus {
namespace {

constexpr std::array kDocumentMixes = {DocumentMix::kUniform, DocumentMix::kExponential,
                                       DocumentMix::kLongTail, DocumentMix::kOne};
constexpr std::array kMaskMixes = {MaskMix::kCausal, MaskMix::kDocuments, MaskMix::kIrope,
                                   MaskMix::kWindowGlobal};
constexpr int64_t kFewestTokensOfARank = 512;
constexpr int64_t kMostTokensOfARank = 131072;
constexpr int64_t kMostTokensOfRows = int64_t{1} << 19;
constexpr int64_t kFewestPlans = 3;
constexpr int64_t kLongestRow = int64_t{1} << 24;
constexpr int64_t kMostRanks = 4096;

/// Lengths as `draw(number of the document)` says, until the row is full.
template <class Draw>
std::vector<int64_t> filled(int64_t tokens, Draw draw) {
  std::vector<int64_t> lengths;
  for (int64_t left = tokens; left > 0; left -= lengths.back()) {
    const double drawn = draw(lengths.size());
    lengths.push_back(drawn >= static_cast<double>(left)
                          ? left
                          : std::max<int64_t>(1, static_cast<int64_t>(drawn)));
  }
  return lengths;
}

std::vector<int64_t> exponential_lengths(int64_t tokens, const CounterRandom& random) {
  return filled(tokens, [&](uint64_t i) { return -2048 * std::log(random.uniform(i)); });
}

std::vector<int64_t> long_tail_lengths(int64_t tokens, const CounterRandom& random) {
  return filled(tokens, [&](uint64_t i) {
    const bool is_long = random.uniform(2 * i) < 1.0 / 32;
    return is_long ? static_cast<double>(tokens) * std::pow(16, -random.uniform(2 * i + 1))
                   : 1024 * std::exp(random.normal(2 * i + 1));
  });
}

bool is_drawn(DocumentMix mix) {
  return mix == DocumentMix::kExponential || mix == DocumentMix::kLongTail;
}

/// CPU time of this thread, which others on the machine disturb less than the clock's.
double thread_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The rows of one mix of documents and masks, lowered, and how long that took a row.
struct LoweredRows {
  std::vector<ContextRow> rows;
  /// Of each row, what each of its masks is alone.
  std::vector<std::vector<ContextRow>> by_mask;
  double lowering_ms = 0;
  double counting_ms = 0;

  double share() const { return 1 / static_cast<double>(rows.size()); }
};

LoweredRows lower_rows(DocumentMix documents, MaskMix masks, int64_t tokens,
                       const BalancerTableOptions& options) {
  const int64_t count =
      is_drawn(documents) ? std::clamp<int64_t>(kMostTokensOfRows / tokens, 1, options.rows) : 1;
  LoweredRows lowered;
  std::vector<double> lowering, counting;
  for (int64_t i = 0; i < count; ++i) {
    const SequenceLayout layout =
        SequenceLayout::from_document_lengths(document_lengths(documents, tokens, options.seed, i));
    double start = thread_milliseconds();
    std::vector<LayersMask> of_row;
    for (const NamedMask& mask : masks_of(masks))
      of_row.push_back({mask.name, lower_row(mask.mask, layout), mask.layers});
    lowering.push_back(thread_milliseconds() - start);
    start = thread_milliseconds();
    lowered.rows.emplace_back(layout, of_row);
    counting.push_back(thread_milliseconds() - start);
    std::vector<ContextRow>& alone = lowered.by_mask.emplace_back();
    for (const LayersMask& mask : of_row) alone.emplace_back(layout, std::vector<LayersMask>{mask});
  }
  lowered.lowering_ms = median(lowering);
  lowered.counting_ms = median(counting);
  return lowered;
}

/// Adds what the row's attention costs by each method: the mean over its layers.
void add_methods(PlanFigures& figures, const ContextRow& row, const ContextPlan& plan,
                 const BalancerTableOptions& options, double share) {
  double layers = 0;
  for (const LayersMask& mask : row.masks) layers += static_cast<double>(mask.layers);
  for (size_t m = 0; m < row.masks.size(); ++m) {
    const double weight = share * static_cast<double>(row.masks[m].layers) / layers;
    double best = std::numeric_limits<double>::infinity();
    for (MethodFigures& method : figures.methods) {
      const MethodCost cost = cost_of(method.method, {row}, {plan}, m, options.model);
      const auto bytes =
          std::accumulate(cost.received_bytes.begin(), cost.received_bytes.end(), int64_t{0});
      method.mean_bytes +=
          weight * static_cast<double>(bytes) / static_cast<double>(plan.rank_count());
      method.most_bytes += weight * static_cast<double>(cost.most_received_bytes());
      method.seconds += weight * cost.seconds;
      best = std::min(best, cost.seconds);
    }
    figures.best_seconds += weight * best;
  }
}

PlanFigures plan_figures(Balancer balancer, const LoweredRows& lowered, int64_t ranks,
                         const BalancerTableOptions& options) {
  PlanFigures figures = {.balancer = balancer, .imbalance = 0, .layer_imbalance = 0};
  for (const ContextMethod method : options.methods) figures.methods.push_back({method});
  const auto rows = static_cast<int64_t>(lowered.rows.size());
  std::vector<double> times;
  for (int64_t i = 0; i < std::max(rows, kFewestPlans); ++i) {
    const ContextRow& row = lowered.rows[i % rows];
    const double start = thread_milliseconds();
    const ContextPlan plan = balance(row, {.balancer = balancer, .ranks = ranks});
    times.push_back(thread_milliseconds() - start);
    if (i >= rows) continue;
    const double mean = static_cast<double>(row.work()) / static_cast<double>(ranks);
    const auto busiest = [&](const ContextRow& of) {
      const std::vector<int64_t> work = work_by_rank(of, plan);
      return static_cast<double>(*std::max_element(work.begin(), work.end()));
    };
    const double imbalance = busiest(row) / mean;
    figures.imbalance += imbalance * lowered.share();
    figures.worst_imbalance = std::max(figures.worst_imbalance, imbalance);
    for (const ContextRow& alone : lowered.by_mask[i])
      figures.layer_imbalance += busiest(alone) / mean * lowered.share();
    add_methods(figures, row, plan, options, lowered.share());
  }
  figures.plan_ms = median(times);
  return figures;
}

/// What a layer of the row takes if nothing is exchanged and all ranks have the same work.
double ideal_seconds(const ContextRow& row, int64_t ranks, const ContextCostModel& model) {
  const ContextPlan whole = {{{{0, row.tokens()}}}};
  double seconds = 0, layers = 0;
  for (size_t m = 0; m < row.masks.size(); ++m) {
    const auto weight = static_cast<double>(row.masks[m].layers);
    seconds += weight * cost_of(ContextMethod::kNeeded, {row}, {whole}, m, model).seconds;
    layers += weight;
  }
  return seconds / layers / static_cast<double>(ranks);
}

BalancerCase measure_case(const BalancerCase& which, const LoweredRows& lowered,
                          const BalancerTableOptions& options) {
  BalancerCase measured = which;
  measured.rows = static_cast<int64_t>(lowered.rows.size());
  measured.lowering_ms = lowered.lowering_ms;
  measured.counting_ms = lowered.counting_ms;
  measured.least_imbalance = 0;
  for (const ContextRow& row : lowered.rows) {
    const int64_t least = least_possible_work(row, even_counts(row.tokens(), which.ranks));
    measured.least_imbalance += static_cast<double>(least * which.ranks) /
                                static_cast<double>(row.work()) * lowered.share();
    measured.ideal_seconds += ideal_seconds(row, which.ranks, options.model) * lowered.share();
  }
  for (const Balancer balancer : options.balancers)
    measured.plans.push_back(plan_figures(balancer, lowered, which.ranks, options));
  return measured;
}

/// Mixes of documents under masks that see across documents, where one document is measured too.
bool says_nothing_new(DocumentMix documents, MaskMix masks, const BalancerTableOptions& options) {
  return masks == MaskMix::kCausal && documents != DocumentMix::kOne &&
         std::count(options.documents.begin(), options.documents.end(), DocumentMix::kOne) > 0;
}

bool is_measured(int64_t tokens, int64_t ranks) {
  return tokens / ranks >= kFewestTokensOfARank && tokens <= ranks * kMostTokensOfARank;
}

std::vector<std::string> what_is_left_out(const BalancerTableOptions& options) {
  std::vector<std::string> left_out;
  for (const int64_t tokens : options.tokens) {
    std::vector<int64_t> ranks;
    std::copy_if(options.ranks.begin(), options.ranks.end(), std::back_inserter(ranks),
                 [tokens](int64_t count) { return !is_measured(tokens, count); });
    if (!ranks.empty())
      left_out.push_back(fmt::format("{} tokens on {} ranks: not between {} and {} tokens a rank",
                                     tokens, fmt::join(ranks, ", "), kFewestTokensOfARank,
                                     kMostTokensOfARank));
  }
  for (const MaskMix masks : options.masks) {
    std::vector<std::string_view> mixes;
    for (const DocumentMix mix : options.documents)
      if (says_nothing_new(mix, masks, options)) mixes.push_back(name_of(mix));
    if (!mixes.empty())
      left_out.push_back(
          fmt::format("mask {} with documents {}: it sees across documents, so all "
                      "are as documents one",
                      name_of(masks), fmt::join(mixes, ", ")));
  }
  return left_out;
}

void check(const BalancerTableOptions& options) {
  COEUS_CHECK_CONFIG(!options.tokens.empty() && !options.ranks.empty() &&
                         !options.documents.empty() && !options.masks.empty() &&
                         !options.balancers.empty() && !options.methods.empty(),
                     "[bench balancers] nothing to measure: one of the lists is empty");
  for (const int64_t tokens : options.tokens)
    COEUS_CHECK_CONFIG(tokens >= 1 && tokens <= kLongestRow,
                       "[bench balancers] a row of {} tokens; use 1 to {}", tokens, kLongestRow);
  for (const int64_t ranks : options.ranks)
    COEUS_CHECK_CONFIG(ranks >= 1 && ranks <= kMostRanks, "[bench balancers] {} ranks; use 1 to {}",
                       ranks, kMostRanks);
  COEUS_CHECK_CONFIG(options.rows >= 1, "[bench balancers] {} rows; use 1 or more", options.rows);
}

nlohmann::ordered_json json_of(const BalancerCase& of, const PlanFigures& plan,
                               const ContextCostModel& model) {
  nlohmann::ordered_json object = {
      {"tokens", of.tokens},
      {"documents", name_of(of.documents)},
      {"masks", name_of(of.masks)},
      {"ranks", of.ranks},
      {"rows", of.rows},
      {"balancer", name_of(plan.balancer)},
      {"max_over_mean", plan.imbalance},
      {"worst_max_over_mean", plan.worst_imbalance},
      {"layer_max_over_mean", plan.layer_imbalance},
      {"least_max_over_mean", of.least_imbalance},
      {"lowering_ms", of.lowering_ms},
      {"counting_ms", of.counting_ms},
      {"plan_ms", plan.plan_ms},
      {"best_seconds", plan.best_seconds},
      {"ideal_seconds", of.ideal_seconds},
  };
  const auto token = static_cast<double>(model.key_value_bytes());
  for (const MethodFigures& method : plan.methods)
    object[std::string(name_of(method.method))] = {
        {"mean_bytes", method.mean_bytes},
        {"most_bytes", method.most_bytes},
        {"mean_key_value_tokens", method.mean_bytes / token},
        {"most_key_value_tokens", method.most_bytes / token},
        {"seconds", method.seconds},
    };
  return object;
}

}  // namespace

DocumentMix document_mix_from_name(std::string_view name) {
  for (const DocumentMix mix : kDocumentMixes)
    if (name == name_of(mix)) return mix;
  throw ConfigError(fmt::format(
      "[bench balancers] \"{}\" is not a mix of documents; use uniform, exponential, long_tail or "
      "one",
      name));
}

std::string_view name_of(DocumentMix mix) {
  switch (mix) {
    case DocumentMix::kUniform:
      return "uniform";
    case DocumentMix::kExponential:
      return "exponential";
    case DocumentMix::kLongTail:
      return "long_tail";
    case DocumentMix::kOne:
      return "one";
  }
  return "";
}

std::vector<int64_t> document_lengths(DocumentMix mix, int64_t tokens, uint64_t seed, int64_t row) {
  const CounterRandom random(seed, fmt::format("{}/{}/{}", name_of(mix), tokens, row));
  switch (mix) {
    case DocumentMix::kUniform:
      return even_counts(tokens, std::min<int64_t>(64, tokens));
    case DocumentMix::kExponential:
      return exponential_lengths(tokens, random);
    case DocumentMix::kLongTail:
      return long_tail_lengths(tokens, random);
    case DocumentMix::kOne:
      return {tokens};
  }
  COEUS_ASSERT(false);
}

MaskMix mask_mix_from_name(std::string_view name) {
  for (const MaskMix mix : kMaskMixes)
    if (name == name_of(mix)) return mix;
  throw ConfigError(
      fmt::format("[bench balancers] \"{}\" is not a mix of masks; use causal, documents, irope or "
                  "window_global",
                  name));
}

std::string_view name_of(MaskMix mix) {
  switch (mix) {
    case MaskMix::kCausal:
      return "causal";
    case MaskMix::kDocuments:
      return "documents";
    case MaskMix::kIrope:
      return "irope";
    case MaskMix::kWindowGlobal:
      return "window_global";
  }
  return "";
}

std::vector<NamedMask> masks_of(MaskMix mix) {
  const Mask documents = mask::causal() & mask::document();
  switch (mix) {
    case MaskMix::kCausal:
      return {{"causal", mask::causal(), 1}};
    case MaskMix::kDocuments:
      return {{"documents", documents, 1}};
    case MaskMix::kIrope:
      return {{"rope", documents & mask::chunk(8192), 36}, {"nope", documents, 12}};
    case MaskMix::kWindowGlobal:
      return {{"window", documents & mask::sliding_window(1024), 5}, {"global", documents, 1}};
  }
  COEUS_ASSERT(false);
}

const MethodFigures& PlanFigures::of(ContextMethod method) const {
  const auto found = std::find_if(methods.begin(), methods.end(),
                                  [&](const MethodFigures& its) { return its.method == method; });
  COEUS_CHECK(found != methods.end(), "[balancer table] method {} was not measured",
              name_of(method));
  return *found;
}

const PlanFigures& BalancerCase::of(Balancer balancer) const {
  const auto found = std::find_if(plans.begin(), plans.end(),
                                  [&](const PlanFigures& its) { return its.balancer == balancer; });
  COEUS_CHECK(found != plans.end(), "[balancer table] balancer {} was not measured",
              name_of(balancer));
  return *found;
}

BalancerTable measure_balancers(const BalancerTableOptions& options,
                                const std::function<void(const BalancerCase&)>& report) {
  check(options);
  BalancerTable table = {.options = options, .left_out = what_is_left_out(options)};
  for (const int64_t tokens : options.tokens) {
    for (const MaskMix masks : options.masks) {
      for (const DocumentMix documents : options.documents) {
        if (says_nothing_new(documents, masks, options)) continue;
        const LoweredRows lowered = lower_rows(documents, masks, tokens, options);
        for (const int64_t ranks : options.ranks) {
          if (!is_measured(tokens, ranks)) continue;
          table.cases.push_back(measure_case(
              {.tokens = tokens, .documents = documents, .masks = masks, .ranks = ranks}, lowered,
              options));
          if (report) report(table.cases.back());
        }
      }
    }
  }
  return table;
}

std::string table_json(const BalancerTable& table) {
  const ContextCostModel& model = table.options.model;
  const nlohmann::ordered_json settings = {
      {"seed", table.options.seed},
      {"heads", model.heads},
      {"kv_heads", model.kv_heads},
      {"head_dim", model.key_dim},
      {"element_size", model.element_size},
      {"flops_per_second", model.flops_per_second},
      {"bytes_per_second", model.bytes_per_second},
      {"seconds_per_exchange", model.seconds_per_exchange},
  };
  std::vector<std::string> plans;
  for (const BalancerCase& of : table.cases)
    for (const PlanFigures& plan : of.plans) plans.push_back(json_of(of, plan, model).dump());
  return fmt::format("{{\"settings\": {},\n\"left_out\": {},\n\"plans\": [\n{}\n]}}\n",
                     settings.dump(), nlohmann::json(table.left_out).dump(),
                     fmt::join(plans, ",\n"));
}

namespace {

constexpr int64_t kShownRanks = 8;
constexpr std::string_view kPartBegin = "<!-- balancers: ";
constexpr std::string_view kPartEnd = "<!-- end -->";
constexpr std::array<std::string_view, 9> kPartNames = {
    "settings", "work", "lengths", "layers", "bytes", "needed", "time", "methods", "planning"};

/// The line of a page that the part of this name stands after.
std::string part_line(std::string_view name) { return fmt::format("{}{} -->", kPartBegin, name); }

/// 131072 as "131,072".
std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

/// Three digits that matter, never as 1e-05.
std::string short_number(double value) {
  if (value == 0) return "0";
  const int decimals = 2 - static_cast<int>(std::floor(std::log10(std::abs(value))));
  return fmt::format("{:.{}f}", value, std::clamp(decimals, 0, 6));
}

std::string line_of(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

std::string header_of(const std::vector<std::string>& names) {
  return line_of(names) + line_of(std::vector<std::string>(names.size(), "---"));
}

/// Which cases a part shows: one length of row and one or two numbers of ranks.
struct Shown {
  int64_t tokens = 0;
  std::vector<int64_t> ranks;

  /// How the part's text begins.
  std::string words() const {
    std::string words = fmt::format("Rows of {} tokens", with_commas(tokens));
    if (ranks.size() == 1) return words + fmt::format(" on {} ranks.", ranks[0]);
    return words + fmt::format("; the first figure is for {} ranks, the second for {}.", ranks[0],
                               ranks[1]);
  }
};

std::set<int64_t> ranks_at(const BalancerTable& table, int64_t tokens) {
  std::set<int64_t> ranks;
  for (const BalancerCase& of : table.cases)
    if (of.tokens == tokens) ranks.insert(of.ranks);
  return ranks;
}

std::vector<int64_t> shown_ranks(const BalancerTable& table, int64_t tokens) {
  const std::set<int64_t> all = ranks_at(table, tokens);
  const auto first = all.count(kShownRanks) > 0 ? kShownRanks : *all.begin();
  return first == *all.rbegin() ? std::vector{first} : std::vector{first, *all.rbegin()};
}

Shown shown_of(const BalancerTable& table) {
  const int64_t tokens = shown_tokens(table);
  return {tokens, shown_ranks(table, tokens)};
}

/// A line for every mix of masks and documents; of a cell, the figures for each number of ranks.
class MixTable {
 public:
  using Figure = std::function<std::string(const BalancerCase&)>;
  using Choice = std::function<bool(const BalancerCase&)>;

  void add(std::string name, Figure figure) {
    names_.push_back(std::move(name));
    figures_.push_back(std::move(figure));
  }

  std::string text(
      const BalancerTable& table, const Shown& shown,
      const Choice& choice = [](const BalancerCase&) { return true; }) const {
    std::vector<std::string> header = {"masks", "documents"};
    header.insert(header.end(), names_.begin(), names_.end());
    std::string lines;
    for (const BalancerCase& first : table.cases) {
      if (first.tokens != shown.tokens || first.ranks != shown.ranks[0] || !choice(first)) continue;
      std::vector<std::string> cells = {std::string(name_of(first.masks)),
                                        std::string(name_of(first.documents))};
      for (const Figure& figure : figures_) cells.push_back(cell(table, shown, first, figure));
      lines += line_of(cells);
    }
    return header_of(header) + lines;
  }

 private:
  static std::string cell(const BalancerTable& table, const Shown& shown, const BalancerCase& first,
                          const Figure& figure) {
    std::vector<std::string> values;
    for (const int64_t ranks : shown.ranks)
      for (const BalancerCase& of : table.cases)
        if (of.tokens == first.tokens && of.documents == first.documents &&
            of.masks == first.masks && of.ranks == ranks)
          values.push_back(figure(of));
    return fmt::format("{}", fmt::join(values, " / "));
  }

  std::vector<std::string> names_;
  std::vector<Figure> figures_;
};

bool has_several_masks(const BalancerCase& of) { return masks_of(of.masks).size() > 1; }

std::string settings_part(const BalancerTable& table) {
  const ContextCostModel& model = table.options.model;
  std::string text = fmt::format(
      "A rank has {} query heads and {} key heads of {} numbers of {} bytes, computes {:g} TFLOP/s "
      "in attention, gets {:g} GB/s from others and waits {:g} µs for the first byte. Seed {}; "
      "figures of exponential and long_tail are means over up to {} rows.",
      model.heads, model.kv_heads, model.key_dim, model.element_size, model.flops_per_second / 1e12,
      model.bytes_per_second / 1e9, model.seconds_per_exchange * 1e6, table.options.seed,
      table.options.rows);
  if (!table.left_out.empty()) text += " Left out:\n";
  for (const std::string& what : table.left_out) text += fmt::format("\n- {}", what);
  return text + "\n";
}

std::string work_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  mixes.add("bound", [](const auto& of) { return fmt::format("{:.2f}", of.least_imbalance); });
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [balancer](const BalancerCase& of) {
      return fmt::format("{:.2f}", of.of(balancer).imbalance);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string layers_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [balancer](const BalancerCase& of) {
      return fmt::format("{:.2f}", of.of(balancer).layer_imbalance);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown, has_several_masks);
}

/// How max/mean grows with the row, on the mix of documents that is the hardest.
std::string lengths_part(const BalancerTable& table) {
  const std::vector<DocumentMix>& mixes = table.options.documents;
  const bool has_long_tail = std::count(mixes.begin(), mixes.end(), DocumentMix::kLongTail) > 0;
  const DocumentMix documents = has_long_tail ? DocumentMix::kLongTail : mixes.front();
  std::vector<std::string> header = {"masks", "tokens", "ranks"};
  for (const Balancer balancer : table.options.balancers) header.emplace_back(name_of(balancer));
  std::string lines;
  for (const MaskMix masks : table.options.masks) {
    for (const BalancerCase& of : table.cases) {
      if (of.masks != masks || of.documents != documents ||
          of.ranks != *ranks_at(table, of.tokens).rbegin())
        continue;
      std::vector<std::string> cells = {std::string(name_of(masks)), with_commas(of.tokens),
                                        std::to_string(of.ranks)};
      for (const PlanFigures& plan : of.plans)
        cells.push_back(fmt::format("{:.2f} ({:.2f})", plan.imbalance, plan.worst_imbalance));
      lines += line_of(cells);
    }
  }
  return fmt::format("Documents {}; the mean over the rows, and in parentheses the worst row.\n\n",
                     name_of(documents)) +
         header_of(header) + lines;
}

std::string bytes_part(const BalancerTable& table, const Shown& shown) {
  const auto key_value_bytes = static_cast<double>(table.options.model.key_value_bytes());
  std::string lines;
  for (const ContextMethod method : table.options.methods) {
    if (method == ContextMethod::kNeeded) continue;
    std::vector<std::string> cells = {std::string(name_of(method))};
    for (const int64_t ranks : shown.ranks) {
      const auto of = std::find_if(table.cases.begin(), table.cases.end(), [&](const auto& its) {
        return its.tokens == shown.tokens && its.ranks == ranks;
      });
      const double bytes = of->plans.front().of(method).mean_bytes;
      cells.push_back(short_number(bytes / 1e6));
      cells.push_back(with_commas(std::llround(bytes / key_value_bytes)));
    }
    lines += line_of(cells);
  }
  std::vector<std::string> header = {"method"};
  for (const int64_t ranks : shown.ranks) {
    header.push_back(fmt::format("MB, {} ranks", ranks));
    header.push_back("as K/V tokens");
  }
  return header_of(header) + lines;
}

bool measures(const BalancerTable& table, ContextMethod method) {
  const std::vector<ContextMethod>& methods = table.options.methods;
  return std::count(methods.begin(), methods.end(), method) > 0;
}

std::string needed_part(const BalancerTable& table, const Shown& shown) {
  if (!measures(table, ContextMethod::kNeeded)) return "Method needed was not measured.\n";
  MixTable mixes;
  const auto key_value_bytes = static_cast<double>(table.options.model.key_value_bytes());
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [=](const BalancerCase& of) {
      // Of all keys that a rank does not have itself: what allgather brings.
      const auto tokens = static_cast<double>(of.tokens);
      const double all = key_value_bytes * tokens * (1 - 1 / static_cast<double>(of.ranks));
      return fmt::format("{:.1f}",
                         100 * of.of(balancer).of(ContextMethod::kNeeded).mean_bytes / all);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string time_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  mixes.add("even", [](const auto& of) { return short_number(1e3 * of.ideal_seconds); });
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [balancer](const BalancerCase& of) {
      return short_number(1e3 * of.of(balancer).best_seconds);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string methods_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  std::vector<Balancer> balancers = {table.options.balancers.front()};
  if (table.options.balancers.size() > 1) balancers.push_back(table.options.balancers.back());
  for (const ContextMethod method : table.options.methods)
    for (const Balancer balancer : balancers)
      mixes.add(fmt::format("{}, {}", name_of(method), name_of(balancer)),
                [=](const BalancerCase& of) {
                  return short_number(1e3 * of.of(balancer).of(method).seconds);
                });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string planning_part(const BalancerTable& table) {
  std::vector<std::string> header = {"tokens", "ranks", "lowering", "counting"};
  for (const Balancer balancer : table.options.balancers) header.emplace_back(name_of(balancer));
  std::string lines;
  std::set<int64_t> lengths;
  for (const BalancerCase& of : table.cases) lengths.insert(of.tokens);
  for (const int64_t tokens : lengths) {
    for (const int64_t ranks : shown_ranks(table, tokens)) {
      std::vector<double> most(header.size() - 2);
      for (const BalancerCase& of : table.cases) {
        if (of.tokens != tokens || of.ranks != ranks) continue;
        std::vector<double> times = {of.lowering_ms, of.counting_ms};
        for (const PlanFigures& plan : of.plans) times.push_back(plan.plan_ms);
        for (size_t i = 0; i < times.size(); ++i) most[i] = std::max(most[i], times[i]);
      }
      std::vector<std::string> cells = {with_commas(tokens), std::to_string(ranks)};
      for (const double time : most) cells.push_back(short_number(time));
      lines += line_of(cells);
    }
  }
  return header_of(header) + lines;
}

}  // namespace

int64_t shown_tokens(const BalancerTable& table) {
  constexpr int64_t kUsual = 131072;
  COEUS_CHECK_CONFIG(!table.cases.empty(), "[bench balancers] nothing was measured: {}",
                     fmt::join(table.left_out, "; "));
  const bool has_usual = std::any_of(table.cases.begin(), table.cases.end(),
                                     [](const BalancerCase& of) { return of.tokens == kUsual; });
  return has_usual ? kUsual : table.cases.back().tokens;
}

MarkdownParts table_markdown(const BalancerTable& table) {
  const Shown shown = shown_of(table);
  const std::array<std::string, kPartNames.size()> texts = {
      settings_part(table),      work_part(table, shown),    lengths_part(table),
      layers_part(table, shown), bytes_part(table, shown),   needed_part(table, shown),
      time_part(table, shown),   methods_part(table, shown), planning_part(table)};
  MarkdownParts parts;
  for (size_t i = 0; i < texts.size(); ++i) parts.emplace_back(kPartNames[i], texts[i]);
  return parts;
}

std::string with_parts(const std::string& page, const MarkdownParts& parts) {
  std::string filled;
  size_t at = 0;
  for (size_t begin = page.find(kPartBegin); begin != std::string::npos;
       begin = page.find(kPartBegin, at)) {
    const size_t line_end = std::min(page.find('\n', begin), page.size());
    const std::string line = page.substr(begin, line_end - begin);
    const size_t end = page.find(kPartEnd, line_end);
    COEUS_CHECK(end < page.find(kPartBegin, line_end),
                "[bench balancers] the page's line \"{}\" has no line \"{}\" after it", line,
                kPartEnd);
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const auto& its) { return line == part_line(its.first); });
    COEUS_CHECK(part != parts.end(),
                "[bench balancers] the page's line \"{}\" names no part; there are {}", line,
                fmt::join(kPartNames, ", "));
    filled += page.substr(at, line_end - at) + "\n" + part->second;
    at = end;
  }
  COEUS_CHECK(at > 0,
              "[bench balancers] the page has no line \"{}\" to put a part after; name a file "
              "that does not exist to get one with all parts",
              part_line("NAME"));
  return filled + page.substr(at);
}

void check_page(const std::string& page) {
  MarkdownParts parts;
  for (const std::string_view name : kPartNames) parts.emplace_back(name, "");
  with_parts(page, parts);
}

std::string page_of(const MarkdownParts& parts) {
  std::string page = "# Balancers of context parallelism\n";
  for (const auto& [name, text] : parts)
    page += fmt::format("\n## {}\n{}\n{}{}\n", name, part_line(name), text, kPartEnd);
  return page;
}

namespace {

constexpr double kPlotLeft = 66;
constexpr double kPlotTop = 104;
constexpr double kPlotGap = 62;
constexpr double kNarrowestPlot = 640;
/// Faster plans are drawn as if they took this long.
constexpr double kLeastMilliseconds = 1e-3;
constexpr const char* kInk = "#1d2433";
constexpr const char* kGrid = "#dde2ea";

struct LineStyle {
  Balancer balancer;
  const char* colour;
  double width;
};
/// In the order in which they are drawn: what is drawn later lies above.
constexpr std::array<LineStyle, 5> kLineStyles = {{
    {Balancer::kNone, "#8a93a5", 2.5},
    {Balancer::kHeadTail, "#ec9a29", 4.5},
    {Balancer::kPerDocument, "#2f8a52", 3.5},
    {Balancer::kPtrr, "#b5446e", 2.5},
    {Balancer::kJoint, "#2a5ea8", 2.2},
}};

struct Curve {
  const LineStyle* style;
  std::vector<std::pair<double, double>> points;
};

struct PlotPanel {
  std::string title;
  size_t column = 0;
  size_t row = 0;
  std::vector<Curve> curves;
};

/// One axis that all panels share.
struct Axis {
  double low = 0;
  double high = 1;
  bool is_logarithmic = false;
  std::vector<std::pair<double, std::string>> ticks;

  /// From 0, at `low`, to 1, at `high`.
  double place(double value) const {
    if (is_logarithmic) return std::log(value / low) / std::log(high / low);
    return (value - low) / (high - low);
  }
};

std::string words_at(double x, double y, const char* style, const std::string& words) {
  return fmt::format("<text x='{:.1f}' y='{:.1f}' {}>{}</text>\n", x, y, style, words);
}

std::string grid_line(double x0, double y0, double x1, double y1) {
  return fmt::format("<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' stroke='{}'/>\n", x0,
                     y0, x1, y1, kGrid);
}

struct Plot {
  std::string title;
  std::string axes;
  std::vector<PlotPanel> panels;
  Axis x_axis;
  Axis y_axis;
  double panel_width = 190;
  double panel_height = 120;
};

/// Line and figure of each tick of both axes.
std::string draw_ticks(const Plot& plot, double left, double top) {
  const double right = left + plot.panel_width;
  const double bottom = top + plot.panel_height;
  std::string out;
  for (const auto& [value, words] : plot.y_axis.ticks) {
    const double y = bottom - plot.panel_height * plot.y_axis.place(value);
    out += grid_line(left, y, right, y);
    out += words_at(left - 6, y + 4, "text-anchor='end' font-size='11'", words);
  }
  for (const auto& [value, words] : plot.x_axis.ticks) {
    const double x = left + plot.panel_width * plot.x_axis.place(value);
    out += grid_line(x, top, x, bottom);
    out += words_at(x, bottom + 15, "text-anchor='middle' font-size='11'", words);
  }
  return out;
}

std::string draw_panel(const Plot& plot, const PlotPanel& panel) {
  const double left = kPlotLeft + (plot.panel_width + kPlotGap) * static_cast<double>(panel.column);
  const double top = kPlotTop + (plot.panel_height + kPlotGap) * static_cast<double>(panel.row);
  std::string out = draw_ticks(plot, left, top);
  out += words_at(left, top - 8, "font-size='12' font-weight='bold'", panel.title);
  for (const Curve& curve : panel.curves) {
    std::vector<std::string> points;
    for (const auto& [at, value] : curve.points)
      points.push_back(fmt::format("{:.1f},{:.1f}", left + plot.panel_width * plot.x_axis.place(at),
                                   top + plot.panel_height * (1 - plot.y_axis.place(value))));
    // A single point is a line without length, of which the round caps are seen.
    if (points.size() == 1) points.push_back(points[0]);
    out += fmt::format(
        "<polyline points='{}' fill='none' stroke='{}' stroke-width='{}' stroke-linejoin='round' "
        "stroke-linecap='round'/>\n",
        fmt::join(points, " "), curve.style->colour, curve.style->width);
  }
  return out;
}

std::string legend(const std::vector<PlotPanel>& panels, double y) {
  double x = kPlotLeft;
  std::string out;
  for (const LineStyle& style : kLineStyles) {
    const auto draws = [&](const PlotPanel& panel) {
      return std::any_of(panel.curves.begin(), panel.curves.end(),
                         [&](const Curve& curve) { return curve.style == &style; });
    };
    if (std::none_of(panels.begin(), panels.end(), draws)) continue;
    out += fmt::format(
        "<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' stroke='{}' stroke-width='{}'/>\n",
        x, y, x + 22, y, style.colour, style.width);
    const std::string name(name_of(style.balancer));
    out += words_at(x + 28, y + 4, "font-size='12'", name);
    x += 52 + 7 * static_cast<double>(name.size());
  }
  return out;
}

std::string draw(const Plot& plot) {
  size_t columns = 1, rows = 1;
  for (const PlotPanel& panel : plot.panels) {
    columns = std::max(columns, panel.column + 1);
    rows = std::max(rows, panel.row + 1);
  }
  const double width = std::max(
      kNarrowestPlot, kPlotLeft + (plot.panel_width + kPlotGap) * static_cast<double>(columns));
  const double height = kPlotTop + (plot.panel_height + kPlotGap) * static_cast<double>(rows) - 20;
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='Helvetica, Arial, sans-serif' fill='{2}'>\n"
      "<rect width='100%' height='100%' fill='#ffffff'/>\n",
      width, height, kInk);
  out += words_at(kPlotLeft, 24, "font-size='17' font-weight='bold'", plot.title);
  out += words_at(kPlotLeft, 43, "font-size='12'", plot.axes);
  out += legend(plot.panels, 64);
  for (const PlotPanel& panel : plot.panels) out += draw_panel(plot, panel);
  return out + "</svg>\n";
}

Axis percent_axis() {
  Axis axis = {.high = 100};
  for (const int value : {0, 25, 50, 75, 100})
    axis.ticks.emplace_back(value, std::to_string(value));
  return axis;
}

/// For shares of the mean, from 1 on: what is near 1 is told apart.
Axis imbalance_axis(double most) {
  Axis axis = {1, std::max(most, 1.5), true, {}};
  for (const double value : {1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0})
    if (value <= axis.high) axis.ticks.emplace_back(value, fmt::format("{:.6g}", value));
  return axis;
}

Axis axis_of_powers(const std::set<int64_t>& values) {
  Axis axis = {
      static_cast<double>(*values.begin()), static_cast<double>(*values.rbegin()), true, {}};
  if (values.size() == 1) axis.high = 2 * axis.low;
  for (const int64_t value : values)
    axis.ticks.emplace_back(static_cast<double>(value), value % 1024 == 0
                                                            ? fmt::format("{}K", value / 1024)
                                                            : std::to_string(value));
  return axis;
}

/// A figure of each plan by the number of ranks: a panel for each mix of masks and documents, a
/// curve for each balancer.
using PlanFigure = std::function<double(const BalancerCase&, const PlanFigures&)>;

std::vector<PlotPanel> panels_by_ranks(const BalancerTable& table, int64_t tokens,
                                       const PlanFigure& figure, bool only_several_masks) {
  std::vector<PlotPanel> panels;
  size_t row = 0;
  for (const MaskMix masks : table.options.masks) {
    if (only_several_masks && masks_of(masks).size() < 2) continue;
    size_t column = 0;
    for (const DocumentMix documents : table.options.documents) {
      PlotPanel panel = {
          fmt::format("{}, {}", name_of(masks), name_of(documents)), column, row, {}};
      for (const LineStyle& style : kLineStyles) {
        Curve curve = {&style, {}};
        for (const BalancerCase& of : table.cases)
          for (const PlanFigures& plan : of.plans)
            if (of.tokens == tokens && of.masks == masks && of.documents == documents &&
                plan.balancer == style.balancer)
              curve.points.emplace_back(static_cast<double>(of.ranks), figure(of, plan));
        if (!curve.points.empty()) panel.curves.push_back(std::move(curve));
      }
      if (panel.curves.empty()) continue;
      panels.push_back(std::move(panel));
      ++column;
    }
    if (column > 0) ++row;
  }
  return panels;
}

double largest_of(const std::vector<PlotPanel>& panels) {
  double largest = 0;
  for (const PlotPanel& panel : panels)
    for (const Curve& curve : panel.curves)
      for (const auto& point : curve.points) largest = std::max(largest, point.second);
  return largest;
}

/// The slowest of a balancer's plans, by the row's length.
Curve planning_curve(const BalancerTable& table, const LineStyle& style) {
  std::map<int64_t, double> slowest;
  for (const BalancerCase& of : table.cases)
    for (const PlanFigures& plan : of.plans)
      if (plan.balancer == style.balancer)
        slowest[of.tokens] = std::max({slowest[of.tokens], plan.plan_ms, kLeastMilliseconds});
  Curve curve = {&style, {}};
  for (const auto& [tokens, time] : slowest)
    curve.points.emplace_back(static_cast<double>(tokens), time);
  return curve;
}

Plot planning_plot(const BalancerTable& table) {
  std::set<int64_t> lengths;
  for (const BalancerCase& of : table.cases) lengths.insert(of.tokens);
  PlotPanel panel = {"all masks, documents and ranks"};
  double least = 1, most = 1;
  for (const LineStyle& style : kLineStyles) {
    Curve curve = planning_curve(table, style);
    if (curve.points.empty()) continue;
    for (const auto& point : curve.points) {
      least = std::min(least, point.second);
      most = std::max(most, point.second);
    }
    panel.curves.push_back(std::move(curve));
  }
  Axis y_axis = {std::pow(10, std::floor(std::log10(least))),
                 std::pow(10, std::floor(std::log10(most)) + 1),
                 true,
                 {}};
  for (double value = y_axis.low; value < 1.5 * y_axis.high; value *= 10)
    y_axis.ticks.emplace_back(value, fmt::format("{:.6g}", value));
  return {.title = "Time to plan a row",
          .axes = "the slowest case, ms of CPU time, against the row's tokens",
          .panels = {panel},
          .x_axis = axis_of_powers(lengths),
          .y_axis = y_axis,
          .panel_width = 480,
          .panel_height = 260};
}

/// What the plots by number of ranks are of.
struct PlotOf {
  const char* file;
  const char* title;
  const char* what;
  bool is_share_of_mean;  ///< max/mean; otherwise a percentage
  PlanFigure figure;
  bool only_several_masks = false;
};

std::vector<PlotOf> plots_of(const BalancerTable& table) {
  std::vector<PlotOf> plots = {
      {"work.svg", "Work of the busiest rank", "max/mean of the work in all layers", true,
       [](const BalancerCase&, const PlanFigures& plan) { return plan.imbalance; }},
      {"layers.svg", "Work of each layer's busiest rank", "max/mean, layer by layer,", true,
       [](const BalancerCase&, const PlanFigures& plan) { return plan.layer_imbalance; }, true}};
  const std::vector<ContextMethod>& methods = table.options.methods;
  if (std::count(methods.begin(), methods.end(), ContextMethod::kNeeded) > 0) {
    const auto token = static_cast<double>(table.options.model.key_value_bytes());
    plots.push_back({"needed.svg", "Keys that ranks need of each other",
                     "bytes of method needed, % of allgather's,", false,
                     [token](const BalancerCase& of, const PlanFigures& plan) {
                       const double all = token * static_cast<double>(of.tokens) *
                                          (1 - 1 / static_cast<double>(of.ranks));
                       return 100 * plan.of(ContextMethod::kNeeded).mean_bytes / all;
                     }});
  }
  plots.push_back({"time.svg", "How near attention comes to perfect division",
                   "time if evenly divided and nothing exchanged, % of the expected time,", false,
                   [](const BalancerCase& of, const PlanFigures& plan) {
                     return 100 * of.ideal_seconds / plan.best_seconds;
                   }});
  return plots;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> table_plots(const BalancerTable& table) {
  const int64_t tokens = shown_tokens(table);
  std::set<int64_t> ranks;
  for (const BalancerCase& of : table.cases)
    if (of.tokens == tokens) ranks.insert(of.ranks);
  std::vector<std::pair<std::string, std::string>> plots;
  for (const PlotOf& plot : plots_of(table)) {
    const auto panels = panels_by_ranks(table, tokens, plot.figure, plot.only_several_masks);
    if (panels.empty()) continue;
    plots.emplace_back(
        plot.file, draw({.title = plot.title,
                         .axes = fmt::format("{} against the number of ranks; rows of {} tokens",
                                             plot.what, tokens),
                         .panels = panels,
                         .x_axis = axis_of_powers(ranks),
                         .y_axis = plot.is_share_of_mean ? imbalance_axis(largest_of(panels))
                                                         : percent_axis()}));
  }
  plots.emplace_back("planning.svg", draw(planning_plot(table)));
  return plots;
}

}  // namespace coeus
