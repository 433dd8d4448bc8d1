#include "coeus/parallel/context/plan/balancer_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

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
void add_methods(BalancerFigures& figures, const ContextRow& row, const ContextPlan& plan,
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

BalancerFigures plan_figures(Balancer balancer, const LoweredRows& lowered, int64_t ranks,
                             const BalancerTableOptions& options) {
  BalancerFigures figures = {.balancer = balancer, .imbalance = 0, .layer_imbalance = 0};
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

nlohmann::ordered_json json_of(const BalancerCase& of, const BalancerFigures& plan,
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

const MethodFigures& BalancerFigures::of(ContextMethod method) const {
  const auto found = std::find_if(methods.begin(), methods.end(),
                                  [&](const MethodFigures& its) { return its.method == method; });
  COEUS_CHECK(found != methods.end(), "[balancer table] method {} was not measured",
              name_of(method));
  return *found;
}

const BalancerFigures& BalancerCase::of(Balancer balancer) const {
  const auto found = std::find_if(plans.begin(), plans.end(), [&](const BalancerFigures& its) {
    return its.balancer == balancer;
  });
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
    for (const BalancerFigures& plan : of.plans) plans.push_back(json_of(of, plan, model).dump());
  return fmt::format("{{\"settings\": {},\n\"left_out\": {},\n\"plans\": [\n{}\n]}}\n",
                     settings.dump(), nlohmann::json(table.left_out).dump(),
                     fmt::join(plans, ",\n"));
}

}  // namespace coeus
